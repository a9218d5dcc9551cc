"""The bracket language against a parser that knows nothing of how it is drawn."""

from __future__ import annotations

import numpy as np

from qsgd_lab.data.brackets import LENGTH, MOST_OPEN, NUM_KINDS, draw_strings, load_brackets


def labels_of(symbols):
    """Return the label of each place by a stack."""
    stack, labels = [], []
    for symbol in symbols:
        if symbol < NUM_KINDS:
            stack.append(symbol)
        else:
            assert stack.pop() == symbol - NUM_KINDS
        assert len(stack) <= MOST_OPEN
        labels.append(stack[-1] if stack else NUM_KINDS)
    return labels


def test_labels_are_those_of_a_parser():
    """Each closing bracket fits, at most 8 are open, and the label is the kind that closes next."""
    symbols, labels = draw_strings(300)
    assert symbols.shape == labels.shape == (300, LENGTH)
    for row, expected in zip(symbols.tolist(), labels.tolist(), strict=True):
        assert labels_of(row) == expected


def test_the_strings_never_change():
    """The first string and the digest of the whole data set are pinned."""
    assert load_brackets().sha256 == "bbf99a862d9561a81d8222e607062038b46b29eeb68a3edbc9350d30e4b821cc"


def test_the_last_symbol_alone_does_not_tell():
    """The nine answers are equally frequent to within 1 %; a rule on the last symbol gets 67 %."""
    symbols, labels = draw_strings(8000, index=1)
    shares = np.bincount(labels.ravel(), minlength=9) / labels.size
    assert np.all(np.abs(shares - 1 / 9) < 0.01)
    table = np.zeros((2 * NUM_KINDS, 9), int)
    np.add.at(table, (symbols.ravel(), labels.ravel()), 1)
    assert abs(table.max(1).sum() / labels.size - 0.672) < 0.01


def test_parts_are_drawn_apart():
    """No string of one part is more likely to be in another: keys differ."""
    first, second = draw_strings(100, index=0)[0], draw_strings(100, index=1)[0]
    assert not np.array_equal(first, second)

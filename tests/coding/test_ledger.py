"""Exact sizes without coding: the ledger's sums are the lengths of messages written out bit by bit."""

from __future__ import annotations

import json

import gradient_strategies as gradients
import naive
import naive_theory
import numpy as np
import pytest
from compressor_cases import average_one
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab import quantize
from qsgd_lab.coding.class_counts import NUM_CLASSES, dense_bits, quantized_size
from qsgd_lab.coding.elias import LENGTHS
from qsgd_lab.compressors import QSGD
from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.ledger import Ledger, Size
from qsgd_lab.levels import num_classes
from qsgd_lab.stream import Stream

CODES = sorted(LENGTHS)
KNOWN_LENGTHS = {  # of the code words of 1, 2, 3, 4, 7, 8, 15, 16, 17, 32, 100
    "gamma": [1, 3, 3, 5, 5, 7, 7, 9, 9, 11, 13],
    "delta": [1, 4, 4, 5, 5, 8, 8, 9, 9, 10, 11],
    "omega": [1, 3, 3, 6, 6, 7, 7, 11, 11, 12, 13],
}


def reached_by(levels, s):
    """Return how many coordinates have |level| + 1 >= 2^j, by comparing each with each power."""
    return np.array([sum(abs(k) + 1 >= 2**j for k in levels) for j in range(num_classes(s))], np.int64)


def size_of(levels, s, num_norms):
    """Return the size of one message."""
    return quantized_size(s, num_norms, reached_by(levels, s))


def ledger_of(levels, s, num_norms):
    """Return the ledger of one message."""
    ledger = Ledger()
    ledger.add(size_of(levels, s, num_norms))
    return ledger


@st.composite
def messages(draw):
    """Draw (levels, s, number of norms)."""
    s = draw(gradients.level_counts)
    magnitude = st.integers(0, s) | st.integers(0, min(s, 3)) | st.just(s)
    level = st.tuples(magnitude, st.booleans()).map(lambda pair: -pair[0] if pair[1] else pair[0])
    return draw(st.lists(level, max_size=60)), s, draw(st.integers(0, 9))


@pytest.mark.parametrize("code", CODES)
def test_known_lengths(code):
    """The first lengths are those of Elias's paper."""
    assert [LENGTHS[code](k) for k in (1, 2, 3, 4, 7, 8, 15, 16, 17, 32, 100)] == KNOWN_LENGTHS[code]


@pytest.mark.parametrize("code", CODES)
def test_lengths_are_those_of_the_code_words(code):
    """Every k up to 2^12, and 2^t - 1, 2^t, 2^t + 1 up to 2^63, has a word of the length that is claimed."""
    edges = {2**t + d for t in range(1, 64) for d in (-1, 0, 1)}
    for k in edges | set(range(1, 2**12 + 1)):
        assert LENGTHS[code](k) == len(naive_theory.WORDS[code](k)), k


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("k", [0, -1])
def test_codes_start_at_one(code, k):
    """There is no word for 0, and none is invented."""
    with pytest.raises(ValueError, match=f"Elias codes start at 1, got {k}"):
        LENGTHS[code](k)


@given(messages())
def test_the_size_is_the_length_of_the_message(message):
    """Dense gamma, delta and omega, and fixed width, are counted as they are written, norms included."""
    levels, s, num_norms = message
    size = size_of(*message)

    for code in CODES:
        assert size.bits[code] == len(naive.dense_message(levels, num_norms, code))
    assert size.bits["fixed"] == len(naive.fixed_message(levels, num_norms, s))
    assert size.coordinates == len(levels)


@given(gradients.gradients(), st.integers(1, 8), gradients.norms, st.sampled_from([64, 512, "tensor"]))
def test_a_gradient_is_counted_as_it_is_written(x, bits, norm, bucket_size):
    """What training counts in its fused pass is the length of the message that was not written."""
    compressor = QSGD(bits=bits, norm=norm, bucket_size=bucket_size)
    with np.errstate(all="ignore"):
        _, ledger = average_one(compressor, x, Layout.of(x.size), Stream(seed=5))
    q = quantize(x, bits=bits, norm=norm, bucket_size=bucket_size, seed=5)
    levels, num_norms = q.levels.tolist(), q.norms.size
    if not x.size:
        assert ledger.bits == {}
        return

    for code in CODES:
        assert ledger.bits[code] == len(naive.dense_message(levels, num_norms, code))
    assert ledger.bits["fixed"] == len(naive.fixed_message(levels, num_norms, q.num_levels))


@given(st.lists(messages(), max_size=4), st.integers(0, 5))
def test_ledgers_add_up(parts, raw):
    """Sums over messages of different s are the sums of their sizes; floats sent as they are count 32."""
    ledger = Ledger()
    for message in parts:
        ledger.add(size_of(*message))
        ledger.add(Size(0, {}, raw))
    count = sum(len(levels) for levels, _, _ in parts)

    assert (ledger.coordinates, ledger.raw_coordinates) == (count, raw * len(parts))
    for code in CODES if count else ():
        bits = sum(len(naive.dense_message(levels, norms, code)) for levels, _, norms in parts if levels)
        expected = (bits + 32 * raw * len(parts)) / (count + raw * len(parts))
        assert ledger.bits_per_coordinate()[code] == expected


def test_a_form_that_some_payload_lacks_is_not_reported():
    """Bits under a form are an average over all coordinates, or nothing."""
    ledger = Ledger()
    ledger.add(Size(10, {"message": 80, "omega": 50}))
    ledger.add(Size(10, {"message": 40}))

    assert ledger.bits_per_coordinate() == {"message": 6.0}


def test_bits_per_coordinate_of_what_was_not_quantized():
    """Raw floats cost 32 bits under the one name they have, and nothing costs nothing."""
    raw = Ledger()
    raw.add(Size(0, {}, 7))

    assert raw.bits_per_coordinate() == {"fp32": 32.0}
    assert Ledger().bits_per_coordinate() == {}
    assert set(ledger_of([0, 1], 1, 1).bits_per_coordinate()) == {"fixed", *CODES}


@given(messages())
def test_a_ledger_survives_json(message):
    """A ledger written to JSON and read back goes on as if it had never been written."""
    ledger = ledger_of(*message)
    ledger.add(Size(0, {}, 3))
    again = Ledger.from_dict(json.loads(json.dumps(ledger.to_dict())))
    for one in (ledger, again):
        one.add(size_of(message[0], message[1], 1))

    assert again.to_dict() == ledger.to_dict()
    assert again.bits_per_coordinate() == ledger.bits_per_coordinate()


def test_ledgers_do_not_share_their_sums():
    """A new ledger starts from zero whatever others have counted."""
    ledger_of([1, 2, 3], 3, 1)

    assert not Ledger().bits


def test_classes_hold_every_level_there_is():
    """Classes of s end with the last power of two that is at most s + 1; the counts hold all of them."""
    assert [num_classes(s) for s in (1, 2, 3, 6, 7, 127, 32767)] == [2, 2, 3, 3, 4, 8, 16]
    assert num_classes(32767) == NUM_CLASSES


def test_an_unknown_code_is_refused():
    """Asking for a code that is not in the table raises, and names it."""
    with pytest.raises(ValueError, match="huffman"):
        dense_bits(np.zeros(2, np.int64), 0, "huffman")

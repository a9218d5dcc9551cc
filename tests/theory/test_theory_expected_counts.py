"""Expected numbers of levels and gaps by power of two, against enumeration."""

from __future__ import annotations

import math

import naive_theory
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.theory.elias import CODE_NAMES, code_length, coded_bits
from qsgd_lab.theory.expected_counts import end_gap_probabilities, gap_counts, value_counts
from qsgd_lab.theory.level_positions import bucket_kinds, bucket_lengths, level_positions

coordinates = st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda v: 0.0 if abs(v) < 1e-6 else v)
vectors = st.lists(coordinates, min_size=1, max_size=7)
level_counts = st.integers(1, 20)


def padded(counts: np.ndarray, size: int = 8) -> np.ndarray:
    """Return counts with zeros behind, so that lengths agree."""
    return np.pad(counts, (0, size - counts.size))


@given(vectors, level_counts, st.sampled_from((0, 1)))
def test_value_counts_are_the_enumerated_ones(vector, s, plus):
    """The expected number of levels in each power of two is the mean over all roundings."""

    def count(exponent):
        def of(levels):
            return sum(k + plus > 0 and math.floor(math.log2(k + plus)) == exponent for k in levels)

        return naive_theory.expectation(vector, s, "l2", of)

    expected = [count(exponent) for exponent in range(8)]

    np.testing.assert_allclose(
        padded(value_counts(level_positions(vector, s), plus=plus)), expected, atol=1e-9
    )


def gaps_of(levels, size: int) -> list[int]:
    """Return the gaps before each non-zero, starting again after `size` coordinates."""
    gaps = []
    for start in range(0, len(levels), size):
        last = -1
        for place, level in enumerate(levels[start : start + size]):
            if level:
                gaps.append(place - last)
                last = place
    return gaps


@given(vectors, level_counts, st.integers(1, 8))
def test_gap_counts_are_the_enumerated_ones(vector, s, restart):
    """The expected number of gaps in each power of two is the mean over all roundings, at any restart."""

    def count(exponent):
        def of(levels):
            return sum(math.floor(math.log2(gap)) == exponent for gap in gaps_of(levels, restart))

        return naive_theory.expectation(vector, s, "l2", of)

    expected = [count(exponent) for exponent in range(8)]

    np.testing.assert_allclose(
        padded(gap_counts(level_positions(vector, s), restart=restart)), expected, atol=1e-9
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_an_end_mark_is_sent_once(q):
    """The probabilities of the end mark's distances add up to one."""
    assert end_gap_probabilities(np.array(q)).sum() == pytest.approx(1)


@pytest.mark.parametrize("code", CODE_NAMES)
def test_coded_bits_are_counts_times_lengths(code):
    """Three words of exponent 0 and two of exponent 4 weigh what five code words do."""
    assert coded_bits([3, 0, 0, 0, 2], code) == code_length([1, 1, 1, 16, 31], code).sum()


@given(st.integers(1, 5000), st.integers(1, 6000))
def test_kinds_of_buckets_are_the_buckets(n, size):
    """The lengths and counts of the kinds of buckets are those of the buckets themselves."""
    kinds, counts = bucket_kinds(n, size)

    assert np.repeat(kinds, counts.astype(int)).tolist() == bucket_lengths(n, size).tolist()
    assert kinds @ counts == n
    assert len(kinds) <= 2

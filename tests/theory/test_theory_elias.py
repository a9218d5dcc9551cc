"""Lengths of Elias's codes, and the concave bounds that hold for every integer."""

from __future__ import annotations

import naive_theory
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.theory.concave import majorant_knots
from qsgd_lab.theory.elias import (
    OMEGA_LINES,
    code_length,
    coded_bits,
    floor_log2,
    length_at_power,
    length_envelope,
    omega_line_bound,
    omega_log_bound,
    paper_length_shape,
)

CODES = ("gamma", "delta", "omega")
EXPONENTS = np.arange(4097)


@pytest.mark.parametrize("code", CODES)
def test_lengths_are_those_of_the_written_words(code):
    """The length is that of the code word, for small integers and around every power of two up to 2^61."""
    powers = [2**t + shift for t in range(1, 62) for shift in (-1, 0, 1)]
    integers = sorted({*range(1, 2000), *powers})

    expected = [len(naive_theory.WORDS[code](k)) for k in integers]
    assert code_length(integers, code).tolist() == expected


@given(st.integers(1, 2**62 - 1))
def test_floor_log2_is_exact(k):
    """floor(log2 k) is the bit length less one, also where float64 would round k up."""
    assert int(floor_log2(k)) == k.bit_length() - 1


@pytest.mark.parametrize("code", CODES)
def test_the_envelope_is_a_concave_increasing_bound(code):
    """W5: above every length to 2^4096, touching at corners, increasing with falling slopes."""
    envelope = length_envelope(EXPONENTS, code)
    slopes = np.diff(envelope)

    assert (envelope >= length_at_power(EXPONENTS, code) - 1e-9).all()
    assert envelope[0] == 1
    assert (slopes > 0).all()
    assert (np.diff(slopes) < 1e-9).all()


def test_corners_of_the_omega_envelope():
    """The first corners are those of the sheet."""
    np.testing.assert_allclose(length_envelope([0, 4, 16, 32, 64, 256, 512]), [1, 11, 28, 45, 78, 273, 530])


@pytest.mark.parametrize("line", range(len(OMEGA_LINES)))
def test_every_line_is_above_every_length(line):
    """W1, W3, W4 hold for k = 2^t up to t = 4096, and each is attained."""
    slack = omega_line_bound(EXPONENTS, line) - length_at_power(EXPONENTS)

    assert slack.min() == pytest.approx(0, abs=1e-9)


def test_the_logarithmic_bound_is_above_every_length():
    """W2 holds for k = 2^t up to t = 4096, with equality at 2^16."""
    slack = omega_log_bound(EXPONENTS) - length_at_power(EXPONENTS)

    assert slack.min() > -1e-9
    assert slack[16] == pytest.approx(0, abs=1e-9)


def test_the_papers_shape_is_a_bit_a_stage_short():
    """The sum log k + log log k + ... + 1 is 4, 8, 24 at k = 4, 16, 65536; the lengths are 6, 11, 28."""
    integers = [4, 16, 65536]

    assert paper_length_shape(integers).tolist() == [4, 8, 24]
    assert code_length(integers).tolist() == [6, 11, 28]


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=30))
def test_the_majorant_is_the_least_concave_one(heights):
    """Between its corners the majorant is above the points, and its slopes fall."""
    x, y = np.arange(len(heights), dtype=float), np.array(heights, dtype=float)
    corners = majorant_knots(x, y)
    slopes = np.diff(y[corners]) / np.diff(x[corners])

    assert (np.interp(x, x[corners], y[corners]) >= y - 1e-9).all()
    assert (np.diff(slopes) < 0).all()


def test_what_has_no_length_is_refused():
    """Zero, unknown codes and exponents out of range are refused by name."""
    with pytest.raises(ValueError, match="begin at 1"):
        code_length(0)
    with pytest.raises(ValueError, match="'gamma', 'delta' or 'omega'"):
        code_length(1, "zeta")
    with pytest.raises(ValueError, match="of at least 0 and at most 4096"):
        length_envelope(-1.0)


def test_what_has_no_code_word_is_refused():
    """Negative counts, and exponents that float64 does not tell apart, have no length."""
    with pytest.raises(ValueError, match=r"^counts is -1e-07; it must be a number of at least 0"):
        coded_bits([3.0, -1e-7])
    for exponent in (2**53, 1e19):
        with pytest.raises(ValueError, match=r"^exponent is .*; it must be below 2\^53"):
            length_at_power(exponent, "gamma")
    assert length_at_power(2**53 - 1, "gamma") == 2 * (2**53 - 1) + 1

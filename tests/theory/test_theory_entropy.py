"""Entropy of the levels, the prior that serves every vector, and the lower bound for all designs."""

from __future__ import annotations

import math

import naive_theory
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.theory.code_length import exact_sparse_bits
from qsgd_lab.theory.dense_code_length import exact_dense_bits, worst_case_dense_bits
from qsgd_lab.theory.entropy import (
    discrete_gaussian_bits,
    entropy_bits,
    mean_level_probabilities,
    normal_level_probabilities,
    universal_prior_bits,
)
from qsgd_lab.theory.lower_bound import contraction_bits, unbiased_bits
from qsgd_lab.theory.variance import exact_variance, worst_case_variance_l2


@given(
    st.lists(st.floats(-9, 9, allow_subnormal=False), min_size=1, max_size=6).filter(any), st.integers(1, 5)
)
def test_mean_level_shares_are_the_enumerated_ones(vector, s):
    """The share of a signed level is its mean count over all roundings, divided by n."""
    shares = np.zeros(2 * s + 1)
    for probability, levels in naive_theory.level_outcomes(vector, s, "l2"):
        for level, v in zip(levels, vector, strict=True):
            shares[int(s + math.copysign(level, v))] += probability / len(vector)

    np.testing.assert_allclose(mean_level_probabilities(vector, s), shares, atol=1e-9)


@pytest.mark.parametrize("scale", [0.05, 1.0, 4.0])
def test_the_normal_law_of_levels_is_that_of_a_long_vector(scale):
    """Levels of a normal vector of 2^18 coordinates have the limit law, to a few standard errors."""
    n = 2**18
    s = round(scale * math.sqrt(n))
    measured = mean_level_probabilities(np.random.default_rng(2).standard_normal(n), s)
    limit = normal_level_probabilities(scale)
    half = limit.size // 2
    middle = measured[s - half : s + half + 1] if s >= half else np.pad(measured, half - s)

    np.testing.assert_allclose(middle, limit, atol=5 / math.sqrt(n))


def test_entropy_at_s_equal_sqrt_n():
    """A normal vector's levels at s = sqrt(n) have 2.158 bits a coordinate; a fair coin has one."""
    assert entropy_bits(normal_level_probabilities(1.0)) == pytest.approx(2.158, abs=5e-4)
    assert entropy_bits([0.5, 0.5]) == 1


@pytest.mark.parametrize(
    ("second_moment", "bits"),
    [(1.25, 2.208), (0.1, 0.569), (0.5, 1.547), (4.25, 3.091), (16.25, 4.058), (256.25, 6.048)],
)
def test_discrete_gaussian_costs(second_moment, bits):
    """G at the sheet's second moments (m = S*/n for s / sqrt n = .1, .5, 2, 4, 16 and 1)."""
    assert discrete_gaussian_bits(second_moment) == pytest.approx(bits, abs=6e-4)


@given(st.lists(st.integers(-30, 30), min_size=1, max_size=40).filter(any), st.floats(0.001, 5))
def test_no_gaussian_prior_beats_the_optimum(levels, rate):
    """The bits n G(mean square) are at most the cost of the levels under any discrete Gaussian prior."""
    mean_square = sum(k * k for k in levels) / len(levels)
    cost = naive_theory.gaussian_prior_bits(levels, rate, 400)

    assert len(levels) * discrete_gaussian_bits(mean_square) <= cost * (1 + 1e-9)


@pytest.mark.parametrize("second_moment", [1e-6, 1e-3, 1e4, 1e6])
def test_discrete_gaussian_costs_at_the_ends(second_moment):
    """For large moments G is the differential entropy of a normal law; for small ones that of a rare sign."""
    if second_moment > 1:
        expected = 0.5 * math.log2(2 * math.pi * math.e * second_moment)
    else:
        expected = entropy_bits([second_moment / 2, second_moment / 2, 1 - second_moment])

    assert discrete_gaussian_bits(second_moment) == pytest.approx(expected, rel=1e-3)


def test_the_universal_prior_meets_two_point_eight_n():
    """D3: at s = sqrt(n), 2.21 n + 34 bits do for every vector, below the paper's 2.8 n + 32."""
    n = 2**20

    assert (universal_prior_bits(n, 2**10) - 34) / n == pytest.approx(2.208, abs=1e-3)


@given(st.integers(4, 10**6), st.integers(1, 1000))
def test_nothing_is_below_the_rate_distortion_bound(n, s):
    """The universal prior, like every unbiased scheme, needs at least (n / 2) log(1 + 1 / omega) bits."""
    omega = float(worst_case_variance_l2(n, s))

    assert universal_prior_bits(n, s) >= n * float(unbiased_bits(omega))


def test_values_of_the_lower_bound():
    """1.161 bits at omega = 1/4, half a bit at omega = 1; an unbiased scheme is a damped contraction."""
    np.testing.assert_allclose(unbiased_bits([0.25, 1.0]), [1.161, 0.5], atol=5e-4)
    np.testing.assert_allclose(unbiased_bits([0.25, 3.0]), contraction_bits([0.2, 0.75]))


def test_impossible_factors_are_refused():
    """An error above the vector itself, and an unbiased compressor without variance, have no bound."""
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        contraction_bits(1.5)
    with pytest.raises(ValueError, match="above 0"):
        unbiased_bits(0.0)


def test_entropies_of_large_and_small_weights():
    """A law is the same at every scale of its weights, and a rare level costs p log2(2 e / p) bits."""
    assert entropy_bits([1e308, 1e308]) == 1
    for moment in (1e-15, 1e-200):
        least = moment * np.log2(2 * np.e / moment)
        assert discrete_gaussian_bits(moment) == pytest.approx(least, rel=1e-9)


def test_the_unbiased_bound_at_both_ends():
    """(1/2) log2(1 + 1/w) is 1 / (2 w ln 2) for large w and log2(1/w) / 2 for small."""
    np.testing.assert_allclose(unbiased_bits([1e12, 1e200]), 0.5 / np.log(2) / np.array([1e12, 1e200]))
    np.testing.assert_allclose(unbiased_bits(5e-324), 537)


def test_tables_of_too_many_levels_are_refused():
    """A row for each of 2^20 levels and more is not made; formulas without a table take them."""
    for function in (mean_level_probabilities, exact_dense_bits, exact_sparse_bits):
        with pytest.raises(ValueError, match=r"^num_levels is 1048576; it must be .* from 1 to 1048575"):
            function([3.0, 4.0], 2**20)
    with pytest.raises(ValueError, match=r"^num_levels is 9007199254740992"):
        worst_case_dense_bits(4, 2**53)
    assert exact_variance([3.0, 4.0], 2**20) < 1e-11


@pytest.mark.parametrize("function", [exact_variance, mean_level_probabilities])
def test_masked_arrays_are_refused(function):
    """What a mask hides would count as if it were there."""
    with pytest.raises(ValueError, match=r"^gradient is a masked array; .*compressed\(\)"):
        function(np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0]), 3)

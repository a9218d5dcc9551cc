"""Bits against variance: no row beats the rate-distortion bound, and no vector the row for every vector."""

from __future__ import annotations

import math
from itertools import pairwise

import naive_theory
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.theory.checks.distributions import draw
from qsgd_lab.theory.code_length import exact_sparse_bits
from qsgd_lab.theory.dense_code_length import exact_dense_bits
from qsgd_lab.theory.lower_bound import unbiased_bits
from qsgd_lab.theory.other_compressors import nuqsgd_level_shares
from qsgd_lab.theory.tradeoff import CODES, TradeoffRow, kept_counts, log2_binomial, lower_bound_curve
from qsgd_lab.theory.tradeoff_every_vector import tradeoff_of_every_vector
from qsgd_lab.theory.tradeoff_of_vector import tradeoff_of
from qsgd_lab.theory.variance import relative_variance

N = 2**14


def vector(shape: str, bucket_size: int = 256) -> np.ndarray:
    """Return a vector of N coordinates."""
    return draw(shape, N, seed=1, num_levels=3, norm="l2", bucket_size=bucket_size)


@pytest.mark.parametrize("bucket_size", [16, 256, N])
def test_nothing_beats_the_lower_bound_on_a_normal_vector(bucket_size):
    """On a normal vector every quantizer takes at least the rate-distortion bits under every code."""
    rows = tradeoff_of(vector("normal"), range(1, 11), bucket_size)

    assert len({row.method for row in rows}) == 10
    assert all(bits >= row.lower_bound for row in rows for bits in row.bits.values())


@pytest.mark.parametrize("bucket_size", [16, 256])
def test_nothing_beats_the_lower_bound_for_every_vector(bucket_size):
    """The bounds for every vector are above the rate-distortion bits, too."""
    rows = tradeoff_of_every_vector(N, range(1, 11), bucket_size)

    assert all(bits >= row.lower_bound for row in rows for bits in row.bits.values())


@pytest.mark.parametrize("shape", ["normal", "cauchy", "onehot", "constant", "laplace"])
def test_no_vector_exceeds_the_row_for_every_vector(shape):
    """Row by row, a vector's variance and its bits under each code are at most those for every vector."""
    these = tradeoff_of(vector(shape), (1, 2, 4, 8), 256)
    worst = tradeoff_of_every_vector(N, (1, 2, 4, 8), 256)

    for row, most in zip(these, worst, strict=True):
        assert (row.method, row.setting, row.biased) == (most.method, most.setting, most.biased)
        assert row.error <= most.error * (1 + 1e-9) + 1e-12, row
        for code in row.bits.keys() & most.bits.keys():
            assert row.bits[code] <= most.bits[code] * (1 + 1e-9), (row, code)


def test_rows_are_the_exact_formulas():
    """A row's variance and bits are those of the functions for one setting."""
    v = vector("normal")
    row = next(r for r in tradeoff_of(v, (3,), 256) if r.method == "QSGD, max")

    assert row.error == pytest.approx(relative_variance(v, 7, norm="max", bucket_size=256))
    assert list(row.bits) == list(CODES)
    assert row.bits["delta_dense"] * N == pytest.approx(
        exact_dense_bits(v, 7, norm="max", bucket_size=256, code="delta")
    )
    assert row.bits["gamma_sparse"] * N == pytest.approx(
        exact_sparse_bits(v, 7, norm="max", bucket_size=256, code="gamma")
    )
    assert row.bits["fixed"] == 4 + 32 / 256
    assert row.best_elias == min(row.bits["omega_dense"], row.bits["omega_sparse"])


def test_families_run_from_few_bits_to_many():
    """Within a method more bits at fixed width never mean more variance."""
    rows = tradeoff_of(vector("normal"), range(1, 9), 256)

    for before, after in pairwise(rows):
        if before.method == after.method:
            assert before.bits["fixed"] <= after.bits["fixed"]
            assert before.error >= after.error * (1 - 1e-12)


def test_the_curve_is_the_bound_of_unbiased_compressors():
    """The curve's bits are those of `unbiased_bits` at its variances, and fall."""
    variances, bits = lower_bound_curve(1e-3, 10.0, 50)

    np.testing.assert_allclose(bits, unbiased_bits(variances), rtol=1e-12)
    assert (variances[0], variances[-1]) == pytest.approx((1e-3, 10.0))
    assert (np.diff(bits) < 0).all()


def test_a_biased_method_stands_beside_its_equal():
    """A biased error e and an unbiased variance e / (1 - e) have the same damped error and bound."""
    biased = TradeoffRow("nearest", "", True, 0.2)
    unbiased = TradeoffRow("QSGD", "", False, 0.25)

    assert biased.comparable_variance == pytest.approx(unbiased.comparable_variance) == 0.25
    assert biased.lower_bound == pytest.approx(unbiased.lower_bound)
    assert TradeoffRow("nothing", "", True, 1.0).comparable_variance == math.inf
    assert TradeoffRow("nothing", "", True, 1.0).lower_bound == 0
    assert TradeoffRow("everything", "", False, 0.0).lower_bound == math.inf


@given(st.integers(1, 300), st.data())
def test_the_bits_of_a_set_are_its_binomials(n, data):
    """log2 of n over k is that of the exact integer."""
    k = data.draw(st.integers(0, n))

    assert log2_binomial(n, k) == pytest.approx(math.log2(math.comb(n, k)), abs=1e-9)


@given(st.integers(1, 10**6))
def test_something_is_always_kept(n):
    """Top-k and rand-k keep at least one coordinate and at most half, rounded up."""
    assert all(1 <= k <= (n + 1) // 2 for k in kept_counts(n))


# The mean of subnormal numbers is rounded, to 0 at the worst.
COORDINATES = st.floats(-10, 10, allow_subnormal=False)


@given(st.lists(COORDINATES, min_size=1, max_size=6).filter(any), st.integers(1, 5))
def test_nuqsgd_level_shares_keep_the_mean(values, exponents):
    """NUQSGD is unbiased: the signed levels have the vector's mean over its norm."""
    levels = np.concatenate(([0.0], 2.0 ** np.arange(-exponents, 1)))
    signed = np.concatenate((-levels[:0:-1], levels))
    shares = nuqsgd_level_shares(values, exponents)

    assert shares.sum() == pytest.approx(1)
    assert signed @ shares == pytest.approx(np.mean(values) / naive_theory.norm_of(values, "l2"), abs=1e-9)

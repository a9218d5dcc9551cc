"""Errors of the other compressors: against enumeration of what they do, and their bounds."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.theory.hyper_sphere import (
    greedy_contraction,
    hsq_bits_per_coordinate,
    hsq_variance,
    hsq_variance_bound,
    random_codebook_variance,
)
from qsgd_lab.theory.other_compressors import (
    nuqsgd_variance,
    nuqsgd_variance_bound,
    rand_k_error,
    scaled_rand_k_variance,
    scaled_sign_error,
    terngrad_variance,
    top_k_error,
)
from qsgd_lab.theory.variance import exact_variance

vectors = st.lists(
    st.floats(-100, 100, allow_subnormal=False).filter(lambda v: v == 0 or abs(v) > 1e-3),
    min_size=1,
    max_size=7,
).filter(any)


def unit_columns(seed: int, d: int, K: int) -> np.ndarray:
    """Return a random codebook, shape (d, K)."""
    columns = np.random.default_rng(seed).standard_normal((d, K))
    return columns / np.linalg.norm(columns, axis=0)


@given(vectors)
def test_terngrad_is_the_max_norm_at_one_level(vector):
    """TernGrad's variance is the exact one of the quantizer with the max norm and s = 1."""
    total = sum(v * v for v in vector)

    assert terngrad_variance(vector) == pytest.approx(exact_variance(vector, 1, norm="max"), abs=1e-9 * total)


@given(vectors, st.integers(1, 8))
def test_nuqsgd_variance_is_the_two_point_one(vector, s):
    """Each ratio between neighbouring levels a, b has the variance of its two-point law; the bound holds."""
    norm = math.hypot(*vector)
    levels = [0.0, *(2.0**-j for j in range(s, -1, -1))]
    expected = 0.0
    for v in vector:
        r = min(abs(v) / norm, 1.0)
        a, b = next((a, b) for a, b in itertools.pairwise(levels) if a <= r <= b)
        p = (r - a) / (b - a)
        expected += norm**2 * ((1 - p) * (a - r) ** 2 + p * (b - r) ** 2)
    variance = nuqsgd_variance(vector, s)

    assert variance == pytest.approx(expected, abs=1e-9 * norm**2)
    assert variance <= float(nuqsgd_variance_bound(len(vector), s)) * norm**2 * (1 + 1e-9)


@pytest.mark.parametrize(("n", "s"), [(512, 3), (4096, 3), (16, 1), (2**12, 6)])
def test_nuqsgd_bound_is_attained_by_the_constant_vector(n, s):
    """From sqrt(n) 2^-s = 9/4 on, the constant vector's variance is the bound, t - 1; below, it is less."""
    attained, bound = nuqsgd_variance(np.ones(n), s) / n, float(nuqsgd_variance_bound(n, s))

    if math.sqrt(n) >= 9 / 4 * 2**s:
        assert attained == pytest.approx(bound, rel=1e-12)
    assert attained <= bound * (1 + 1e-12)


def test_nuqsgd_bound_is_nearly_attained():
    """A constant vector at 4/3 of a level has 0.98 of the bound."""
    n = 9 * 2**8
    vector = np.full(n, 1.0)
    ratio = nuqsgd_variance(vector, 12) / n / float(nuqsgd_variance_bound(n, 12))

    assert 0.9 < ratio <= 1


@given(vectors)
def test_scaled_sign_error_is_that_of_the_compressor(vector):
    """The error is ||(||v||_1 / n) sgn(v) - v||^2 with sgn(0) = 1."""
    v = np.array(vector)
    sent = np.abs(v).mean() * np.where(v < 0, -1, 1)

    assert scaled_sign_error(vector) == pytest.approx(((sent - v) ** 2).sum(), abs=1e-9 * (v @ v))


@given(vectors, st.integers(1, 7))
def test_sparsifier_errors_are_the_enumerated_ones(vector, k):
    """Top-k is the best of all supports of size k, and rand-k, plain or scaled, their mean."""
    v, k = np.array(vector), min(k, len(vector))
    errors, scaled = [], []
    for support in itertools.combinations(range(v.size), k):
        kept = np.zeros_like(v)
        kept[list(support)] = v[list(support)]
        errors.append(((kept - v) ** 2).sum())
        scaled.append(((kept * v.size / k - v) ** 2).sum())
    tolerance = 1e-9 * (v @ v)

    assert top_k_error(vector, k) == pytest.approx(min(errors), abs=tolerance)
    assert rand_k_error(vector, k) == pytest.approx(np.mean(errors), abs=tolerance)
    assert scaled_rand_k_variance(vector, k) == pytest.approx(np.mean(scaled), abs=tolerance)


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(0, 10))
def test_hsq_is_unbiased_with_the_exact_variance(seed, d, extra):
    """Over all columns the mean of Q(v) is v and that of ||Q(v) - v||^2 the formula, below the bound."""
    codebook = unit_columns(seed, d, d + extra)
    v = np.random.default_rng(seed + 1).standard_normal(d)
    p = np.linalg.pinv(codebook) @ v
    outcomes = np.sign(p) * np.abs(p).sum() * codebook
    chances = np.abs(p) / np.abs(p).sum()
    scale = np.abs(p).sum() ** 2

    np.testing.assert_allclose(outcomes @ chances, v, atol=1e-9 * scale)
    variance = hsq_variance(v, codebook)
    assert variance == pytest.approx(((outcomes - v[:, None]) ** 2).sum(axis=0) @ chances, abs=1e-9 * scale)
    assert variance <= hsq_variance_bound(codebook) * (v @ v) * (1 + 1e-9) + 1e-9 * scale


def test_hsq_codebooks():
    """A rotation has the bound d - 1; large random codebooks come near their limit."""
    v = np.random.default_rng(3).standard_normal(64)
    rotation = np.linalg.qr(np.random.default_rng(4).standard_normal((16, 16)))[0]
    relative = hsq_variance(v, unit_columns(5, 64, 8192)) / (v @ v)

    assert hsq_variance_bound(rotation) == pytest.approx(15)
    assert relative == pytest.approx(random_codebook_variance(64), rel=0.03)
    assert random_codebook_variance(1) == pytest.approx(0, abs=1e-12)
    plane = np.column_stack([np.cos(angles := np.linspace(0, np.pi, 4000)), np.sin(angles)]).T
    assert hsq_variance([1.0, 0.0], plane) == pytest.approx(random_codebook_variance(2), rel=1e-3)
    assert random_codebook_variance(1) == pytest.approx(0, abs=1e-12)
    plane = np.column_stack([np.cos(angles := np.linspace(0, np.pi, 4000)), np.sin(angles)]).T
    assert hsq_variance([1.0, 0.0], plane) == pytest.approx(random_codebook_variance(2), rel=1e-3)


def test_greedy_hsq_leaves_one_minus_its_contraction():
    """Projecting on the closest column leaves (1 - delta) ||v||^2."""
    codebook, v = unit_columns(6, 16, 256), np.random.default_rng(7).standard_normal(16)
    errors = [((v - (c @ v) * c) ** 2).sum() for c in codebook.T]

    assert min(errors) == pytest.approx((1 - greedy_contraction(v, codebook)) * (v @ v))


def test_hsq_bits_and_bad_codebooks():
    """The README's setting is 0.875 bits; codebooks that are malformed or make HSQ biased are refused."""
    assert hsq_bits_per_coordinate(16, 256, 6) == 0.875
    with pytest.raises(ValueError, match="length one"):
        hsq_variance([1.0, 2.0], [[2.0, 0.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="rank"):
        hsq_variance([1.0, 2.0], [[1.0], [0.0]])

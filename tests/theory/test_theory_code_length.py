"""Expected code lengths: exact against enumeration, bounds against exact, and the claims that fail."""

from __future__ import annotations

import math

import naive_theory
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsgd_lab.theory.code_length import (
    closed_form_sparse_bits,
    exact_sparse_bits,
    paper_sparse_bits,
    sparse_bits_bound_for,
    ternary_sparse_bits,
    worst_case_sparse_bits,
)
from qsgd_lab.theory.dense_code_length import (
    closed_form_dense_bits,
    dense_bits_bound_for,
    dense_bits_per_coordinate,
    exact_dense_bits,
    fixed_width_bits,
    paper_dense_bits,
    recalled_dense_lemma,
    worst_case_dense_bits,
)
from qsgd_lab.theory.variance import worst_case_vector

CODES = st.sampled_from(("gamma", "delta", "omega"))
NORMS = st.sampled_from(("l2", "max"))
coordinates = st.floats(-1e3, 1e3, allow_subnormal=False)
short_vectors = st.lists(coordinates, min_size=1, max_size=7)
long_vectors = st.lists(coordinates, min_size=1, max_size=80).filter(any)
level_counts = st.integers(1, 40)


@given(short_vectors, level_counts, NORMS, st.integers(1, 8), CODES, st.sampled_from(("none", "marker")))
def test_exact_sparse_length_is_the_enumerated_one(vector, s, norm, size, code, end):
    """E|Code_s| is the mean length of the written message over all roundings of each bucket."""
    expected = sum(
        naive_theory.expectation(bucket, s, norm, lambda levels: naive_theory.sparse_bits(levels, code, end))
        for bucket in naive_theory.buckets(vector, size)
    )

    exact = exact_sparse_bits(vector, s, norm=norm, bucket_size=size, code=code, end=end)
    assert exact == pytest.approx(expected, abs=1e-6)


@given(short_vectors, level_counts, NORMS, st.integers(1, 8), CODES, st.sampled_from(("always", "nonzero")))
def test_exact_dense_length_is_the_enumerated_one(vector, s, norm, size, code, sign):
    """E|Code'_s| is the mean length of the written message over all roundings of each bucket."""
    expected = sum(
        naive_theory.expectation(bucket, s, norm, lambda levels: naive_theory.dense_bits(levels, code, sign))
        for bucket in naive_theory.buckets(vector, size)
    )

    exact = exact_dense_bits(vector, s, norm=norm, bucket_size=size, code=code, sign=sign)
    assert exact == pytest.approx(expected, abs=1e-6)


@given(long_vectors, level_counts, CODES)
def test_the_sparse_bounds_hold_in_order(vector, s, code):
    """C1 and C2: exact <= bound for this vector <= bound for every vector, for each code."""
    n = len(vector)
    exact = exact_sparse_bits(vector, s, code=code)
    for_this, for_all = sparse_bits_bound_for(vector, s, code=code), worst_case_sparse_bits(n, s, code=code)

    assert exact <= for_this + 1e-6 <= for_all + 2e-6


@given(st.integers(1, 10**7), st.integers(1, 300))
def test_the_closed_form_is_above_the_numeric_bound(n, s):
    """C2' is C2 with a line in the place of the envelope, so it is never below."""
    assert worst_case_sparse_bits(n, s) <= closed_form_sparse_bits(n, s) * (1 + 1e-9)


@pytest.mark.parametrize("n", [4, 5, 16, 100, 1000, 2**16])
def test_the_ternary_bound_holds(n):
    """C3: sqrt(n) (log n + 5) + 32 covers normal, constant and one-hot vectors at s = 1, and C2 itself."""
    onehot = np.zeros(n)
    onehot[-1] = 1
    normal = np.random.default_rng(0).standard_normal(n)

    assert max(exact_sparse_bits(v, 1) for v in (onehot, normal, np.ones(n))) <= ternary_sparse_bits(n)
    assert worst_case_sparse_bits(n, 1) <= ternary_sparse_bits(n)


@settings(max_examples=50)
@given(long_vectors, st.integers(2, 40))
def test_the_papers_sparse_formula_was_never_seen_violated(vector, s):
    """Theorem 3.2 with o(1) = 0 is above the exact length of every vector tried (not a theorem)."""
    assert exact_sparse_bits(vector, s) <= paper_sparse_bits(len(vector), s)


@given(long_vectors, level_counts, CODES, st.sampled_from(("always", "nonzero")))
def test_the_dense_supremum_is_a_bound(vector, s, code, sign):
    """D1: no vector's exact dense length exceeds 32 + n F*(s^2 / n)."""
    exact = exact_dense_bits(vector, s, code=code, sign=sign)

    assert exact <= worst_case_dense_bits(len(vector), s, code=code, sign=sign) + 1e-6


@pytest.mark.parametrize(("n", "s"), [(64, 1), (64, 5), (64, 8), (10_000, 37)])
def test_the_constant_vector_attains_the_dense_supremum(n, s):
    """D1 for s <= sqrt(n): 32 + n + 3 s sqrt(n), or 32 + 2 n + 2 s sqrt(n) with every sign, and attained."""
    root = s * math.sqrt(n)
    expected = {"nonzero": 32 + n + 3 * root, "always": 32 + 2 * n + 2 * root}

    for sign, bits in expected.items():
        assert exact_dense_bits(np.ones(n), s, sign=sign) == pytest.approx(bits)
        assert worst_case_dense_bits(n, s, sign=sign) == pytest.approx(bits, rel=1e-6)


def test_values_of_the_dense_supremum():
    """F* at the sheet's mean squares."""
    np.testing.assert_allclose(
        dense_bits_per_coordinate([4, 9, 16, 64, 256], 1000, sign="always"),
        [5.125, 7, 7.175, 8.341, 12.04],
        atol=6e-3,
    )


@given(long_vectors, level_counts)
def test_the_simple_dense_bounds_hold(vector, s):
    """D2: exact <= 32 + n (1 + Phi(log(1 + mean))) <= 32 + n (2 + 2.5 log(1 + s / sqrt n))."""
    exact = exact_dense_bits(vector, s, sign="always")

    assert exact <= dense_bits_bound_for(vector, s) + 1e-6 <= closed_form_dense_bits(len(vector), s) + 2e-6


def test_two_point_eight_n_is_exceeded():
    """At s = sqrt(n) the dense code needs 4 n on constant and 2.94 n on normal vectors, not 2.8 n."""
    n, s = 2**16, 2**8
    normal = np.random.default_rng(0).standard_normal(n)

    assert exact_dense_bits(np.ones(n), s) == pytest.approx(4 * n + 32)
    assert (paper_dense_bits(n) - 32) / n == pytest.approx(2.8)
    assert (exact_dense_bits(normal, s) - 32) / n == pytest.approx(2.943, abs=0.01)
    assert (exact_dense_bits(normal, s, sign="always") - 32) / n == pytest.approx(3.312, abs=0.01)
    assert (exact_sparse_bits(normal, s) - 32) / n == pytest.approx(2.755, abs=0.01)
    assert (recalled_dense_lemma(n, s) - 32) / n == pytest.approx(3.292, abs=0.001)


def test_sparse_lengths_at_s_equal_sqrt_n():
    """Code_s takes 3 n on constant vectors; 2.870 n on {3/2, 1/2} in order, 2.931 n on it shuffled."""
    n, s = 2**16, 2**8
    ordered = worst_case_vector(n, s)
    shuffled = np.random.default_rng(1).permutation(ordered)

    assert (exact_sparse_bits(np.ones(n), s) - 32) / n == pytest.approx(3, abs=1e-3)
    assert (exact_sparse_bits(ordered, s) - 32) / n == pytest.approx(2.870, abs=1e-3)
    assert (exact_sparse_bits(shuffled, s) - 32) / n == pytest.approx(2.931, abs=5e-3)


def test_fixed_width_counts_sign_and_norms():
    """(b + 1) n + 32 a bucket: "4-bit QSGD" of 512-buckets is 4.0625 bits a coordinate."""
    assert fixed_width_bits(512, 3, bucket_size=512) == 4.0625 * 512
    assert fixed_width_bits(513, 3, bucket_size=512) == 4 * 513 + 64

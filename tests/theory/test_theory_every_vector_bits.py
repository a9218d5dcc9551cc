"""Bits that suffice for every vector, under each norm, rounding, code and division into buckets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.theory.code_length import sparse_bits_at, worst_case_sparse_bits
from qsgd_lab.theory.dense_code_length import dense_bits_at, exact_dense_bits, worst_case_dense_bits
from qsgd_lab.theory.every_vector_bits import (
    dense_bits_for_every_vector,
    nearest_supremum,
    sparse_bits_for_every_vector,
)
from qsgd_lab.theory.level_positions import level_positions

CODES = st.sampled_from(("gamma", "delta", "omega"))
NORMS = st.sampled_from(("l2", "max"))
ROUNDINGS = st.sampled_from(("stochastic", "nearest"))
coordinates = st.one_of(st.floats(-1e3, 1e3, allow_subnormal=False), st.sampled_from((0.0, 1.0, -1.0)))
vectors = st.lists(coordinates, min_size=1, max_size=80).filter(any)
level_counts = st.integers(1, 40)
sizes = st.integers(1, 90)


def law(vector, s, norm, size, rounding):
    """Return the positions whose levels are sent."""
    at = level_positions(vector, s, norm=norm, bucket_size=size)
    return at.rounded() if rounding == "nearest" else at


@given(vectors, level_counts, NORMS, sizes, ROUNDINGS, CODES, sizes)
def test_no_vector_needs_more_sparse_bits(vector, s, norm, size, rounding, code, restart):
    """C2, extended: no vector's exact sparse length exceeds the bound, wherever its gaps begin again."""
    exact = sparse_bits_at(law(vector, s, norm, size, rounding), code, restart=restart)

    bound = sparse_bits_for_every_vector(
        len(vector), s, bucket_size=size, norm=norm, rounding=rounding, code=code
    )
    assert exact <= bound + 1e-6


@given(vectors, level_counts, NORMS, sizes, ROUNDINGS, CODES, st.sampled_from(("always", "nonzero")))
def test_no_vector_needs_more_dense_bits(vector, s, norm, size, rounding, code, sign):
    """D1, extended: no vector's exact dense length exceeds the bound."""
    exact = dense_bits_at(law(vector, s, norm, size, rounding), code, sign=sign)

    bound = dense_bits_for_every_vector(
        len(vector), s, bucket_size=size, norm=norm, rounding=rounding, code=code, sign=sign
    )
    assert exact <= bound + 1e-6


@pytest.mark.parametrize("s", [1, 7, 16, 127])
def test_one_l2_bucket_is_the_theorem(s):
    """For one bucket under l2 the extended bounds are C2 and D1 themselves."""
    assert sparse_bits_for_every_vector(256, s) == pytest.approx(worst_case_sparse_bits(256, s))
    assert dense_bits_for_every_vector(256, s) == pytest.approx(worst_case_dense_bits(256, s))


@pytest.mark.parametrize(("norm", "s"), [("max", 1), ("max", 15), ("l2", 3), ("l2", 8)])
def test_constant_vectors_attain_the_dense_bound(norm, s):
    """Under the max norm always, under l2 where s <= sqrt(d), also in buckets."""
    exact = exact_dense_bits(np.ones(256), s, norm=norm, bucket_size=64)

    assert exact == pytest.approx(dense_bits_for_every_vector(256, s, bucket_size=64, norm=norm))


@given(st.integers(1, 6), st.integers(1, 30))
def test_the_supremum_under_nearest_rounding_is_above_every_mixture(s, n):
    """No split of the coordinates between two levels within the budget s^2 exceeds the supremum."""
    values = np.array([1.0, *(3.0 + level for level in range(s))])
    squares = np.maximum(np.arange(s + 1) - 0.5, 0) ** 2
    most = nearest_supremum(values, n)

    for low in range(s + 1):
        for high in range(low, s + 1):
            raised = np.arange(n + 1)
            affordable = squares[low] * (n - raised) + squares[high] * raised <= s * s
            totals = values[low] * (n - raised) + values[high] * raised
            assert totals[affordable].max(initial=0) <= most + 1e-9

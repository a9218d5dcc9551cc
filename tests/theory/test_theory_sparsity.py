"""The number of non-zeros: exact, worst case, and the count that is not a bound."""

from __future__ import annotations

import naive_theory
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.theory.sparsity import (
    exact_nonzeros,
    nonzeros_variance,
    paper_nonzeros_bound,
    printed_count_theorem_3_4,
    worst_case_nonzeros,
)

coordinates = st.floats(-1e3, 1e3, allow_subnormal=False)
level_counts = st.integers(1, 40)
norms = st.sampled_from(("l2", "max"))


@given(st.lists(coordinates, min_size=1, max_size=7), level_counts, norms, st.integers(1, 8))
def test_exact_nonzeros_are_the_enumerated_ones(vector, s, norm, size):
    """Expectation and variance of ||Q(v)||_0 are those over all roundings of each bucket."""
    parts = naive_theory.buckets(vector, size)
    mean = sum(naive_theory.nonzeros(bucket, s, norm) for bucket in parts)
    spread = sum(
        naive_theory.expectation(bucket, s, norm, lambda levels: sum(k > 0 for k in levels) ** 2)
        - naive_theory.nonzeros(bucket, s, norm) ** 2
        for bucket in parts
    )

    assert exact_nonzeros(vector, s, norm=norm, bucket_size=size) == pytest.approx(mean, abs=1e-9)
    assert nonzeros_variance(vector, s, norm=norm, bucket_size=size) == pytest.approx(spread, abs=1e-9)


@given(st.lists(coordinates, min_size=1, max_size=60), level_counts, norms, st.integers(1, 60))
def test_no_vector_exceeds_the_least_bound(vector, s, norm, size):
    """T2: E||Q(v)||_0 <= min(d, s sqrt(d)) a bucket (l2), at most Lemma 3.1's s (s + sqrt d)."""
    bound = worst_case_nonzeros(len(vector), s, bucket_size=size, norm=norm)

    assert exact_nonzeros(vector, s, norm=norm, bucket_size=size) <= bound * (1 + 1e-12)
    if norm == "l2":
        assert bound <= paper_nonzeros_bound(len(vector), s, bucket_size=size)


@pytest.mark.parametrize(("n", "s"), [(100, 1), (100, 7), (100, 10), (10_000, 8)])
def test_the_constant_vector_attains_the_least_bound(n, s):
    """T2 is attained by the constant vector for s <= sqrt(n)."""
    assert exact_nonzeros([1.0] * n, s) == pytest.approx(worst_case_nonzeros(n, s))


def test_the_count_printed_with_theorem_3_4_is_exceeded():
    """The constant vector, n = 10^4 and s = 8, has 800 expected non-zeros; the printed count is 164."""
    assert float(printed_count_theorem_3_4(10_000, 8)) == 164
    assert exact_nonzeros([1.0] * 10_000, 8) == pytest.approx(800)

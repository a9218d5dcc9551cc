"""The exact variance, its worst case over vectors, and rounding to nearest."""

from __future__ import annotations

import math

import naive_theory
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.theory.level_positions import bucket_lengths, level_positions
from qsgd_lab.theory.nearest import (
    nearest_error,
    nearest_nonzeros,
    worst_case_nearest_error,
    worst_case_nearest_nonzeros,
)
from qsgd_lab.theory.variance import (
    exact_second_moment,
    exact_variance,
    paper_variance_bound,
    relative_variance,
    worst_case_variance,
    worst_case_variance_l2,
    worst_case_variance_max,
    worst_case_vector,
)

NORMS = ("l2", "max")
coordinates = st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda v: 0.0 if abs(v) < 1e-6 else v)
vectors = st.lists(coordinates, min_size=1, max_size=7)
long_vectors = st.lists(coordinates, min_size=1, max_size=60)
level_counts = st.integers(1, 40)


@given(vectors, level_counts, st.sampled_from(NORMS), st.integers(1, 8))
def test_exact_variance_is_the_enumerated_one(vector, s, norm, size):
    """The exact variance is the mean over all 2^n roundings of each bucket, added up over the buckets."""
    expected = sum(naive_theory.variance(bucket, s, norm) for bucket in naive_theory.buckets(vector, size))

    exact = exact_variance(vector, s, norm=norm, bucket_size=size)

    assert exact == pytest.approx(expected, rel=1e-9, abs=1e-9 * sum(v * v for v in vector))


@given(long_vectors, level_counts, st.sampled_from(NORMS), st.integers(1, 60))
def test_no_vector_exceeds_the_least_bound(vector, s, norm, size):
    """T1, T3: the relative variance of every vector is at most that of the worst case for its bucket size."""
    bound = float(worst_case_variance(min(size, len(vector)), s, norm=norm))

    assert relative_variance(vector, s, norm=norm, bucket_size=size) <= bound * (1 + 1e-9) + 1e-12


@given(st.integers(1, 10**8), st.integers(1, 32767))
def test_the_least_bound_never_exceeds_the_papers(n, s):
    """T1 is at most Lemma 3.1 (ii), and at most half of it from s = sqrt(n) / 2 on."""
    tight, paper = float(worst_case_variance_l2(n, s)), float(paper_variance_bound(n, s))

    assert tight <= paper * (1 if s < math.sqrt(n) / 2 else 0.5) * (1 + 1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("s", [1, 3, 7, 15, 127])
@pytest.mark.parametrize("n", [16, 100, 512])
def test_the_worst_case_vector_attains_the_least_bound(n, s, norm):
    """The named vector comes within a factor 1 - 1/n of the least bound, or attains it."""
    vector = worst_case_vector(n, s, norm=norm)
    attained = relative_variance(vector, s, norm=norm)
    bound = float(worst_case_variance(n, s, norm=norm))

    assert np.linalg.norm(vector) == pytest.approx(1)
    assert bound * (1 - 1 / n) - 1e-12 <= attained <= bound * (1 + 1e-9)
    if norm == "max" or s <= math.sqrt(n) / 2:
        assert attained == pytest.approx(bound, rel=1e-9)


def test_at_s_equal_sqrt_n_the_blow_up_is_a_quarter():
    """T1: at s = sqrt(n) the second moment grows by 1.25 at most, not 2, and {3/2, 1/2} attains it."""
    n = 64
    positions = np.repeat([1.5, 0.5], [3 * n // 8, 5 * n // 8])

    assert float(worst_case_variance_l2(n, 8)) == 0.25
    assert relative_variance(positions, 8) == pytest.approx(0.25)
    assert exact_second_moment(positions, 8) == pytest.approx(1.25 * n)


def test_published_figures_of_the_least_bounds():
    """The values of the sheet: 4-bit QSGD with the sign inside (s = 7) at d = 512, and the max norm's."""
    assert float(paper_variance_bound(512, 16)) == pytest.approx(math.sqrt(2))
    assert float(worst_case_variance_l2(512, 7)) == pytest.approx(2.2325, abs=5e-5)
    np.testing.assert_allclose(
        worst_case_variance_max(512, [1, 7, 127]), [10.8137, 1.1903, 0.007858], rtol=1e-4
    )


@given(vectors, level_counts, st.sampled_from(NORMS), st.integers(1, 8))
def test_nearest_error_is_that_of_trying_every_level(vector, s, norm, size):
    """The error and the non-zeros of nearest rounding are those of the closest of all s + 1 levels."""
    rounded = [
        (naive_theory.nearest(bucket, s, norm), bucket) for bucket in naive_theory.buckets(vector, size)
    ]
    expected = sum((q - v) ** 2 for values, bucket in rounded for q, v in zip(values, bucket, strict=True))

    assert nearest_error(vector, s, norm=norm, bucket_size=size) == pytest.approx(
        expected, rel=1e-9, abs=1e-9 * sum(v * v for v in vector)
    )


@given(long_vectors, level_counts, st.sampled_from(NORMS))
def test_no_vector_exceeds_the_bounds_of_nearest_rounding(vector, s, norm):
    """Nearest rounding errs by at most its worst case, with at most its largest number of non-zeros."""
    n, total = len(vector), sum(v * v for v in vector)
    bound = float(worst_case_nearest_error(n, s, norm=norm))

    assert nearest_error(vector, s, norm=norm) <= bound * total * (1 + 1e-9) + 1e-12 * total
    assert nearest_nonzeros(vector, s, norm=norm) <= worst_case_nearest_nonzeros(n, s, norm=norm)


def test_the_bounds_of_nearest_rounding_are_attained():
    """Half-level coordinates attain them: all but the maximum for the max norm, a constant vector for l2."""
    halves = np.full(100, 0.5)
    halves[0] = 3

    assert nearest_error(halves, 3, norm="max") / (halves @ halves) == pytest.approx(
        float(worst_case_nearest_error(100, 3, norm="max"))
    )
    assert nearest_error(np.ones(100), 4) / 100 == pytest.approx(float(worst_case_nearest_error(100, 4)))
    assert nearest_nonzeros(np.ones(100), 5) == worst_case_nearest_nonzeros(100, 5) == 100


def test_extreme_magnitudes_keep_their_positions():
    """Squares of very large and very small coordinates neither overflow nor vanish."""
    for scale in (1e-300, 1.0, 1e300):
        np.testing.assert_allclose(
            level_positions(np.array([3, -4]) * scale, 5).positions, [3, 4], rtol=1e-15
        )


def test_a_zero_vector_has_no_variance():
    """Q(0) = 0: a zero vector, like a zero bucket, adds nothing."""
    assert relative_variance([0.0, 0.0], 3) == 0
    assert exact_variance([0.0, 0.0, 3.0, 4.0], 2, bucket_size=2) == exact_variance([3.0, 4.0], 2)


def test_bucket_lengths_add_up():
    """The last bucket is short, and no bucket is longer than the vector."""
    assert bucket_lengths(10, 4).tolist() == [4, 4, 2]
    assert bucket_lengths(3, 512).tolist() == bucket_lengths(3, None).tolist() == [3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], 1), "empty"),
        (([1.0, math.nan], 1), "NaN"),
        (([1.0], 0), "num_levels is 0"),
    ],
)
def test_bad_vectors_are_refused_by_name(arguments, message):
    """What has no exact value is refused with the reason."""
    with pytest.raises(ValueError, match=message):
        exact_variance(*arguments)


def test_bad_parameters_are_refused_by_name():
    """Unknown norms, empty buckets and bounds without levels are refused."""
    with pytest.raises(ValueError, match="'l2' or 'max'"):
        exact_variance([1.0], 1, norm="l1")
    with pytest.raises(ValueError, match="bucket_size is 0"):
        exact_variance([1.0], 1, bucket_size=0)
    with pytest.raises(ValueError, match="num_levels is 0"):
        paper_variance_bound(4, 0)

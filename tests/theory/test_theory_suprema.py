"""Worst cases at finite n: exact suprema against dynamic programming, and the vectors that attain them."""

from __future__ import annotations

import itertools
import math

import naive_theory
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.compressors import QSGD
from qsgd_lab.theory.dense_code_length import dense_level_bits, worst_case_dense_bits
from qsgd_lab.theory.every_vector_bits import nearest_supremum
from qsgd_lab.theory.nearest import (
    nearest_error,
    nearest_error_bound_l2,
    worst_case_nearest_error,
    worst_case_nearest_nonzeros,
)
from qsgd_lab.theory.odd_squares import is_sum_of_odd_squares, odd_roots
from qsgd_lab.theory.variance import (
    relative_variance,
    variance_bound_l2,
    worst_case_variance,
    worst_case_variance_l2,
    worst_case_vector,
)

SMALL = [(n, s) for n in range(1, 7) for s in (1, 2, 3)]
SIZES = (*range(1, 40), 64, 100, 512, 1000)
LEVELS = (1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 63, 127, 255, 1000, 32767)


def rounding_variance(x: float) -> float:
    """Return frac(x) (1 - frac(x))."""
    return (x - math.floor(x)) * (1 - x + math.floor(x))


def squared_distance(x: float) -> float:
    """Return the squared distance to the nearest whole number."""
    return min(x - math.floor(x), math.ceil(x) - x) ** 2


@pytest.mark.parametrize(("n", "s"), SMALL)
def test_the_variance_supremum_is_the_searched_one(n, s):
    """T1: no hand-out of the budget s^2 exceeds the supremum, and a fine one comes within 1 % of it."""
    searched = naive_theory.supremum(rounding_variance, n, s, per_level=8) / s**2
    supremum = float(worst_case_variance_l2(n, s))

    assert searched <= supremum + 1e-12
    assert searched >= 0.99 * supremum


@pytest.mark.parametrize(("n", "s"), [(n, s) for n in range(1, 9) for s in (1, 2, 3, 4, 5, 6)])
def test_the_supremum_of_nearest_rounding_is_the_searched_one(n, s):
    """Worst vectors have all positions but one at half-integers, which the search has, so both are equal."""
    searched = naive_theory.supremum(squared_distance, n, s, per_level=1) / s**2

    assert float(worst_case_nearest_error(n, s)) == pytest.approx(searched, rel=1e-12, abs=1e-15)


def test_two_coordinates_at_one_level():
    """At n = 2, s = 1 the supremum is sqrt(2) - 1, where n / (4 s^2) is a half."""
    assert float(worst_case_variance_l2(2, 1)) == pytest.approx(math.sqrt(2) - 1)
    assert float(variance_bound_l2(2, 1)) == 0.5
    assert float(worst_case_nearest_error(2, 1)) == pytest.approx(0.25 + (1 - math.sqrt(3) / 2) ** 2)


@pytest.mark.parametrize("norm", ["l2", "max"])
def test_the_constructed_vectors_attain_the_supremum_in_every_cell(norm):
    """T1, T3: the named vector attains the supremum to a relative 1e-12, for 645 (n, s) under each norm."""
    for n, s in itertools.product(SIZES, LEVELS):
        vector = worst_case_vector(n, s, norm=norm)
        supremum = float(worst_case_variance(n, s, norm=norm))

        assert np.linalg.norm(vector) == pytest.approx(1)
        assert relative_variance(vector, s, norm=norm) == pytest.approx(supremum, rel=1e-12, abs=0), (n, s)


def test_the_simple_bound_is_close_to_the_supremum():
    """N / (4 s^2) is above the supremum by at most 1 / (4 s^4) for n >= 3, and equal for s <= sqrt(n) / 2."""
    n, s = np.meshgrid([n for n in SIZES if n >= 3], LEVELS)
    above = variance_bound_l2(n, s) - worst_case_variance_l2(n, s)

    assert (above >= -1e-15 * variance_bound_l2(n, s)).all()
    # s = 1 and n = 3 leave the most, in units of the bound; rounding is allowed for at large s.
    assert (above <= (1 / (4.0 * s**4)) * (1 + 1e-5) + 1e-15 * variance_bound_l2(n, s)).all()
    assert (above[4 * s**2 <= n] == 0).all()


@given(st.integers(2, 400), st.integers(1, 300))
def test_nearest_rounding_is_below_its_simple_bound(n, s):
    """The supremum of nearest rounding is at most min(1, n / (4 s^2)), and (n - 1) / (4 s^2) at least."""
    exact, bound = float(worst_case_nearest_error(n, s)), float(nearest_error_bound_l2(n, s))

    assert min(1, (n - 1) / (4 * s * s)) - 1e-12 <= exact <= bound * (1 + 1e-12)


@pytest.mark.parametrize(("n", "s"), [(4, 1), (4, 7), (16, 4), (100, 127), (512, 64)])
def test_nearest_rounding_attains_a_quarter_where_it_fits(n, s):
    """Where 4 s^2 is a sum of n odd squares, half-integer positions attain n / (4 s^2)."""
    assert is_sum_of_odd_squares(4 * s * s, n)
    vector = odd_roots(4 * s * s, n) / 2

    assert nearest_error(vector, s) / s**2 == pytest.approx(n / (4 * s**2), rel=1e-12)
    assert float(worst_case_nearest_error(n, s)) == pytest.approx(n / (4 * s**2), rel=1e-12)


@pytest.mark.parametrize(("n", "s"), [(3, 4), (5, 3), (16, 7), (9, 2), (2, 5)])
def test_nearest_rounding_attains_its_supremum_elsewhere(n, s):
    """N - 1 half-integers and the rest of the budget attain the supremum: the best of all such vectors."""
    best = 0.0
    for total in range(n - 1, 4 * s * s + 1, 8):
        if is_sum_of_odd_squares(total, n - 1):
            vector = np.append(odd_roots(total, n - 1), math.sqrt(4 * s * s - total))
            best = max(best, nearest_error(vector, s) / float(vector @ vector))

    assert best == pytest.approx(float(worst_case_nearest_error(n, s)), rel=1e-12)


@pytest.mark.parametrize("sign", ["always", "nonzero"])
@pytest.mark.parametrize("code", ["gamma", "delta", "omega"])
@pytest.mark.parametrize(("n", "s"), [(1, 3), (2, 3), (4, 2), (5, 4), (3, 5)])
def test_the_dense_bound_is_near_the_supremum(n, s, code, sign):
    """D1 is above every vector's bits, by less than one top level's; it is attained where s <= sqrt(n)."""
    bits = dense_level_bits(s, code, sign)
    searched = 32 + naive_theory.supremum(
        lambda x: float(np.interp(x, np.arange(s + 1), bits)), n, s, per_level=4
    )
    bound = worst_case_dense_bits(n, s, code=code, sign=sign)

    assert searched <= bound + 1e-9
    # The search misses a little of the supremum between its pieces.
    assert bound - searched < bits[-1] + 0.05
    if s * s <= n:
        assert bound == pytest.approx(searched, abs=1e-6)


@pytest.mark.parametrize(("n", "s"), [(2, 3), (4, 2), (5, 4), (9, 3)])
def test_the_count_bounds_of_nearest_rounding(n, s):
    """The non-zeros of nearest rounding are attained; the sum over levels is an upper bound."""
    searched = naive_theory.supremum(lambda x: float(x >= 0.5), n, s, per_level=1)
    squares = naive_theory.supremum(lambda x: math.floor(x + 0.5) ** 2, n, s, per_level=1)

    assert worst_case_nearest_nonzeros(n, s) == searched
    assert nearest_supremum(np.arange(s + 1.0) ** 2, n) >= squares


def test_sums_of_odd_squares_are_the_enumerated_ones():
    """Up to 120, a number is a sum of n odd squares if and only if some n odd squares add up to it."""
    odd = (1, 3, 5, 7, 9, 11)
    for count in range(1, 7):
        sums = {sum(c * c for c in chosen) for chosen in itertools.combinations_with_replacement(odd, count)}
        for total in range(121):
            assert is_sum_of_odd_squares(total, count) == (total in sums)


@given(st.integers(1, 60), st.integers(0, 10**7))
def test_odd_roots_add_up(count, eights):
    """The roots are odd, as many as asked for, and their squares add up; three or more always exist."""
    total = count + 8 * eights
    if count < 3 and not is_sum_of_odd_squares(total, count):
        with pytest.raises(ValueError, match=f"must be a sum of {count} odd squares"):
            odd_roots(total, count)
        return
    roots = odd_roots(total, count)

    assert roots.shape == (count,)
    assert (roots % 2 == 1).all()
    assert (roots**2).sum() == total


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
def test_the_compressors_factor_is_an_upper_bound(norm, rounding):
    """`QSGD.variance_factor` is at least the supremum; equal under max stochastic, and l2 to sqrt(d) / 2."""
    for d, s in itertools.product((2, 3, 5, 16, 100, 512), (1, 2, 3, 7, 15, 127)):
        factor = QSGD(levels=s, norm=norm, bucket_size=d, rounding=rounding).variance_factor(4 * d)
        worst = worst_case_variance if rounding == "stochastic" else worst_case_nearest_error
        supremum = float(worst(d, s, norm=norm))

        assert factor >= supremum * (1 - 1e-12)
        if norm == "l2" or rounding == "stochastic":
            exact = (norm == "max") or 4 * s * s <= d
            assert not exact or factor == pytest.approx(supremum, rel=1e-12)
            simple = variance_bound_l2(d, s) if rounding == "stochastic" else nearest_error_bound_l2(d, s)
            assert norm == "max" or factor == pytest.approx(float(simple), rel=1e-12)

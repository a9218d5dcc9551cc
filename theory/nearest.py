"""Rounding to the nearest level: no variance, but a bias; its exact error and its worst case.

The same levels as QSGD with a deterministic choice. Q(v) - v does not average out over steps or nodes, so
the figures here are squared *errors*, to be compared with the variance of stochastic rounding only with
that in mind.

The worst case under the l2 norm. In levels, sum x_i^2 = s^2, and the squared distance to the nearest level
is (x - k)^2 = y - 2 k sqrt(y) + k^2 on its stretch, y = x^2: convex in y. Moving y from one coordinate to
another can therefore only gain until one of the two is at 0 or at a half-integer. So a worst vector has at
most one coordinate elsewhere, and for s > sqrt(n) / 2 all others are at half-integers: their squares add up
to C / 4 with C a sum of n - 1 odd squares (`odd_squares`), and the last takes the rest.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.levels import NORMS, Norm
from qsgd_lab.theory.arguments import choice, size_and_levels, vector, whole
from qsgd_lab.theory.arrays import Floats, split_scale, times_power_of_two
from qsgd_lab.theory.level_positions import bucket_kinds, level_positions
from qsgd_lab.theory.odd_squares import is_sum_of_odd_squares

#: Up to here 4 s^2 is a whole number that float64 holds with digits to spare.
MOST_LEVELS_OF_NEAREST = 2**24


def nearest_error(
    gradient: ArrayLike, num_levels: int, *, norm: Norm = "l2", bucket_size: int | None = None
) -> float:
    """Return ||Q(v) - v||^2 of rounding each coordinate to its nearest level (ties cost the same either way).

    Parameters
    ----------
    gradient, num_levels, norm, bucket_size
        As in `qsgd_lab.theory.level_positions.level_positions`.

    Raises
    ------
    ValueError
        As in `level_positions`, or if the value does not fit in float64.
    """
    scaled, exponent = split_scale(vector("gradient", gradient))
    at = level_positions(scaled, num_levels, norm=norm, bucket_size=bucket_size)
    distances = np.minimum(at.up_probabilities, 1 - at.up_probabilities)
    error = float(((at.norms / at.num_levels) ** 2 * at.bucket_sums(distances**2)).sum())
    return times_power_of_two(error, 2 * exponent, "the error")


def nearest_nonzeros(
    gradient: ArrayLike, num_levels: int, *, norm: Norm = "l2", bucket_size: int | None = None
) -> int:
    """Return the number of coordinates at half a level or more; parameters as in `nearest_error`."""
    at = level_positions(gradient, num_levels, norm=norm, bucket_size=bucket_size)
    return int((at.positions >= 0.5).sum())


def nearest_error_bound_l2(num_coordinates: ArrayLike, num_levels: ArrayLike) -> Floats:
    """Return min(1, n / (4 s^2)), a simple upper bound on the relative error of every vector, l2 norm.

    It is the supremum where s <= sqrt(n) / 2, and approaches it as n grows (`worst_case_nearest_error`).
    Parameters as there.
    """
    n, s = size_and_levels(num_coordinates, num_levels)
    return np.minimum(1.0, n / (4 * s**2))


def worst_case_nearest_error(
    num_coordinates: ArrayLike, num_levels: ArrayLike, *, norm: Norm = "l2"
) -> Floats:
    r"""Return the supremum of ||Q(v) - v||^2 / ||v||^2 of nearest rounding over all vectors, exactly.

    .. math:: \ell_2: \; 1 \;(s \le \sqrt n / 2), \quad
              \Bigl(\frac{n-1}4 + \max_C d\bigl(\tfrac12 \sqrt{4 s^2 - C}\bigr)^2\Bigr) / s^2
              \;(s > \sqrt n / 2); \qquad \max: \; \frac{n - 1}{4 s^2 + n - 1}

    over the sums C <= 4 s^2 of n - 1 odd squares, d the distance to the nearest whole number (derivation at
    the head of this module). Up to s = sqrt(n) / 2 the constant vector is sent as zero, error 1, step after
    step: the reason why nearest rounding needs error feedback. Under the max norm all coordinates but the
    largest are at half a level.

    Parameters
    ----------
    num_coordinates, num_levels : array_like of int
        n >= 1 and s >= 1, broadcast; s <= 2^24 for the l2 norm.
    norm : {"l2", "max"}

    Examples
    --------
    >>> worst_case_nearest_error([64, 16, 3, 2], 4).round(5)
    array([1.     , 0.25   , 0.04081, 0.02095])
    """
    choice("norm", norm, NORMS)
    n, s = size_and_levels(num_coordinates, num_levels)
    if norm == "max":
        supremum: Floats = (n - 1) / (4 * s**2 + n - 1)
        return supremum
    pairs = zip(n.reshape(-1), s.reshape(-1), strict=True)
    return np.array([_supremum_l2(int(one), int(levels)) for one, levels in pairs]).reshape(n.shape)


@lru_cache(maxsize=4096)
def _supremum_l2(n: int, s: int) -> float:
    if 4 * s * s <= n:
        return 1.0
    if n == 1:
        return 0.0  # a single coordinate is its bucket's norm
    whole("num_levels of the l2 norm", s, most=MOST_LEVELS_OF_NEAREST)
    return ((n - 1) / 4 + (0.5 - _least_miss(n, s)) ** 2) / s**2


def _least_miss(n: int, s: int) -> float:
    """Return how close the last coordinate's position comes to a half-integer, at most 1/2.

    Its position is sqrt(r) / 2, where r = 4 s^2 - C and C is a sum of n - 1 odd squares. Write r = c^2 + e
    with c odd; e is known modulo 8, the miss is |e| / (2 (sqrt(r) + c)), and for each e the largest c is
    best. The e are tried from the smallest on, until none can do better.
    """
    most, total = 4 * s * s - (n - 1), 4 * s * s
    first = (most - 1) % 8
    best = 0.5
    k = 0
    while True:
        pair = (first + 8 * k, first - 8 - 8 * k)
        least = min(map(abs, pair))
        # c^2 = r - e and r <= most, so no later e can have a smaller miss than this.
        if least / (2 * (np.sqrt(most) + np.sqrt(most + least))) >= best:
            return best
        for e in pair:
            best = min(best, _least_miss_with(e, most, total, n, best))
        k += 1


def _least_miss_with(e: int, most: int, total: int, n: int, best: float) -> float:
    """Return the least miss among r = c^2 + e with c odd, or `best` if none is below it."""
    largest = int(np.sqrt(max(most - e, 0)))
    for c in range(largest - 1 + largest % 2, 0, -2):
        r = c * c + e
        miss = abs(e) / (2 * (np.sqrt(max(r, 0)) + c))
        if r < 0 or miss >= best:
            break
        if is_sum_of_odd_squares(total - r, n - 1):
            return float(miss)
    return best


def worst_case_nearest_nonzeros(
    num_coordinates: int, num_levels: int, *, bucket_size: int | None = None, norm: Norm = "l2"
) -> float:
    """Return the largest number of non-zeros over all vectors, exactly.

    It is min(d, 4 s^2) a bucket for l2, and n for the max norm.

    A non-zero coordinate has position at least 1/2, and squared positions of an l2 bucket add up to s^2; so
    many equal coordinates, the others zero, attain it.
    Parameters as in `qsgd_lab.theory.sparsity.worst_case_nonzeros`.
    """
    d, counts = bucket_kinds(num_coordinates, bucket_size)
    choice("norm", norm, NORMS)
    s = whole("num_levels", num_levels)
    return float(counts @ (d if norm == "max" else np.minimum(d, 4.0 * s**2)))

r"""The variance of the QSGD quantizer: exact for a vector, and the worst case over all vectors.

Everything is about the *added* variance E||Q(v) - v||^2 given v, usually relative to ||v||^2. With buckets,
"n" in a bound is the bucket size d: each bucket obeys it, so their sum does (QSGD, section 4).

The worst case under the l2 norm. In levels, sum x_i^2 = s^2 and the variance is sum g(x_i) with
g(x) = frac(x)(1 - frac(x)), which is the largest of the parabolas c x - x^2 - (c^2 - 1) / 4 over the odd
numbers c. With one odd c_i a coordinate and C = sum c_i^2, Cauchy-Schwarz gives

.. math:: \sum_i g(x_i) \le \max_C \; \frac n4 - \bigl(s - \tfrac12 \sqrt C\bigr)^2

with equality at x_i = c_i s / sqrt(C). So the supremum is that of the C closest to (2 s)^2 (T1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.levels import NORMS, Norm
from qsgd_lab.theory.arguments import choice, fits_memory, size_and_levels, vector, whole
from qsgd_lab.theory.arrays import Floats, in_squared_units, split_scale
from qsgd_lab.theory.level_positions import level_positions
from qsgd_lab.theory.odd_squares import is_sum_of_odd_squares, odd_roots

#: With two coordinates the supremum is searched for, in O(s) a trial.
MOST_LEVELS_OF_TWO = 2**24


def exact_variance(
    gradient: ArrayLike, num_levels: int, *, norm: Norm = "l2", bucket_size: int | None = None
) -> float:
    r"""Return E||Q(v) - v||^2 of stochastic rounding, exactly.

    .. math:: \sum_b (N_b / s)^2 \sum_{i \in b} p_i (1 - p_i)

    Parameters
    ----------
    gradient, num_levels, norm, bucket_size
        As in `level_positions`.

    Raises
    ------
    ValueError
        As in `level_positions`, or if the value does not fit in float64.

    Examples
    --------
    >>> exact_variance([1.0, 1.0, 1.0, 1.0], 1)  # norm 2, each coordinate kept with probability 1/2
    4.0
    """
    return in_squared_units(
        vector("gradient", gradient),
        lambda w: _variance_of(w, num_levels, norm, bucket_size),
        "the variance",
    )


def _variance_of(scaled: Floats, num_levels: int, norm: Norm, bucket_size: int | None) -> float:
    """Return the variance of a vector whose squares are in range."""
    at = level_positions(scaled, num_levels, norm=norm, bucket_size=bucket_size)
    return float(((at.norms / at.num_levels) ** 2 * at.bucket_sums(at.bernoulli_variances)).sum())


def exact_second_moment(
    gradient: ArrayLike, num_levels: int, *, norm: Norm = "l2", bucket_size: int | None = None
) -> float:
    """Return E||Q(v)||^2 = ||v||^2 + E||Q(v) - v||^2 (Q is unbiased); parameters as in `exact_variance`."""
    return in_squared_units(
        vector("gradient", gradient),
        lambda w: float(w @ w) + _variance_of(w, num_levels, norm, bucket_size),
        "the second moment",
    )


def relative_variance(
    gradient: ArrayLike, num_levels: int, *, norm: Norm = "l2", bucket_size: int | None = None
) -> float:
    """Return E||Q(v) - v||^2 / ||v||^2 exactly, 0 for the zero vector, at any scale of v.

    Parameters as in `exact_variance`.
    """
    scaled, _ = split_scale(vector("gradient", gradient))
    added = _variance_of(scaled, num_levels, norm, bucket_size)
    return added / float(scaled @ scaled) if scaled.any() else 0.0


def squared_norm(gradient: ArrayLike) -> float:
    """Return ||v||_2^2 in float64.

    Raises
    ------
    ValueError
        If the vector is empty or not finite, or the value does not fit in float64.
    """
    return in_squared_units(vector("gradient", gradient), lambda w: float(w @ w), "the squared norm")


def paper_variance_bound(num_coordinates: ArrayLike, num_levels: ArrayLike) -> Floats:
    r"""Return min(n / s^2, sqrt(n) / s), the bound on the relative variance in QSGD, Lemma 3.1 (ii); l2 norm.

    Parameters
    ----------
    num_coordinates : array_like of int
        n >= 1, or the bucket size where buckets are used.
    num_levels : array_like of int
        s >= 1; broadcast against `num_coordinates`.
    """
    n, s = size_and_levels(num_coordinates, num_levels)
    return np.minimum(n / s**2, np.sqrt(n) / s)


def variance_bound_l2(num_coordinates: ArrayLike, num_levels: ArrayLike) -> Floats:
    r"""Return a simple upper bound on the relative variance of every vector under the l2 norm.

    .. math:: \sqrt n / s - 1 \;(s \le \sqrt n / 2), \qquad n / (4 s^2) \;(s \ge \sqrt n / 2)

    The first branch is the supremum itself. The second exceeds it by less than 1 / (4 s^4) for n >= 3
    (`worst_case_variance_l2`). `QSGD.variance_factor` is this bound. Parameters as in `paper_variance_bound`;
    it is at most half of that for s >= sqrt(n) / 2, and a quarter of it for s >= sqrt(n).

    Examples
    --------
    >>> float(variance_bound_l2(2, 1)), float(worst_case_variance_l2(2, 1).round(4))
    (0.5, 0.4142)
    """
    n, s = size_and_levels(num_coordinates, num_levels)
    ratio = np.sqrt(n) / s
    return np.where(ratio >= 2, ratio - 1, n / (4 * s**2))


def worst_case_variance_l2(num_coordinates: ArrayLike, num_levels: ArrayLike) -> Floats:
    r"""Return omega(n, s), the supremum of the relative variance over all vectors, l2 norm, exactly (T1).

    .. math:: \omega(n, s) = \Bigl(\frac n4 - \min_C \bigl(s - \tfrac12 \sqrt C\bigr)^2\Bigr) / s^2

    over the sums C of n odd squares. For n >= 3 those are n, n + 8, n + 16, ... (`odd_squares`), so the
    closest to 4 s^2 is found at once. `worst_case_vector` attains the supremum. It is `variance_bound_l2`
    where s <= sqrt(n) / 2 and where 4 s^2 is itself such a sum, such as at s = sqrt(n) with 8 dividing n.

    Raises
    ------
    ValueError
        If some n or s is not a whole number of at least 1, or n = 2 and s > 2^24.

    Examples
    --------
    >>> worst_case_variance_l2([512, 2, 1], [7, 1, 1]).round(4)
    array([2.2325, 0.4142, 0.    ])
    """
    n, s = size_and_levels(num_coordinates, num_levels)
    missed = np.array(np.minimum(*(_missed(s, offset) for offset in _offsets(n, s))))
    few = n == 2
    if few.any():
        # Two odd squares leave gaps, so here each neighbour has to be looked up.
        missed[few] = [min(_missed(float(one), c) for c in _offsets_of_two(int(one))) for one in s[few]]
    exact = np.where(n > 1, (n / 4 - missed**2) / s**2, 0.0)
    return np.where(4 * s**2 <= n, variance_bound_l2(n, s), exact)


def _offsets(n: Floats, s: Floats) -> tuple[Floats, Floats]:
    """Return C - 4 s^2 for the two numbers C = n mod 8 around 4 s^2: in [0, 7], and in [-8, -1]."""
    # The remainders are taken first, so that they are exact however large n and s are.
    above = np.mod(np.mod(n, 8) - 4 * np.mod(s, 2), 8)
    return above, above - 8


def _offsets_of_two(s: int) -> tuple[int, int]:
    """Return C - 4 s^2 for the sums C of two odd squares next to 4 s^2, above and below."""
    whole("num_levels of two coordinates", s, most=MOST_LEVELS_OF_TWO)
    above = (2 - 4 * s * s) % 8
    below = above - 8
    while not is_sum_of_odd_squares(4 * s * s + above, 2):
        above += 8
    while not is_sum_of_odd_squares(4 * s * s + below, 2):
        below -= 8
    return above, below


def _missed(s: Floats | float, offset: Floats | float) -> Floats:
    """Return |s - sqrt(C) / 2| for C = 4 s^2 + offset, without cancellation."""
    return np.asarray(np.abs(offset) / (2 * (np.sqrt(np.maximum(4 * s**2 + offset, 0)) + 2 * s)))


def worst_case_variance_max(num_coordinates: ArrayLike, num_levels: ArrayLike) -> Floats:
    r"""Return the supremum of the relative variance over all vectors under the max norm, exactly (T3).

    .. math:: \tfrac12 \bigl( \sqrt{1 + (n - 1) / s^2} - 1 \bigr)

    One coordinate is the maximum and is sent exactly; the others share the position that maximises
    x (1 - x) - lambda x^2 at the Dinkelbach fixed point. Attained for every n and s (`worst_case_vector`).
    QSGD uses the max norm in its experiments but states no bound for it.

    Examples
    --------
    >>> worst_case_variance_max(512, [1, 7, 127]).round(4)
    array([1.08137e+01, 1.19030e+00, 7.90000e-03])
    """
    n, s = size_and_levels(num_coordinates, num_levels)
    # sqrt(1 + z) - 1, kept exact where z is tiny.
    return np.expm1(0.5 * np.log1p((n - 1) / s**2)) / 2


def worst_case_variance(num_coordinates: ArrayLike, num_levels: ArrayLike, *, norm: Norm = "l2") -> Floats:
    """Return `worst_case_variance_l2` or `worst_case_variance_max`, by name of the norm."""
    choice("norm", norm, NORMS)
    bound = worst_case_variance_l2 if norm == "l2" else worst_case_variance_max
    return bound(num_coordinates, num_levels)


def worst_case_vector(num_coordinates: int, num_levels: int, *, norm: Norm = "l2") -> Floats:
    """Return a unit vector (l2) that attains `worst_case_variance`.

    Parameters
    ----------
    num_coordinates : int
        n >= 1, the size of one bucket.
    num_levels : int
        s >= 1.
    norm : {"l2", "max"}

    Returns
    -------
    ndarray of float64, shape (n,)
        Positive coordinates with squares summing to 1.

    Raises
    ------
    ValueError
        If a parameter is out of range, or the vector would take more than half of this machine's memory.

    Examples
    --------
    >>> float((worst_case_vector(8, 2) * 2).round(3).max())  # s <= sqrt(n): positions 1/2 and 3/2
    1.5
    """
    n, s = whole("num_coordinates", num_coordinates), whole("num_levels", num_levels)
    choice("norm", norm, NORMS)
    fits_memory("num_coordinates", num_coordinates, n, 24)
    positions = _worst_positions_l2(n, s) if norm == "l2" else _worst_positions_max(n, s)
    return positions / np.linalg.norm(positions)


def _worst_positions_max(n: int, s: int) -> Floats:
    positions = np.full(n, s / (np.sqrt(s * s + n - 1) + s))
    positions[0] = s
    return positions


def _worst_positions_l2(n: int, s: int) -> Floats:
    """Return the odd numbers c_i, to which the positions are proportional."""
    if n == 1 or 4 * s * s <= n:
        return np.ones(n)
    if n == 2:
        offsets = [float(c) for c in _offsets_of_two(s)]
    else:
        offsets = [float(c) for c in _offsets(np.array(float(n)), np.array(float(s)))]
    closest = min(offsets, key=lambda offset: float(_missed(s, offset)))
    return odd_roots(4 * s * s + int(closest), n).astype(np.float64)

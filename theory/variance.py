r"""The variance of the QSGD quantizer: exact for a vector, and the worst case over all vectors.

Everything is about the *added* variance E||Q(v) - v||^2 given v, usually relative to ||v||^2. With buckets,
"n" in a bound is the bucket size d: each bucket obeys it, so their sum does (QSGD, section 4).

The worst cases rest on one argument. In levels, sum x_i^2 = s^2 and the variance is sum g(x_i) with
g(x) = frac(x)(1 - frac(x)). The least concave majorant of y -> g(sqrt y) is sqrt(y) - y up to y = 1/4 and 1/4
beyond, and Jensen's inequality at y = s^2 / n gives `worst_case_variance_l2`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.levels import Norm
from qsgd_lab.theory.arrays import Floats, size_and_levels
from qsgd_lab.theory.level_positions import level_positions


def exact_variance(
    gradient: ArrayLike, num_levels: int, *, norm: Norm = "l2", bucket_size: int | None = None
) -> float:
    r"""Return E||Q(v) - v||^2 of stochastic rounding, exactly.

    .. math:: \sum_b (N_b / s)^2 \sum_{i \in b} p_i (1 - p_i)

    Parameters
    ----------
    gradient, num_levels, norm, bucket_size
        As in `level_positions`.

    Examples
    --------
    >>> exact_variance([1.0, 1.0, 1.0, 1.0], 1)  # norm 2, each coordinate kept with probability 1/2
    4.0
    """
    at = level_positions(gradient, num_levels, norm=norm, bucket_size=bucket_size)
    return float(((at.norms / num_levels) ** 2 * at.bucket_sums(at.bernoulli_variances)).sum())


def exact_second_moment(
    gradient: ArrayLike, num_levels: int, *, norm: Norm = "l2", bucket_size: int | None = None
) -> float:
    """Return E||Q(v)||^2 = ||v||^2 + E||Q(v) - v||^2 (Q is unbiased); parameters as in `exact_variance`."""
    added = exact_variance(gradient, num_levels, norm=norm, bucket_size=bucket_size)
    return squared_norm(gradient) + added


def relative_variance(
    gradient: ArrayLike, num_levels: int, *, norm: Norm = "l2", bucket_size: int | None = None
) -> float:
    """Return E||Q(v) - v||^2 / ||v||^2 exactly (0 for the zero vector); parameters as in `exact_variance`."""
    total = squared_norm(gradient)
    added = exact_variance(gradient, num_levels, norm=norm, bucket_size=bucket_size)
    return added / total if total > 0 else 0.0


def squared_norm(gradient: ArrayLike) -> float:
    """Return ||v||_2^2 in float64."""
    vector = np.asarray(gradient, dtype=np.float64).reshape(-1)
    return float(vector @ vector)


def paper_variance_bound(num_coordinates: ArrayLike, num_levels: ArrayLike) -> Floats:
    r"""Return min(n / s^2, sqrt(n) / s), the bound on the relative variance in QSGD, Lemma 3.1 (ii); l2 norm.

    Parameters
    ----------
    num_coordinates : array_like
        n, or the bucket size where buckets are used.
    num_levels : array_like
        s > 0; broadcast against `num_coordinates`.
    """
    n, s = size_and_levels(num_coordinates, num_levels)
    return np.minimum(n / s**2, np.sqrt(n) / s)


def worst_case_variance_l2(num_coordinates: ArrayLike, num_levels: ArrayLike) -> Floats:
    r"""Return omega(n, s), the largest relative variance any vector can have under the l2 norm (T1).

    .. math:: \omega(n, s) = \sqrt n / s - 1 \;(s \le \sqrt n / 2), \qquad n / (4 s^2) \;(s \ge \sqrt n / 2)

    The first branch is attained by the constant vector. The second is always an upper bound, and is
    attained when positions at half-integers with squares summing to s^2 exist; `worst_case_vector` comes
    within a factor 1 - 1/n. It is at most half of `paper_variance_bound` for s >= sqrt(n)/2, and 1/4 of it
    for s >= sqrt(n).

    Examples
    --------
    >>> float(worst_case_variance_l2(512, 7).round(4)), float(paper_variance_bound(512, 7).round(4))
    (2.2325, 3.2325)
    """
    n, s = size_and_levels(num_coordinates, num_levels)
    ratio = np.sqrt(n) / s
    return np.where(ratio >= 2, ratio - 1, ratio**2 / 4)


def worst_case_variance_max(num_coordinates: ArrayLike, num_levels: ArrayLike) -> Floats:
    r"""Return the largest relative variance any vector can have under the max norm (T3).

    .. math:: \tfrac12 \bigl( \sqrt{1 + (n - 1) / s^2} - 1 \bigr)

    One coordinate is the maximum and is sent exactly; the others share the position that maximises x (1 -
    x) - lambda x^2 at the Dinkelbach fixed point. Attained for every n and integer s (`worst_case_vector`).
    QSGD uses the max norm in its experiments but states no bound for it.

    Examples
    --------
    >>> worst_case_variance_max(512, [1, 7, 127]).round(4)
    array([1.08137e+01, 1.19030e+00, 7.90000e-03])
    """
    n, s = size_and_levels(num_coordinates, num_levels)
    return np.expm1(0.5 * np.log1p((n - 1) / s**2)) / 2


def worst_case_variance(num_coordinates: ArrayLike, num_levels: ArrayLike, *, norm: Norm = "l2") -> Floats:
    """Return `worst_case_variance_l2` or `worst_case_variance_max`, by name of the norm."""
    bound = worst_case_variance_l2 if norm == "l2" else worst_case_variance_max
    return bound(num_coordinates, num_levels)


def worst_case_vector(num_coordinates: int, num_levels: int, *, norm: Norm = "l2") -> Floats:
    """Return a unit vector (l2) that attains `worst_case_variance`, or comes within a factor 1 - 1/n of it.

    Parameters
    ----------
    num_coordinates : int
        n, the size of one bucket.
    num_levels : int
        s.
    norm : {"l2", "max"}

    Returns
    -------
    ndarray of float64, shape (n,)
        Positive coordinates with squares summing to 1.
    """
    build = _worst_positions_l2 if norm == "l2" else _worst_positions_max
    positions = build(num_coordinates, num_levels)
    return positions / np.linalg.norm(positions)


def _worst_positions_max(n: int, s: int) -> Floats:
    positions = np.full(n, s / (np.sqrt(s * s + n - 1) + s))
    positions[0] = s
    return positions


def _worst_positions_l2(n: int, s: int) -> Floats:
    """Spread s^2 over half-integer positions k + 1/2, whose squares are 1/4 + k (k + 1)."""
    spare = s * s - n / 4
    if spare <= 0:
        return np.full(n, s / np.sqrt(n))
    k = int((np.sqrt(1 + 4 * spare / n) - 1) / 2)
    raised = min(n, int((spare - n * k * (k + 1)) / (2 * (k + 1))))
    positions = np.full(n, k + 0.5)
    positions[:raised] += 1
    # What is left is less than one raise; a single coordinate takes it, at a loss of at most 1/4 of n/4.
    rest = s * s - float(positions @ positions)
    positions[-1] = np.sqrt(positions[-1] ** 2 + rest)
    return positions

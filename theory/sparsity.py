"""The number of non-zeros of Q(v): exact for a vector, the worst case, and what the paper states.

P(level_i > 0) = min(1, x_i) for a coordinate at position x_i, so the expectation is a sum, and since
min(1, x) <= x the Cauchy-Schwarz inequality gives at most s sqrt(n) under the l2 norm (T2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.levels import NORMS, Norm
from qsgd_lab.theory.arguments import choice, size_and_levels, whole
from qsgd_lab.theory.arrays import Floats
from qsgd_lab.theory.level_positions import bucket_kinds, level_positions


def exact_nonzeros(
    gradient: ArrayLike, num_levels: int, *, norm: Norm = "l2", bucket_size: int | None = None
) -> float:
    """Return E||Q(v)||_0 = sum_i min(1, x_i), exactly.

    Parameters
    ----------
    gradient, num_levels, norm, bucket_size
        As in `qsgd_lab.theory.level_positions.level_positions`.
    """
    at = level_positions(gradient, num_levels, norm=norm, bucket_size=bucket_size)
    return float(at.nonzero_probabilities.sum())


def nonzeros_variance(
    gradient: ArrayLike, num_levels: int, *, norm: Norm = "l2", bucket_size: int | None = None
) -> float:
    """Return Var ||Q(v)||_0 = sum_i q_i (1 - q_i), q_i = min(1, x_i); parameters as in `exact_nonzeros`."""
    at = level_positions(gradient, num_levels, norm=norm, bucket_size=bucket_size)
    # Coordinates are rounded independently, so variances add up.
    q = at.nonzero_probabilities
    return float((q * (1 - q)).sum())


def paper_nonzeros_bound(num_coordinates: int, num_levels: int, *, bucket_size: int | None = None) -> float:
    """Return s (s + sqrt(d)) added up over the buckets: QSGD, Lemma 3.1 (iii), l2 norm.

    Parameters
    ----------
    num_coordinates : int
        n >= 1, the length of the whole vector.
    num_levels : int
        s >= 1.
    bucket_size : int, optional
        d >= 1; None is one bucket.
    """
    d, count = bucket_kinds(num_coordinates, bucket_size)
    s = whole("num_levels", num_levels)
    return float(count @ (s * (s + np.sqrt(d))))


def worst_case_nonzeros(
    num_coordinates: int, num_levels: int, *, bucket_size: int | None = None, norm: Norm = "l2"
) -> float:
    """Return the largest E||Q(v)||_0 over all vectors, exactly (T2).

    It is min(d, s sqrt(d)) a bucket for l2, and n for the max norm.

    Attained by the constant vector in both cases (l2: s <= sqrt(d); above it every coordinate can be
    non-zero). The s^2 of `paper_nonzeros_bound` is not needed. Parameters as in `paper_nonzeros_bound`.

    Examples
    --------
    >>> worst_case_nonzeros(10_000, 8), paper_nonzeros_bound(10_000, 8)
    (800.0, 864.0)
    """
    d, count = bucket_kinds(num_coordinates, bucket_size)
    choice("norm", norm, NORMS)
    s = whole("num_levels", num_levels)
    return float(count @ (d if norm == "max" else np.minimum(d, s * np.sqrt(d))))


def printed_count_theorem_3_4(num_coordinates: ArrayLike, num_levels: ArrayLike) -> Floats:
    """Return s^2 + sqrt(n), the count in the bit formula printed with QSGD, Theorem 3.4.

    It is printed where Lemma 3.1 has s (s + sqrt n), and is not a bound on the non-zeros: the constant vector
    of 10^4 coordinates at s = 8 has 800 of them in expectation, and this is 164.

    Examples
    --------
    >>> exact_nonzeros([1.0] * 10_000, 8), float(printed_count_theorem_3_4(10_000, 8))
    (800.0, 164.0)
    """
    n, s = size_and_levels(num_coordinates, num_levels)
    count: Floats = s**2 + np.sqrt(n)
    return count

"""Rounding to the nearest level: no variance, but a bias; its exact error and its worst case.

The same levels as QSGD with a deterministic choice. Q(v) - v does not average out over steps or nodes, so
the figures here are squared *errors*, to be compared with the variance of stochastic rounding only with
that in mind.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.levels import Norm
from qsgd_lab.theory.arrays import Floats, size_and_levels
from qsgd_lab.theory.level_positions import bucket_kinds, level_positions


def nearest_error(
    gradient: ArrayLike, num_levels: int, *, norm: Norm = "l2", bucket_size: int | None = None
) -> float:
    """Return ||Q(v) - v||^2 of rounding each coordinate to its nearest level (ties cost the same either way).

    Parameters
    ----------
    gradient, num_levels, norm, bucket_size
        As in `qsgd_lab.theory.level_positions.level_positions`.
    """
    at = level_positions(gradient, num_levels, norm=norm, bucket_size=bucket_size)
    distances = np.minimum(at.up_probabilities, 1 - at.up_probabilities)
    return float(((at.norms / num_levels) ** 2 * at.bucket_sums(distances**2)).sum())


def nearest_nonzeros(
    gradient: ArrayLike, num_levels: int, *, norm: Norm = "l2", bucket_size: int | None = None
) -> int:
    """Return the number of coordinates at half a level or more; parameters as in `nearest_error`."""
    at = level_positions(gradient, num_levels, norm=norm, bucket_size=bucket_size)
    return int((at.positions >= 0.5).sum())


def worst_case_nearest_error(
    num_coordinates: ArrayLike, num_levels: ArrayLike, *, norm: Norm = "l2"
) -> Floats:
    r"""Return the largest ||Q(v) - v||^2 / ||v||^2 of nearest rounding over all vectors.

    .. math:: \ell_2: \min(1, n / (4 s^2)); \qquad \max: (n - 1) / (4 s^2 + n - 1)

    By the argument of `worst_case_variance_l2`, with the squared distance to the nearest level in place of
    x (1 - x): its majorant in y = x^2 is min(y, 1/4). Below s = sqrt(n) / 2 the constant vector is sent as
    zero, error 1, step after step: the reason why nearest rounding needs error feedback.
    """
    n, s = size_and_levels(num_coordinates, num_levels)
    bound: Floats = np.minimum(1.0, n / (4 * s**2)) if norm == "l2" else (n - 1) / (4 * s**2 + n - 1)
    return bound


def worst_case_nearest_nonzeros(
    num_coordinates: int, num_levels: float, *, bucket_size: int | None = None, norm: Norm = "l2"
) -> float:
    """Return the largest number of non-zeros over all vectors.

    It is min(d, 4 s^2) a bucket for l2, and n for the max norm.

    A non-zero coordinate has position at least 1/2, and squared positions of an l2 bucket add up to s^2.
    Parameters as in `qsgd_lab.theory.sparsity.worst_case_nonzeros`.
    """
    d, count = bucket_kinds(num_coordinates, bucket_size)
    return float(count @ (d if norm == "max" else np.minimum(d, 4 * num_levels**2)))

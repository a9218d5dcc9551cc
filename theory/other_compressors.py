"""Exact errors and bounds of the compressors QSGD is compared with, as functions of the vector.

Variances of unbiased compressors and squared errors of biased ones are both E||C(v) - v||^2, in squared
units of the vector; which a compressor is stands in its docstring. Contraction factors are in
`error_feedback`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsgd_lab.theory.arrays import Floats, size_and_levels, weighted_counts
from qsgd_lab.theory.variance import squared_norm


def terngrad_variance(gradient: ArrayLike) -> float:
    """Return the variance of TernGrad (unbiased: max norm, s = 1): ||v||_inf ||v||_1 - ||v||_2^2, exactly.

    Of the vector as it is quantized: TernGrad's clipping at 2.5 standard deviations comes before and adds a
    bias.

    Examples
    --------
    >>> terngrad_variance([4.0, 2.0])
    4.0
    """
    magnitudes = _magnitudes(gradient)
    return float(magnitudes.max() * magnitudes.sum() - magnitudes @ magnitudes)


def nuqsgd_variance(gradient: ArrayLike, num_exponents: int) -> float:
    """Return the variance of NUQSGD (unbiased: l2 norm, levels 0, 2^-s, ..., 1/2, 1), exactly.

    Between neighbouring levels a <= r <= b stochastic rounding has variance (b - r)(r - a), r = |v_i| /
    ||v||.

    Parameters
    ----------
    gradient : array_like
    num_exponents : int
        s >= 1; there are s + 1 levels above zero.
    """
    ratios, levels, above = _between_exponents(gradient, num_exponents)
    return float(squared_norm(gradient) * ((levels[above] - ratios) * (ratios - levels[above - 1])).sum())


def nuqsgd_level_shares(gradient: ArrayLike, num_exponents: int) -> Floats:
    """Return the expected share of each signed level of NUQSGD, shape (2s + 3,), from -1 over 0 to 1.

    Parameters as in `nuqsgd_variance`.

    Examples
    --------
    >>> nuqsgd_level_shares([1.0, 0.0], 1)
    array([0. , 0. , 0.5, 0. , 0.5])
    """
    ratios, levels, above = _between_exponents(gradient, num_exponents)
    up = (ratios - levels[above - 1]) / (levels[above] - levels[above - 1])
    signs = np.where(np.signbit(np.asarray(gradient, dtype=np.float64).reshape(-1)), -1, 1)
    middle = levels.size - 1
    shares = weighted_counts(middle + signs * above, up, 2 * middle + 1)
    shares += weighted_counts(middle + signs * (above - 1), 1 - up, 2 * middle + 1)
    shares /= shares.sum()
    return shares


def _between_exponents(gradient: ArrayLike, num_exponents: int) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return |v_i| / ||v||, the levels, and the index of the level above each coordinate."""
    magnitudes = _magnitudes(gradient)
    # Dividing by the largest first keeps squares in range.
    magnitudes = magnitudes / (magnitudes.max() or 1.0)
    ratios = np.minimum(magnitudes / (np.sqrt(squared_norm(magnitudes)) or 1.0), 1.0)
    levels = np.concatenate(([0.0], 2.0 ** np.arange(-num_exponents, 1)))
    return ratios, levels, np.clip(np.searchsorted(levels, ratios, side="right"), 1, levels.size - 1)


def nuqsgd_variance_bound(num_coordinates: ArrayLike, num_exponents: ArrayLike) -> Floats:
    """Return 1/8 + min(n 4^-s / 4, sqrt(n) 2^-s), a bound on NUQSGD's relative variance for every vector.

    Between a and 2a the variance is at most r^2 / 8 (at r = 4a/3); below 2^-s it is r (2^-s - r).
    """
    n, s = size_and_levels(num_coordinates, num_exponents)
    bound: Floats = 1 / 8 + np.minimum(n * 4.0**-s / 4, np.sqrt(n) * 2.0**-s)
    return bound


def scaled_sign_error(gradient: ArrayLike) -> float:
    """Return the error of scaled sign (biased: (||v||_1 / n) sgn v): ||v||_2^2 - ||v||_1^2 / n, exactly.

    One bit a coordinate, and one number. Exact when no coordinate is zero, or when sgn(0) is 1 or -1.
    """
    magnitudes = _magnitudes(gradient)
    return float(magnitudes @ magnitudes - magnitudes.sum() ** 2 / magnitudes.size)


def top_k_error(gradient: ArrayLike, k: int) -> float:
    """Return the error of top-k (biased: the k largest magnitudes): the squares of the others, exactly."""
    squares = np.sort(_magnitudes(gradient) ** 2)
    return float(squares[: max(squares.size - k, 0)].sum())


def rand_k_error(gradient: ArrayLike, k: int) -> float:
    """Return the mean error of rand-k (biased: k coordinates at random, as they are): (1 - k/n) ||v||^2."""
    return (1 - k / _magnitudes(gradient).size) * squared_norm(gradient)


def scaled_rand_k_variance(gradient: ArrayLike, k: int) -> float:
    """Return the variance (n/k - 1) ||v||^2 of scaled rand-k (unbiased: k random coordinates, times n/k)."""
    return (_magnitudes(gradient).size / k - 1) * squared_norm(gradient)


def _magnitudes(gradient: ArrayLike) -> Floats:
    return np.abs(np.asarray(gradient, dtype=np.float64)).reshape(-1)

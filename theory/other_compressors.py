"""Exact errors and bounds of the compressors QSGD is compared with, as functions of the vector.

Variances of unbiased compressors and squared errors of biased ones are both E||C(v) - v||^2, in squared
units of the vector; the docstring says which. A value beyond the range of float64 is refused. Contraction
factors are in `error_feedback`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsgd_lab.theory.arguments import kept, numbers, vector, whole
from qsgd_lab.theory.arrays import (
    Floats,
    broadcast,
    in_squared_units,
    split_scale,
    times_power_of_two,
    weighted_counts,
)

#: Smaller powers of two are near the smallest numbers of float64.
MOST_EXPONENTS = 1000


def terngrad_variance(gradient: ArrayLike) -> float:
    """Return the variance of TernGrad (unbiased: max norm, s = 1): ||v||_inf ||v||_1 - ||v||_2^2, exactly.

    Of the vector as it is quantized: TernGrad's clipping at 2.5 standard deviations comes before and adds a
    bias.

    Examples
    --------
    >>> terngrad_variance([4.0, 2.0])
    4.0
    """
    magnitudes, exponent = _scaled_magnitudes(gradient)
    # As a sum of terms of one sign, so that nothing cancels.
    variance = float(magnitudes @ (magnitudes.max() - magnitudes))
    return times_power_of_two(variance, 2 * exponent, "the variance")


def nuqsgd_variance(gradient: ArrayLike, num_exponents: int) -> float:
    """Return the variance of NUQSGD (unbiased: l2 norm, levels 0, 2^-s, ..., 1/2, 1), exactly.

    Between neighbouring levels a <= r <= b stochastic rounding has variance (b - r)(r - a), r = |v_i| /
    ||v||.

    Parameters
    ----------
    gradient : array_like
    num_exponents : int
        s from 1 to 1000; there are s + 1 levels above zero.
    """
    ratios, levels, above = _between_exponents(gradient, num_exponents)
    relative = float(((levels[above] - ratios) * (ratios - levels[above - 1])).sum())
    values = vector("gradient", gradient)
    return in_squared_units(values, lambda w: float(w @ w) * relative, "the variance")


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
    signs = np.where(np.signbit(vector("gradient", gradient)), -1, 1)
    middle = levels.size - 1
    shares = weighted_counts(middle + signs * above, up, 2 * middle + 1)
    shares += weighted_counts(middle + signs * (above - 1), 1 - up, 2 * middle + 1)
    shares /= shares.sum()
    return shares


def _between_exponents(gradient: ArrayLike, num_exponents: int) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return |v_i| / ||v||, the levels, and the index of the level above each coordinate."""
    magnitudes, _ = _scaled_magnitudes(gradient)
    s = whole("num_exponents", num_exponents, most=MOST_EXPONENTS)
    ratios = np.minimum(magnitudes / (np.linalg.norm(magnitudes) or 1.0), 1.0)
    levels = np.concatenate(([0.0], 2.0 ** np.arange(-s, 1)))
    return ratios, levels, np.clip(np.searchsorted(levels, ratios, side="right"), 1, levels.size - 1)


def nuqsgd_variance_bound(num_coordinates: ArrayLike, num_exponents: ArrayLike) -> Floats:
    """Return an upper bound on NUQSGD's relative variance for every vector.

    With t = sqrt(n) 2^-s it is 1/8 + (2/9) t^2 for t <= 9/4, and t - 1 above, where the constant vector
    attains it. Between a and 2a the variance is at most r^2 / 8 (at r = 4a/3); below b = 2^-s it is
    r (b - r), at most r^2 / 8 + (2/9) b^2 (at r = 4b/9), and for a mean square below that of this point
    Jensen's inequality on r (b - r) itself is sharper. (Derived; the paper's bound as recalled is
    1/8 + t^2 / 4 for t^2 < 2, else t - 7/8.)

    Parameters
    ----------
    num_coordinates, num_exponents : array_like of int
        n >= 1 and s from 1 to 1000, broadcast.

    Examples
    --------
    >>> float(nuqsgd_variance_bound(512, 3).round(3))
    1.828
    """
    n, s = broadcast(
        numbers("num_coordinates", num_coordinates, least=1, is_whole=True),
        numbers("num_exponents", num_exponents, least=1, most=MOST_EXPONENTS, is_whole=True),
    )
    t = np.sqrt(n) * 2.0**-s
    return np.where(t <= 9 / 4, 1 / 8 + 2 / 9 * t**2, t - 1)


def scaled_sign_error(gradient: ArrayLike) -> float:
    """Return the error of scaled sign (biased: (||v||_1 / n) sgn v): ||v||_2^2 - ||v||_1^2 / n, exactly.

    One bit a coordinate, and one number. Exact when no coordinate is zero, or when sgn(0) is 1 or -1.
    """
    magnitudes, exponent = _scaled_magnitudes(gradient)
    # The squared distances from the mean, so that nothing cancels.
    error = float(((magnitudes - magnitudes.mean()) ** 2).sum())
    return times_power_of_two(error, 2 * exponent, "the error")


def top_k_error(gradient: ArrayLike, k: int) -> float:
    """Return the error of top-k (biased: the k largest magnitudes): the squares of the others, exactly.

    1 <= k <= n, here and in the two functions below.
    """
    magnitudes, exponent = _scaled_magnitudes(gradient)
    squares = np.sort(magnitudes**2)
    error = float(squares[: squares.size - kept(k, squares.size)].sum())
    return times_power_of_two(error, 2 * exponent, "the error")


def rand_k_error(gradient: ArrayLike, k: int) -> float:
    """Return the mean error of rand-k (biased: k coordinates at random, as they are): (1 - k/n) ||v||^2."""
    values = vector("gradient", gradient)
    share = 1 - kept(k, values.size) / values.size
    return in_squared_units(values, lambda w: share * float(w @ w), "the error")


def scaled_rand_k_variance(gradient: ArrayLike, k: int) -> float:
    """Return the variance (n/k - 1) ||v||^2 of scaled rand-k (unbiased: k random coordinates, times n/k)."""
    values = vector("gradient", gradient)
    factor = values.size / kept(k, values.size) - 1
    return in_squared_units(values, lambda w: factor * float(w @ w), "the variance")


def _scaled_magnitudes(gradient: ArrayLike) -> tuple[Floats, int]:
    """Return (|w|, e) with v = 2^e w, see `split_scale`."""
    scaled, exponent = split_scale(vector("gradient", gradient))
    return np.abs(scaled), exponent

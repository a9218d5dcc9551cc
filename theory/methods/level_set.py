"""NUQSGD and natural compression: random rounding between neighbouring levels, exactly.

A coordinate r between the levels a <= r <= b that rounds without bias has the variance (b - r)(r - a).

References
----------
Ramezani-Kebrya, Faghri, Markov, Aksenov, Alistarh, Roy: NUQSGD. JMLR 2021.
Horvath, Ho, Horvath, Sahu, Canini, Richtarik: Natural compression for distributed deep learning. 2019.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.levels import NORMS
from qsgd_lab.theory.arguments import choice, number, vector, whole
from qsgd_lab.theory.arrays import Floats, in_squared_units, times_power_of_two

CONVENTIONS = ("with-zero", "published")


def bucket_length(bucket_size: object, num_coordinates: int) -> int:
    """Return the coordinates in a full bucket of a tensor of n: a number, or n for "tensor" and "model".

    Raises
    ------
    ValueError
        If the size is another word, or not a whole number of at least 1.
    """
    if isinstance(bucket_size, str):
        choice("bucket_size", bucket_size, ("tensor", "model"))
        return whole("num_coordinates", num_coordinates)
    return min(whole("bucket_size", bucket_size), whole("num_coordinates", num_coordinates))


def buckets(values: Floats, bucket_size: int | str) -> list[Floats]:
    """Return the buckets of one checked tensor: pieces of a size, or the whole."""
    size = bucket_length(bucket_size, values.size)
    return [values[start : start + size] for start in range(0, values.size, size)]


def number_of_buckets(num_coordinates: int, bucket_size: int | str) -> int:
    """Return the number of buckets of one tensor of n >= 1 coordinates."""
    n = whole("num_coordinates", num_coordinates)
    return -(-n // bucket_length(bucket_size, n))


def two_point_variance(positions: ArrayLike, levels: ArrayLike) -> float:
    """Return the sum of (b - r)(r - a) over positions r between neighbouring levels a and b.

    Parameters
    ----------
    positions : array_like, shape (n,)
        From the least level to the largest.
    levels : array_like, shape (L,)
        Two or more, ascending strictly.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> two_point_variance([0.25, 1.0], [0.0, 1.0])
    0.1875
    """
    r, grid = vector("positions", positions), vector("levels", levels)
    if grid.size < 2 or (np.diff(grid) <= 0).any():
        raise ValueError("levels must be two or more and ascend strictly")
    if r.min() < grid[0] or r.max() > grid[-1]:
        raise ValueError(f"positions must be within the levels, from {grid[0]:g} to {grid[-1]:g}")
    above = np.clip(np.searchsorted(grid, r, side="right"), 1, grid.size - 1)
    return float(((grid[above] - r) * (r - grid[above - 1])).sum())


def exponential_levels(num_levels: int, has_zero: bool = True) -> Floats:
    """Return the signed levels -1, ..., -2^(1-s), 0, 2^(1-s), ..., 1, with or without 0; s from 1 to 1000.

    Examples
    --------
    >>> exponential_levels(2, has_zero=False).tolist()
    [-1.0, -0.5, 0.5, 1.0]
    """
    choice("has_zero", has_zero, (True, False))
    above = 2.0 ** np.arange(1 - whole("num_levels", num_levels, most=1000), 1)
    return np.concatenate([-above[::-1], [0.0] if has_zero else [], above])


def norm_of(values: Floats, norm: str) -> float:
    """Return the l2 or max norm of a checked bucket."""
    choice("norm", norm, NORMS)
    return float(np.linalg.norm(values) if norm == "l2" else np.abs(values).max())


def exponential_variance(
    gradient: ArrayLike,
    num_levels: int,
    has_zero: bool = True,
    norm: str = "l2",
    bucket_size: int | str = 512,
) -> float:
    """Return E||Q(v) - v||^2 of rounding to `exponential_levels` relative to a bucket's norm."""
    levels = exponential_levels(num_levels, has_zero)

    def variance(scaled: Floats) -> float:
        total = 0.0
        for bucket in buckets(scaled, bucket_size):
            size = norm_of(bucket, norm)
            if size:  # a bucket of zeros is sent as it is
                total += size**2 * two_point_variance(np.clip(bucket / size, -1, 1), levels)
        return total

    return in_squared_units(vector("gradient", gradient), variance, "the variance")


def exponential_bound(bucket_size: int, num_levels: int, has_zero: bool = True, norm: str = "l2") -> float:
    r"""Return an upper bound on E||Q(v) - v||^2 / ||v||^2 over all v, for d coordinates a bucket.

    Let a = 2^(1-s). A ratio r above a has a variance of at most r^2/8 (at 4/3 of a level), one below
    r (a - r). l2: the ratios' squares sum to 1; the bound is 1/8 + (2/9) t^2 for t = a sqrt(d) <= 9/4,
    else t - 1, attained by constant vectors (`other_compressors.nuqsgd_variance_bound`). max: one ratio is 1;
    w bounds the rest if (d-1) max_r (f(r) - w r^2) <= w, which gives the larger of
    (sqrt(1 + (d-1) a^2) - 1)/2 and (d-1)/(8d). Without a level 0, a ratio below a has a^2 - r^2, and the
    bound is d a^2 + 1/8 for both norms.

    Examples
    --------
    >>> round(exponential_bound(512, 4), 3), exponential_bound(512, 4, has_zero=False)
    (1.828, 8.125)
    """
    d, s = whole("bucket_size", bucket_size), whole("num_levels", num_levels, most=1000)
    choice("norm", norm, NORMS)
    choice("has_zero", has_zero, (True, False))
    least = 2.0 ** (1 - s)
    t = least * math.sqrt(d)
    if not has_zero:
        return d * least * least + 1 / 8
    if norm == "max":
        return max((math.sqrt(1 + (d - 1) * least**2) - 1) / 2, (d - 1) / (8 * d))
    return 1 / 8 + 2 / 9 * t * t if t <= 9 / 4 else t - 1


def _scheme(bits: int, convention: str) -> tuple[int, bool]:
    """Return (s, whether 0 is a level)."""
    choice("convention", convention, CONVENTIONS)
    b = whole("bits", bits, most=8)
    return (2**b - 1, True) if convention == "with-zero" else (2 ** (b - 1), False)


def expected_error_nuqsgd(
    gradient: ArrayLike,
    bits: int = 3,
    convention: str = "with-zero",
    norm: str = "l2",
    bucket_size: int | str = 512,
) -> float:
    """Return E||Q(v) - v||^2 of NUQSGD under the method's options."""
    return exponential_variance(gradient, *_scheme(bits, convention), norm, bucket_size)


def expected_bits_nuqsgd(
    num_coordinates: int,
    bits: int = 3,
    convention: str = "with-zero",
    bucket_size: int | str = 512,
    **_: object,
) -> int:
    """Return b + 1 bits a coordinate, or b without a level 0, and 32 a bucket."""
    n, has_zero = whole("num_coordinates", num_coordinates), _scheme(bits, convention)[1]
    width = whole("bits", bits, most=8) + has_zero
    return width * n + 32 * number_of_buckets(n, bucket_size)


def expected_error_natural(gradient: ArrayLike) -> float:
    """Return E||Q(v) - v||^2 of natural compression, for magnitudes from 0 to 2^127.

    Between 2^k and 2^(k+1), x has (2^(k+1) - x)(x - 2^k); below 2^-126, x (2^-126 - x).
    """
    magnitudes = np.abs(vector("gradient", gradient))
    number("the largest magnitude of gradient", float(magnitudes.max()), most=2.0**127)
    low = np.ldexp(1.0, np.frexp(magnitudes)[1] - 1)  # the power of two at or below
    low = np.where(magnitudes < 2.0**-126, 0.0, low)
    high = np.where(low == 0, 2.0**-126, 2 * low)
    # Of numbers from 2^-1074 to 2^127, no product overflows or vanishes with both factors times 2^370.
    above, below = np.ldexp(high - magnitudes, 370), np.ldexp(magnitudes - low, 370)
    return times_power_of_two(float((above * below).sum()), -740, "the error")


def expected_bits_natural(num_coordinates: int) -> int:
    """Return nine bits a coordinate: sign and exponent."""
    return 9 * whole("num_coordinates", num_coordinates)

"""Uniform levels with a given scale: TernGrad with its clipping, and QSGD with a scale that nodes share.

References
----------
Wen, Xu, Yan, Wu, Wang, Chen, Li: TernGrad. NeurIPS 2017.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.theory.arguments import choice, number, table_levels, vector, whole
from qsgd_lab.theory.arrays import Floats, in_squared_units, split_scale, times_power_of_two
from qsgd_lab.theory.methods.level_set import buckets, norm_of, number_of_buckets, two_point_variance


def given_scale_error(gradient: ArrayLike, scale: float, num_levels: int) -> float:
    """Return E||Q(v) - v||^2 of rounding to s levels of M; larger magnitudes count as M.

    (M/s)^2 p (1 - p) for a coordinate at the fraction p between two levels, and the square of what is cut
    above M. s is at most 2^20 - 1.

    Examples
    --------
    >>> given_scale_error([0.5, 3.0], 2.0, 1)
    1.75
    """
    magnitudes = np.abs(vector("gradient", gradient))
    size, s = number("scale", scale, least=0), table_levels(num_levels)
    # The scale is in the units of the vector, so that both are scaled together.
    both = np.append(magnitudes, size)
    return in_squared_units(both, lambda w: _given_scale_error(w[:-1], float(w[-1]), s), "the error")


def _given_scale_error(magnitudes: Floats, size: float, s: int) -> float:
    """Return the same for checked arguments whose squares are in range."""
    if size == 0:
        return float(magnitudes @ magnitudes)
    cut = np.minimum(magnitudes, size)
    lost = magnitudes - cut
    return float(size**2 * two_point_variance(cut / size, np.arange(s + 1) / s) + lost @ lost)


def terngrad_scale(bucket: ArrayLike, clip: float) -> float:
    """Return the scale of a tensor: its largest magnitude, at most `clip` root mean squares unless that is 0.

    The published code takes the standard deviation about the mean, which would cut a constant tensor to 0.

    Raises
    ------
    ValueError
        If a coordinate is not finite, `clip` is below 0, or the scale does not fit in float64.
    """
    (x, exponent), c = split_scale(vector("bucket", bucket)), number("clip", clip, least=0)
    largest = float(np.abs(x).max())
    scale = min(largest, c * math.sqrt(float(x @ x) / x.size)) if c else largest
    return times_power_of_two(scale, exponent, "the scale")


def expected_error_terngrad(gradient: ArrayLike, clip: float = 2.5, scale: str = "own") -> float:
    """Return E||Q(v) - v||^2 of TernGrad on one tensor, the bias of clipping included; of one node."""
    choice("scale", scale, ("own", "shared"))
    values = vector("gradient", gradient)
    return given_scale_error(values, terngrad_scale(values, clip), 1)


def terngrad_bound(num_coordinates: int, clip: float = 2.5) -> float:
    """Return an upper bound on E||Q(v) - v||^2 / ||v||^2 over all v of TernGrad on n coordinates.

    Uncut, that of the max norm and s = 1: (sqrt(n) - 1)/2. Cut at M <= c root mean squares, in units of
    these: x (M - x) for x <= M, (x - M)^2 above, with a mean of x^2 of 1. Above M the error grows at most as
    x^2 does, so that the supremum is that of x (M - x) + 1 - x^2, which is 1 + M^2/8 at x = M/4; for M > 4
    that x exceeds 1, and it is M - 1.

    Examples
    --------
    >>> terngrad_bound(10_000), terngrad_bound(10_000, clip=0)
    (1.78125, 49.5)
    """
    n, c = whole("num_coordinates", num_coordinates), number("clip", clip, least=0)
    if c == 0 or c >= math.sqrt(n):
        return (math.sqrt(n) - 1) / 2
    return 1 + c * c / 8 if c <= 4 else c - 1


def expected_bits_terngrad(num_coordinates: int, **_: object) -> int:
    """Return eight bits for five coordinates, and 32 for the tensor's scale."""
    return 8 * -(-whole("num_coordinates", num_coordinates) // 5) + 32


def expected_error_qsgd_shared(
    gradient: ArrayLike, bits: int = 4, norm: str = "max", bucket_size: int | str = 512
) -> float:
    """Return E||Q(v) - v||^2 of one node alone, whose scale is then its own."""
    s = 2 ** whole("bits", bits, most=15) - 1

    def error(scaled: Floats) -> float:
        parts = buckets(np.abs(scaled), bucket_size)
        return sum(_given_scale_error(part, norm_of(part, norm), s) for part in parts)

    return in_squared_units(vector("gradient", gradient), error, "the error")


def expected_bits_qsgd_shared(
    num_coordinates: int, bits: int = 4, bucket_size: int | str = 512, **_: object
) -> int:
    """Return b + 1 bits a coordinate (1.6 for b = 1) and 32 a bucket; the round of scales takes 32 more."""
    n, b = whole("num_coordinates", num_coordinates), whole("bits", bits, most=15)
    coded = 8 * -(-n // 5) if b == 1 else (b + 1) * n
    return coded + 32 * number_of_buckets(n, bucket_size)


def sum_bits(num_levels: int, nodes: int) -> int:
    """Return the bits that a partial sum of N nodes' levels needs: those of 2 s N + 1 values.

    Examples
    --------
    >>> sum_bits(7, 8), sum_bits(7, 64), sum_bits(1, 4)
    (7, 10, 4)
    """
    values = 2 * whole("num_levels", num_levels) * whole("nodes", nodes) + 1
    return (values - 1).bit_length()

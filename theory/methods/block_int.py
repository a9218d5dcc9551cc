r"""Blocks of b-bit integers: exact error of stochastic rounding, bounds for every vector, and sizes.

A block of d coordinates has one scale M / s, with M its largest magnitude and s = 2^{b-1} - 1. A smoother
replaces x by y = H x / 32 in groups of 32, with H the Hadamard transform that is not normalised. Then
||x||^2 = 32 ||y||^2 and errors grow by the same factor, so that the bounds are the same.

References
----------
Jia et al.: SDP4Bit. NeurIPS 2024. Wang et al.: ZeRO++. ICLR 2024.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import hadamard

from qsgd_lab.theory.arguments import choice, divisor, nonzero_vector, numbers, whole
from qsgd_lab.theory.arrays import Floats

_GROUP = 32


def relative_error(vector: ArrayLike, bits: int, block_size: int, rounding: str, smoother: int = 32) -> float:
    """Return E||Q(v) - v||^2 / ||v||^2 exactly, but for the rounding of scales to float32.

    Parameters
    ----------
    vector : array_like, shape (n,)
        Not zero; n is a multiple of the block size.
    bits : int
        4 or 8.
    block_size : int
        With a smoother, a multiple of 32.
    rounding : {"nearest", "stochastic"}
    smoother : {0, 32}

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> round(relative_error(np.arange(32), 4, 32, "stochastic", 0), 5)
    0.00972
    """
    s, d = _levels(bits), whole("block_size", block_size)
    choice("rounding", rounding, ("nearest", "stochastic"))
    choice("smoother", smoother, (0, _GROUP))
    y = nonzero_vector("vector", vector)
    divisor("block_size", d, "the size of vector", y.size)
    y = y.reshape(-1, d)
    if smoother:
        if d % _GROUP:
            raise ValueError(f"block_size is {d}; with a smoother it must be a multiple of {_GROUP}")
        y = (y.reshape(-1, _GROUP) @ hadamard(_GROUP) / _GROUP).reshape(y.shape)
    scale = np.abs(y).max(axis=1, keepdims=True) / s
    place = np.divide(y, scale, out=np.zeros_like(y), where=scale > 0)
    part = place - np.floor(place)
    errors = part * (1 - part) if rounding == "stochastic" else (np.rint(place) - place) ** 2
    return float((scale**2 * errors).sum() / (y**2).sum())


def bound(bits: int, block_size: int, rounding: str) -> float:
    """Return an upper bound on the same for every vector.

    min(1, d / (4 s^2)) for the nearest integers: half a scale a coordinate, and not more than the coordinate.
    (sqrt(1 + (d - 1) / s^2) - 1) / 2 for stochastic rounding, as QSGD's with the largest magnitude as norm.

    Examples
    --------
    >>> round(bound(4, 128, "nearest"), 4), round(bound(4, 128, "stochastic"), 4)
    (0.6531, 0.4476)
    """
    s, d = _levels(bits), whole("block_size", block_size)
    choice("rounding", rounding, ("nearest", "stochastic"))
    return min(1.0, d / (4 * s * s)) if rounding == "nearest" else (math.sqrt(1 + (d - 1) / s**2) - 1) / 2


def two_level_error(first: ArrayLike, second: ArrayLike, nodes: int, machine: int) -> Floats:
    """Return the relative error of the mean of N equal vectors in two levels, G nodes a machine.

    Independent relative errors `first` inside a machine and `second` between them, unbiased: first / N +
    second / (N / G). The second is that of N / G messages: two levels save bits between machines, not error.

    Parameters
    ----------
    first, second : array_like of float
        At least 0, of shapes that broadcast.
    nodes : int
        N.
    machine : int
        G, which divides N.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> float(two_level_error(4.2e-5, 0.0276, 32, 8).round(4))
    0.0069
    """
    n = whole("nodes", nodes)
    g = divisor("machine", machine, "nodes", n)
    inside, between = numbers("first", first, least=0), numbers("second", second, least=0)
    result: Floats = inside / n + between / (n / g)
    return result


def bits_per_coordinate(bits: int, block_size: int) -> float:
    """Return b + 32 / d.

    Examples
    --------
    >>> bits_per_coordinate(4, 128)
    4.25
    """
    _levels(bits)
    return bits + 32 / whole("block_size", block_size)


def _levels(bits: int) -> int:
    choice("bits", bits, (4, 8))
    return int(2 ** (bits - 1) - 1)

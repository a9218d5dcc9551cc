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

from qsgd_lab.theory.arguments import choice, divisor, nonzero_vector, numbers, vector, whole
from qsgd_lab.theory.arrays import Floats, in_squared_units, split_scale

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
    y, _ = split_scale(nonzero_vector("vector", vector))
    divisor("block_size", whole("block_size", block_size), "the size of vector", y.size)
    return _squared_error(y, bits, block_size, rounding, smoother) / float(y @ y)


def _squared_error(x: Floats, bits: int, block_size: int, rounding: str, smoother: int) -> float:
    """Return E||Q(v) - v||^2; the last block may be short, and a smoother's last group is padded."""
    errors = _errors(x, bits, block_size, rounding, smoother)
    return float((errors**2).sum() if rounding == "nearest" else errors.sum())


def _errors(x: Floats, bits: int, block_size: int, rounding: str, smoother: int) -> Floats:
    """Return each coordinate's error of the nearest integers, or its mean square of stochastic rounding."""
    s, d = _levels(bits), whole("block_size", block_size)
    choice("rounding", rounding, ("nearest", "stochastic"))
    choice("smoother", smoother, (0, _GROUP))
    if smoother and d % _GROUP:
        raise ValueError(f"block_size is {d}; with a smoother it must be a multiple of {_GROUP}")
    # A larger block would have more zeros only.
    d = min(d, -(-x.size // _GROUP) * _GROUP)
    padded = np.zeros(-(-x.size // d) * d)
    padded[: x.size] = x
    if smoother:
        padded = (padded.reshape(-1, _GROUP) @ hadamard(_GROUP) / _GROUP).reshape(-1)
    y = padded.reshape(-1, d)
    scale = np.abs(y).max(axis=1, keepdims=True) / s
    place = np.divide(y, scale, out=np.zeros_like(y), where=scale > 0)
    if rounding == "nearest":
        errors = scale * (np.rint(place) - place)
        back = (errors.reshape(-1, _GROUP) @ hadamard(_GROUP)) if smoother else errors
        return np.asarray(back.reshape(-1)[: x.size])
    part = place - np.floor(place)
    squares = scale**2 * part * (1 - part)
    if smoother:  # errors of a group are independent, and each is in all 32 coordinates
        squares = np.repeat(squares.reshape(-1, _GROUP).sum(axis=1), _GROUP)
    return np.asarray(squares.reshape(-1)[: x.size])


def expected_error(
    gradient: ArrayLike,
    bits: int = 4,
    block_size: int = 128,
    rounding: str = "nearest",
    smoother: int = 32,
    machine: int = 1,
) -> float:
    """Return E||Q(v) - v||^2 of a tensor of any size; in two levels that of a node alone.

    That node sends 8 bits to itself, and of what it reads the b bits that machines send to each other. Of
    stochastic rounding both errors are added, as if the second were that of the vector itself; 8 bits after 8
    bits change nothing.
    """
    levels = (bits,) if whole("machine", machine) == 1 or bits == 8 else (8, bits)

    def error(w: Floats) -> float:
        if rounding != "nearest":
            return sum(_squared_error(w, one, block_size, rounding, smoother) for one in levels)
        lost = np.zeros_like(w)
        for one in levels:
            lost = lost + _errors(w + lost, one, block_size, rounding, smoother)
        return float(lost @ lost)

    return in_squared_units(vector("gradient", gradient), error, "the error")


def expected_bits(
    num_coordinates: int,
    bits: int = 4,
    block_size: int = 128,
    smoother: int = 32,
    machine: int = 1,
    **_: object,
) -> int:
    """Return the bits of integers and scales; in two levels those of a node alone: of 8 bits, then of b."""
    n, d = whole("num_coordinates", num_coordinates), whole("block_size", block_size)
    choice("smoother", smoother, (0, _GROUP))
    _levels(bits)
    codes = -(-n // _GROUP) * _GROUP if smoother else n
    levels = (bits,) if whole("machine", machine) == 1 else (8, bits)
    return sum(one * codes + 32 * -(-n // d) for one in levels)


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

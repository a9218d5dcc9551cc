r"""EDEN and rotated stochastic rounding: errors in the limit, bounds for every vector, and sizes.

In a block of d coordinates, rotated uniformly at random, a coordinate is normal in the limit of large d, of
variance ||v||^2 / d. EDEN rounds it to the centroids c of the quantizer of least error D of a normal number
(Lloyd, Max). Its scale ||v||^2 / <c, y> makes Q unbiased, with error D / (1 - D).

References
----------
Vargaftik et al.: DRIVE. NeurIPS 2021. Vargaftik et al.: EDEN. ICML 2022. Suresh et al.: Distributed mean
estimation with limited communication. ICML 2017. Khintchine's inequality: Szarek 1976, Haagerup 1981.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog
from scipy.special import factorial2, ndtr, ndtri

from qsgd_lab.theory.arguments import choice, matrix, number, vector, whole
from qsgd_lab.theory.arrays import Floats, in_squared_units, representable, split_scale

SCALES = ("unbiased", "mse", "norm")
_MOST_BITS = 8
_MOMENTS = 4  # even moments beyond the second that the bound uses: 4, 6, 8


def centroids(bits: int) -> Floats:
    """Return the 2^(bits - 1) positive centroids of least error for a normal number, ascending.

    Each is the mean of the numbers that are nearest to it (Lloyd's condition), solved by Newton's method.

    Parameters
    ----------
    bits : int
        1 to 8.

    Raises
    ------
    ValueError
        If `bits` is out of range.

    Examples
    --------
    >>> centroids(2).round(6)
    array([0.45278 , 1.510418])
    """
    return _centroids(_bits(bits)).copy()


def _bits(bits: object) -> int:
    return whole("bits", bits, most=_MOST_BITS)


@cache
def _centroids(bits: int) -> Floats:
    """Return the same for checked bits; callers share the array and leave it as it is."""
    count = 2 ** (bits - 1)
    # Start where a fine quantizer puts them: density in proportion to phi^(1/3).
    found: Floats = np.asarray(ndtri(0.5 + (np.arange(count) + 0.5) / (2 * count))) * math.sqrt(3)
    for _ in range(500):
        found = _cell_means(found)
    for _ in range(8):
        slopes = np.empty((count, count))
        for j in range(count):
            moved = np.zeros(count)
            moved[j] = 1e-6
            slopes[:, j] = (_cell_means(found + moved) - _cell_means(found - moved)) / 2e-6
        found = found - np.linalg.solve(slopes - np.eye(count), _cell_means(found) - found)
    return found


def _limits(found: Floats) -> Floats:
    return np.concatenate([[0.0], (found[1:] + found[:-1]) / 2, [np.inf]])


def _density(x: Floats) -> Floats:
    return np.asarray(np.exp(-x * x / 2) / math.sqrt(2 * math.pi))


def _cell_means(found: Floats) -> Floats:
    limits = _limits(found)
    means: Floats = -np.diff(_density(limits)) / (ndtr(-limits[:-1]) - ndtr(-limits[1:]))
    return means


def distortion(bits: int) -> float:
    """Return D, the least mean squared error of a normal number of variance 1 in `bits` bits.

    Examples
    --------
    >>> [round(distortion(bits), 6) for bits in (1, 2, 3, 4)]
    [0.36338, 0.117482, 0.034548, 0.009501]
    """
    found = _centroids(_bits(bits))
    limits = _limits(found)
    return float(1 - 2 * ((ndtr(-limits[:-1]) - ndtr(-limits[1:])) * found**2).sum())


def limit_error(bits: int, scale: str = "unbiased") -> float:
    """Return E||Q(v) - v||^2 / ||v||^2 of EDEN in the limit of large blocks.

    Parameters
    ----------
    bits : int
        1 to 8.
    scale : {"unbiased", "mse", "norm"}
        D / (1 - D), D, and 2 - 2 sqrt(1 - D).

    Examples
    --------
    >>> [round(limit_error(bits), 6) for bits in (1, 2, 3, 4)]
    [0.570796, 0.133121, 0.035784, 0.009592]
    """
    choice("scale", scale, SCALES)
    least = distortion(bits)
    return {"unbiased": least / (1 - least), "mse": least, "norm": 2 - 2 * math.sqrt(1 - least)}[scale]


class EntropyCoded(NamedTuple):
    """Bits a coordinate under an ideal coder, and E||Q(v) - v||^2 / ||v||^2 of the unbiased scale."""

    bits: float
    error: float


@representable()
def entropy_coded(step: float) -> EntropyCoded:
    """Return the limit of the published variant that rounds to multiples of a step and codes their entropy.

    The lab does not send it: it is what a coder of EDEN's codes could still save. With levels c of
    probabilities p the error is E c^2 / (E c z)^2 - 1.

    Parameters
    ----------
    step : float
        Between neighbouring levels, in root mean squares of a coordinate; at least 0.001.

    Examples
    --------
    >>> [round(entropy_coded(step).bits, 3) for step in (2.421619, 1.082447, 0.522433)]
    [1.0, 2.0, 3.0]
    >>> [round(entropy_coded(step).error, 4) for step in (2.421619, 1.082447, 0.522433)]
    [0.5347, 0.0976, 0.0227]
    """
    width = number("step", step, least=0.001)
    most = math.ceil(9 / width)
    levels = width * np.arange(-most, most + 1)
    edges: Floats = width * (np.arange(-most, most + 2, dtype=np.float64) - 0.5)
    shares, along = np.diff(ndtr(edges)), -np.diff(_density(edges))
    used = shares[shares > 0]
    error = float(levels**2 @ shares / (levels @ along) ** 2 - 1)
    return EntropyCoded(float(-(used @ np.log2(used))), error)


def least_error_bound(bits: int) -> float:
    r"""Return a bound on E||Q(v) - v||^2 / ||v||^2 of the scale "mse", for every v, block size and rounds.

    A rotated coordinate z, scaled to E z^2 = 1, is a sum of random signs with fixed coefficients. For one bit
    the error is 1 - (sum |z|)^2 / d^2, and E|z| >= 1 / sqrt 2 (Szarek), which gives 1/2. Else, moments of z
    are at most those of a normal number (Khintchine): if (z - c(z))^2 <= \sum_k a_k z^{2k} for all z, with
    a_k >= 0 from k = 2 on, then \sum_k a_k (2k - 1)!! is a bound. The best a_k are those of a linear program
    on a grid of z; what they miss between its points is added.

    Examples
    --------
    >>> [round(least_error_bound(bits), 4) for bits in (1, 2, 3)]
    [0.5, 0.3063, 0.0966]
    """
    return _least_error_bound(_bits(bits))


@cache
def _least_error_bound(bits: int) -> float:
    """Return the same for checked bits; the linear program takes a second."""
    if bits == 1:
        return 0.5
    peaks = _limits(_centroids(bits))[1:-1]
    grid, fine = (
        np.concatenate([np.linspace(0, 8, n), np.geomspace(8, 1e3, n), peaks]) for n in (4001, 40007)
    )
    powers = np.arange(_MOMENTS + 1)
    moments = factorial2(2 * powers - 1)
    moments[0] = 1
    unit = 4.0**-bits  # the solver's tolerance is absolute, and errors are of this order
    rows, errors = grid[:, None] ** (2 * powers) / moments, _squared_error(grid, bits) / unit
    size = rows.max(axis=1, keepdims=True).clip(1)
    signs: list[tuple[float | None, float | None]] = [(None, None)] * 2 + [(0, None)] * (_MOMENTS - 1)
    found = linprog(np.ones(powers.size), -rows / size, -errors / size[:, 0], bounds=signs).x * unit
    missed = _squared_error(fine, bits) - fine[:, None] ** (2 * powers) / moments @ found
    return float(found.sum() + max(0.0, missed.max()))


def _squared_error(z: Floats, bits: int) -> Floats:
    found = _centroids(bits)
    return np.asarray((z - found[np.searchsorted(_limits(found)[1:-1], z)]) ** 2)


def stochastic_error(rotated: ArrayLike, bits: int) -> float:
    """Return E||Q(v) - v||^2 / ||v||^2 of stochastic rounding between minimum and maximum, exactly.

    It is the sum of step^2 p (1 - p) over the rotated coordinates, where step is (max - min) / (2^bits - 1)
    of each block and p the place of a coordinate between its levels.

    Parameters
    ----------
    rotated : array_like, shape (blocks, d)
        Coordinates after the rotation, in any scale; not all 0.
    bits : int
        1 to 8.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    y, most = matrix("rotated", rotated), 2 ** _bits(bits) - 1
    if not y.any():
        raise ValueError("rotated is zero; it must have a non-zero coordinate")
    y, _ = split_scale(y)
    low, high = y.min(axis=-1, keepdims=True), y.max(axis=-1, keepdims=True)
    step = (high - low) / most
    part = np.divide(y - low, step, out=np.zeros_like(y), where=step > 0) % 1
    return float((step**2 * part * (1 - part)).sum() / (y**2).sum())


def stochastic_bound(bits: int, block_size: int) -> float:
    r"""Return a bound on the same for every v: M / (2^bits - 1)^2.

    A level apart is at most 2 max|z| / (2^bits - 1), and M = \min_t (\log d - \log(1 - 2t) / 2) / t is at
    least E max z^2, since E exp(t z^2) <= (1 - 2t)^{-1/2} for signed sums as for a normal number; M is at
    most d.

    Examples
    --------
    >>> round(stochastic_bound(1, 4096), 1)
    20.7
    """
    d = whole("block_size", block_size)
    t = np.arange(1, 500) / 1000
    largest = min(float(d), float(((math.log(d) - np.log1p(-2 * t) / 2) / t).min()))
    return float(largest / (2 ** _bits(bits) - 1) ** 2)


@representable()
def stochastic_limit_error(bits: int, block_size: int) -> float:
    """Return the mean of the same over uniformly random rotations, which is one number for every v.

    A rotated block is d independent normal numbers but for their length. Given the least a and the largest b
    of them, the others are normal between a and b, and step^2 p (1 - p) is integrated in closed form between
    levels; a and b by Gauss's rule in their distribution functions.

    Parameters
    ----------
    bits : int
        1 to 8.
    block_size : int
        d; up to 2 there are no others, and the error is 0.

    Examples
    --------
    >>> [round(stochastic_limit_error(bits, 2**17), 3) for bits in (1, 2, 3, 4)]
    [18.74, 1.553, 0.269, 0.059]
    """
    return _stochastic_limit_error(_bits(bits), whole("block_size", block_size))


@cache
def _stochastic_limit_error(bits: int, d: int) -> float:
    """Return the same for checked arguments."""
    if d <= 2:
        return 0.0
    nodes, weights = np.polynomial.legendre.leggauss(48)
    u, weights = (nodes + 1) / 2, weights / 2
    below_high = np.exp(np.log(u) / d)[:, None]  # Phi(b), where b has the distribution function Phi^d
    below_low = -below_high * np.expm1(np.log1p(-u) / (d - 1))
    low, high = ndtri(below_low), np.broadcast_to(ndtri(below_high), below_low.shape)
    edges = low[..., None] + (high - low)[..., None] * np.linspace(0, 1, 2**bits)
    mass, density = ndtr(edges), _density(edges)
    a, b = edges[..., :-1], edges[..., 1:]
    # The integral of (x - a)(b - x) over normal x from a to b, by those of 1, x and x^2.
    zeroth, first = np.diff(mass), -np.diff(density)
    second = zeroth - np.diff(edges * density)
    cells = -second + (a + b) * first - a * b * zeroth
    others = cells.sum(axis=-1) / (below_high - below_low)
    return float((d - 2) / d * (weights[:, None] * weights * others).sum())


def expected_error_eden(
    gradient: ArrayLike, bits: int = 2, scale: str = "unbiased", block_size: int = 4096, **_: object
) -> float:
    """Return E||Q(v) - v||^2 in the limit of large blocks, as `limit_error`; exactly it is not known.

    Padding takes its share of what is spread over a block, which is all but the shrinkage of v.
    """
    least = distortion(bits)
    choice("scale", scale, SCALES)
    length = {"unbiased": 1.0, "mse": 1 - least, "norm": math.sqrt(1 - least)}[scale]  # E Q(v) = length v
    spread = limit_error(bits, scale) - (1 - length) ** 2

    def error(scaled: Floats) -> float:
        parts = _blocks(scaled, block_size)
        return sum(squares * ((1 - length) ** 2 + spread * kept) for squares, _size, kept in parts)

    return in_squared_units(vector("gradient", gradient), error, "the error")


def expected_error_rotated_stochastic(
    gradient: ArrayLike, bits: int = 4, block_size: int = 4096, **_: object
) -> float:
    """Return E||Q(v) - v||^2 for uniformly random rotations: two rounds of the Hadamard transform are near.

    Padding takes its share, for errors are spread over a block.
    """

    def error(scaled: Floats) -> float:
        parts = _blocks(scaled, block_size)
        return sum(squares * stochastic_limit_error(bits, size) * kept for squares, size, kept in parts)

    return in_squared_units(vector("gradient", gradient), error, "the error")


def _blocks(values: Floats, block_size: int) -> list[tuple[float, int, float]]:
    """Return (||v||^2, size with padding, share that is not padding) of each block."""
    d = _power(block_size)
    rows = [values[low : low + d] for low in range(0, values.size, d)]
    sizes = [1 << (row.size - 1).bit_length() for row in rows]
    return [(float(row @ row), size, row.size / size) for row, size in zip(rows, sizes, strict=True)]


def expected_bits_eden(num_coordinates: int, bits: int = 2, block_size: int = 4096, **_: object) -> int:
    """Return the bits of codes and of a scale a block."""
    return bits_of_blocks(whole("num_coordinates", num_coordinates), bits, block_size)


def expected_bits_rotated_stochastic(
    num_coordinates: int, bits: int = 4, block_size: int = 4096, **_: object
) -> int:
    """Return the bits of codes, and of a scale and an offset a block."""
    return bits_of_blocks(whole("num_coordinates", num_coordinates), bits, block_size, 2)


def bits_of_blocks(num_coordinates: int, code_bits: int, block_size: int, numbers_a_block: int = 1) -> int:
    """Return the bits of codes and float32 numbers of all blocks, nothing around them.

    The block size is a power of two, and so is that of the last block, which is padded.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    n = whole("num_coordinates", num_coordinates, least=0)
    width, d = whole("code_bits", code_bits, most=_MOST_BITS), _power(block_size)
    scales = whole("numbers_a_block", numbers_a_block)
    blocks = -(-n // d)
    if not blocks:
        return 0
    last = 1 << (n - (blocks - 1) * d - 1).bit_length()
    return ((blocks - 1) * d + last) * width + 32 * scales * blocks


def _power(block_size: object) -> int:
    d = whole("block_size", block_size)
    if d & (d - 1):
        raise ValueError(f"block_size is {d}; it must be a power of two")
    return d

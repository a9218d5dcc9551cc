r"""Hyper-sphere quantization (HSQ): exact variance and bits of the probabilistic codebook compressor.

A segment v of d coordinates is written in a codebook C (d rows, K columns of length one) as p = C^+ v;
column j is drawn with probability \|p_j\| / ||p||_1 and sign(p_j) ||p||_1 c_j is what a receiver decodes.
It is unbiased if and only if C has rank d. (Formulas from the authors' published code; HSQ's greedy variant
is a biased projection.)

A bound for every v, for a tight frame that holds a basis, such as a union of rotations. Norms of b bits are
rounded at random, without bias, to 2^b evenly spaced levels from the least to the largest of m signed norms
u_i. Codewords have length one, so that the rounding of u_i adds its own variance: 0 for the two ends, which
are levels, and at most s^2/4 for the m - 2 others, with the spacing s = (u_max - u_min) / (2^b - 1). Since
(u_max - u_min)^2 <= 2 (u_max^2 + u_min^2) <= 2 U with U = sum u_i^2, it adds at most c U in all, with

.. math:: c = \frac{m - 2}{2 (2^b - 1)^2}

At random U <= d ||v||^2 by Cauchy and Schwarz, and exact norms leave U - ||v||^2: together at most d
(1 + c) - 1 times ||v||^2. Greedy, ||v||^2 / d <= U <= ||v||^2, and exact norms leave ||v||^2 - U: together
at most 1 - (1 - c)/d for c <= 1, a contraction below 1, and c above. Where ranges differ, the longest counts.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import trapezoid
from scipy.special import gammaln

from qsgd_lab.theory.arguments import choice, divisor, nonzero_vector, numbers, vector, whole
from qsgd_lab.theory.arrays import Floats, in_squared_units, split_scale, times_power_of_two


def hsq_variance(segment: ArrayLike, codebook: ArrayLike) -> float:
    """Return E||Q(v) - v||^2 = ||C^+ v||_1^2 - ||v||_2^2, exactly.

    Parameters
    ----------
    segment : array_like, shape (d,)
    codebook : array_like, shape (d, K)
        Columns of unit length, of rank d.

    Raises
    ------
    ValueError
        If the columns are not of unit length, their rank is below d, so that HSQ would be biased, or the
        segment does not have d coordinates.
    """
    columns = _codebook(codebook)
    scaled, exponent = split_scale(_segment(segment, columns))
    # The pseudo-inverse gives the coefficients of least norm, as the published code takes them.
    coefficients = np.linalg.pinv(columns) @ scaled
    variance = float(np.abs(coefficients).sum() ** 2 - scaled @ scaled)
    return times_power_of_two(variance, 2 * exponent, "the variance")


def hsq_variance_bound(codebook: ArrayLike) -> float:
    """Return K / smin(C)^2 - 1, an upper bound on the relative variance; d - 1 for a tight frame.

    The codebook as in `hsq_variance`.
    """
    columns = _codebook(codebook)
    return float(columns.shape[1] / np.linalg.svd(columns, compute_uv=False)[-1] ** 2 - 1)


def random_codebook_variance(segment_size: int) -> float:
    r"""Return the relative variance that random codebooks approach as K grows, for every segment.

    .. math:: \Bigl(\frac{d \, \Gamma(d / 2)}{\sqrt\pi \, \Gamma((d + 1) / 2)}\Bigr)^2 - 1

    The columns are uniform on the sphere; then C^+ = (d / K) C^T, and the mean of |c_1| over the sphere
    gives the rest. About (2 / pi) d - 1/2 for large d.

    Parameters
    ----------
    segment_size : int
        d >= 1.

    Examples
    --------
    >>> [round(random_codebook_variance(d), 3) for d in (1, 2, 16)]
    [0.0, 0.621, 9.509]
    """
    d = whole("segment_size", segment_size)
    # Logarithms, because Gamma overflows from 172 on.
    root = np.exp(np.log(d) + gammaln(d / 2) - gammaln((d + 1) / 2)) / np.sqrt(np.pi)
    return float(root**2 - 1)


def greedy_contraction(segment: ArrayLike, codebook: ArrayLike) -> float:
    """Return delta = max_j cos^2 of the angle between segment and column: the greedy variant's contraction.

    Projecting on the closest column c leaves ||v||^2 (1 - delta). `segment` must not be zero; its columns
    need not have rank d.
    """
    columns = _unit_columns(codebook)
    scaled, _ = split_scale(nonzero_vector("segment", _segment(segment, columns)))
    return float(((columns.T @ scaled) ** 2).max() / (scaled @ scaled))


def hsq_bits_per_coordinate(segment_size: int, num_columns: int, norm_bits: int) -> float:
    """Return (ceil(log2 K) + norm bits) / d: an index and a signed norm a segment.

    The published setting (16, 256, 6) does not decode: its norms take 2^6 + 1 values, so they need 7 bits,
    and two floats a tensor are sent besides.

    Parameters
    ----------
    segment_size, num_columns : int
        d >= 1 and K >= 1.
    norm_bits : int
        At least 0.

    Examples
    --------
    >>> hsq_bits_per_coordinate(16, 256, 6)
    0.875
    """
    d, index_bits = whole("segment_size", segment_size), (whole("num_columns", num_columns) - 1).bit_length()
    return (index_bits + whole("norm_bits", norm_bits, least=0)) / d


def rotations_variance(segment_size: int, num_columns: int) -> float:
    r"""Return the relative variance of a union of K/d uniformly random rotations, in the mean over them.

    With m = d E|c_1|, .. math:: m^2 (1 - d/K) + (d/K) (1 + (d - 1) 2/\pi) - 1

    ||C^+ v||_1 is the mean of K/d independent ||R v||_1, each of mean m and mean square 1 + (d - 1) 2/pi.

    Parameters
    ----------
    segment_size, num_columns : int
        d >= 1, and K, a multiple of d.

    Examples
    --------
    >>> round(rotations_variance(16, 256), 3), round(rotations_variance(16, 16), 3)
    (9.512, 9.549)
    """
    count = whole("num_columns", num_columns)
    d = divisor("segment_size", segment_size, "num_columns", count)
    squared_mean = random_codebook_variance(d) + 1
    mean_square = 1 + (d - 1) * 2 / np.pi
    return float(squared_mean + d / count * (mean_square - squared_mean) - 1)


class Cosines(NamedTuple):
    """Means of cos^2 and cos^4 of the angle between a segment and the codeword that is nearest to it."""

    square: float
    fourth: float


def rotations_cosines(segment_size: int, num_columns: int) -> Cosines:
    r"""Return the moments of the greedy variant's cosine in a union of K/d uniformly random rotations.

    In one rotation it is the largest magnitude of a coordinate of a point u that is uniform on the sphere;
    the largest of K/d of them has the distribution function F_d^{K/d}. Given u_1 = t the others are uniform
    on a sphere of radius sqrt(1 - t^2), so that

    .. math:: F_d(x) = \int_{-x}^{x} p_d(t) \, F_{d-1}(x / \sqrt{1 - t^2}) \, dt, \quad
              p_d(t) \propto (1 - t^2)^{(d-3)/2}, \quad F_2(x) = 1 - (4/\pi) \arccos x

    for x from sqrt(1/2) on, and 0 below, on a grid of x and by Gauss's rule in t: to about 0.002.

    Parameters
    ----------
    segment_size, num_columns : int
        d >= 1, and K, a multiple of d.

    Examples
    --------
    >>> round(rotations_cosines(16, 256).square, 2), round(rotations_cosines(16, 1024).square, 2)
    (0.47, 0.56)
    """
    count = whole("num_columns", num_columns)
    d = divisor("segment_size", segment_size, "num_columns", count)
    x = np.linspace(0, 1, 1001)
    below = _largest_coordinate(d) ** (count // d)
    return Cosines(float(trapezoid(2 * x * (1 - below), x)), float(trapezoid(4 * x**3 * (1 - below), x)))


@cache
def _largest_coordinate(size: int) -> Floats:
    """Return F_d at 1001 points from 0 to 1; callers share the array and leave it as it is."""
    x = np.linspace(0, 1, 1001)
    if size == 1:
        return np.asarray(x >= 1, np.float64)
    below = np.clip(1 - 4 / np.pi * np.arccos(x), 0, 1)
    nodes, weights = np.polynomial.legendre.leggauss(48)
    t = x[:, None] * (nodes + 1) / 2
    rest = np.sqrt(np.maximum(1 - t * t, 1e-12))
    for d in range(3, size + 1):
        scale = np.exp(gammaln(d / 2) - gammaln((d - 1) / 2)) / np.sqrt(np.pi)
        density = scale * rest ** (d - 3) * weights * x[:, None]
        below = np.clip((density * np.interp(x[:, None] / rest, x, below)).sum(axis=1), 0, 1)
    return below


def expected_error(
    gradient: ArrayLike, segment: int = 16, codebook: int = 256, mode: str = "random", norm_bits: int = 6
) -> float:
    """Return E||Q(v) - v||^2 in the mean over codebooks of uniformly random rotations: Hadamard's are near.

    Norms of few bits add step^2 / 6 for each segment between the least and the largest norm of its range,
    with the range that norms of mean length have under random signs.
    """
    x = vector("gradient", gradient)
    d = divisor("segment", segment, "codebook", whole("codebook", codebook))
    variance = rotations_variance(d, codebook)
    choice("mode", mode, ("random", "greedy"))
    b = whole("norm_bits", norm_bits, least=0, most=16)
    cosines = rotations_cosines(d, codebook) if mode == "greedy" else None
    squared_norm = (
        1 + variance if cosines is None else cosines.square
    )  # of a codeword, for a segment of length 1

    def added(scaled: Floats) -> float:
        squares = np.add.reduceat(scaled * scaled, np.arange(0, scaled.size, d))
        inside = scaled.size - d * (squares.size - 1)  # of the last segment; zeros fill it
        if cosines is None:
            error = variance * squares
            if inside < d:  # the share that is not in the padding
                error[-1] = squares[-1] * (squared_norm * (inside + 1) / (d + 1) - 1)
        else:
            error = (1 - cosines.square) * squares
            if inside < d:  # what the codeword has in the padding is cut
                cut = (cosines.square - cosines.fourth) * (d - inside) / (d - 1)
                error[-1] -= cut * squares[-1]
        parts = np.split(squares, range(256, squares.size, 256))
        return float(error.sum()) + sum(_rounding(part, squared_norm, b) for part in parts)

    return in_squared_units(x, added, "the error")


def _rounding(squares: Floats, squared_norm: float, norm_bits: int) -> float:
    """Return what rounding the norms of one range adds; `squares` are ||v||^2 of its segments."""
    others = squares.size - 2
    if norm_bits == 0 or others < 1:
        return 0.0
    norms = np.sort(np.sqrt(squared_norm * squares))[::-1]
    # The range ends at the largest norm, and the largest of the other sign: the k-th with chance 2^(1 - k).
    chances = 0.5 ** np.arange(1, norms.size)
    wide = float(chances @ (norms[0] + norms[1:]) ** 2 + chances[-1] * (norms[0] - norms[-1]) ** 2)
    return float(others * wide / (2**norm_bits - 1) ** 2 / 6)


def expected_bits(
    num_coordinates: int, segment: int = 16, codebook: int = 256, norm_bits: int = 6, **_: object
) -> int:
    """Return the bits of codewords and norms, and of two float32 for each 256 norms of few bits."""
    n, b = whole("num_coordinates", num_coordinates), whole("norm_bits", norm_bits, least=0, most=16)
    count = -(-n // whole("segment", segment))
    index = (whole("codebook", codebook) - 1).bit_length()
    return count * (index + (b or 32)) + (64 * -(-count // 256) if b else 0)


def _segment(segment: ArrayLike, columns: Floats) -> Floats:
    found = vector("segment", segment)
    if found.size != columns.shape[0]:
        raise ValueError(f"segment has {found.size} coordinates; the codebook's columns have {len(columns)}")
    return found


def _unit_columns(codebook: ArrayLike) -> Floats:
    columns = numbers("codebook", codebook)
    if columns.ndim != 2 or not np.allclose(np.linalg.norm(columns, axis=0), 1):
        raise ValueError("codebook must be a matrix (d, K) whose columns have length one")
    return columns


def _codebook(codebook: ArrayLike) -> Floats:
    columns = _unit_columns(codebook)
    if np.linalg.matrix_rank(columns) < columns.shape[0]:
        raise ValueError("codebook has a rank below the segment size, so that HSQ is biased; add columns")
    return columns

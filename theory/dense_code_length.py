r"""Bits of Code'_s, the dense layout, and of fixed width: exact for a vector, and bounds for every vector.

Every coordinate is sent: a sign and the Elias code of its level plus one. The sign is sent always, or only
where the level is not zero. The bit count of one coordinate at position x is piecewise linear in x; the
least concave majorant F* of y -> f(sqrt(y)) gives the bound n F*(s^2 / n) for every vector by Jensen's
inequality (D1). It is attained where s <= sqrt(n), and a coordinate at a time as n grows.

The paper's 2.8 n + 32 at s = sqrt(n) (Corollary 3.3) does not hold for this layout with true Elias lengths:
on the constant vector every level is 1, whose code word (of 2) has three bits, and a sign makes 4 n + 32
(the paper's appendix, where the layout is defined, was not at hand; this is the reading that its main text
suggests).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from qsgd_lab.levels import Norm
from qsgd_lab.theory.arguments import (
    MOST_TABLE_LEVELS,
    choice,
    number,
    numbers,
    optional_whole,
    table_levels,
    whole,
)
from qsgd_lab.theory.arrays import Floats, representable
from qsgd_lab.theory.code_length import NORM_BITS
from qsgd_lab.theory.elias import Code, code_length, coded_bits, length_envelope
from qsgd_lab.theory.expected_counts import value_counts
from qsgd_lab.theory.level_positions import LevelPositions, level_positions

Sign = Literal["always", "nonzero"]

SIGNS: tuple[Sign, ...] = ("always", "nonzero")


def exact_dense_bits(
    gradient: ArrayLike,
    num_levels: int,
    *,
    norm: Norm = "l2",
    bucket_size: int | None = None,
    code: Code = "omega",
    sign: Sign = "nonzero",
) -> float:
    """Return E|Code'_s(Q(v))| in bits, exactly, in O(n).

    Parameters
    ----------
    gradient, num_levels, norm, bucket_size
        As in `qsgd_lab.theory.level_positions.level_positions`.
    code : {"gamma", "delta", "omega"}
    sign : {"always", "nonzero"}
        Which coordinates get a sign bit.

    Examples
    --------
    >>> exact_dense_bits([1.0] * 10_000, 100)  # 4 n + 32, where the paper has 2.8 n + 32
    40032.0
    """
    at = level_positions(gradient, num_levels, norm=norm, bucket_size=bucket_size)
    return dense_bits_at(at, code, sign=sign)


def dense_bits_at(at: LevelPositions, code: Code = "omega", *, sign: Sign = "nonzero") -> float:
    """Return E|Code'_s| in bits of a vector that is already placed between levels."""
    choice("sign", sign, SIGNS)
    signs = at.positions.size if sign == "always" else float(at.nonzero_probabilities.sum())
    return NORM_BITS * at.norms.size + signs + coded_bits(value_counts(at, plus=1), code)


def dense_level_bits(max_level: int, code: Code = "omega", sign: Sign = "nonzero") -> Floats:
    """Return the bits of each level 0..s with its sign, shape (s + 1,).

    Parameters
    ----------
    max_level : int
        s >= 0.
    code, sign
        As in `exact_dense_bits`.

    Examples
    --------
    >>> dense_level_bits(3)
    array([1., 4., 4., 7.])
    """
    choice("sign", sign, SIGNS)
    levels = np.arange(whole("max_level", max_level, least=0, most=MOST_TABLE_LEVELS) + 1)
    # Zero has a sign bit only in the layout that sends all of them.
    signs = (levels > 0) | (sign == "always")
    return np.asarray(code_length(levels + 1, code) + signs, dtype=np.float64)


def fixed_width_bits(num_coordinates: int, bits: int, *, bucket_size: int | None = None) -> int:
    """Return (b + 1) n + 32 a bucket: a b-bit magnitude and a sign each, nothing left to chance.

    Parameters
    ----------
    num_coordinates : int
        n >= 1.
    bits : int
        b >= 1.
    bucket_size : int, optional
        d >= 1; None is one bucket.

    Examples
    --------
    >>> fixed_width_bits(512, 3, bucket_size=512) / 512
    4.0625
    """
    n, b = whole("num_coordinates", num_coordinates), whole("bits", bits)
    buckets = -(-n // (optional_whole("bucket_size", bucket_size) or n))
    return (b + 1) * n + NORM_BITS * buckets


@representable()
def dense_bits_per_coordinate(
    mean_square: ArrayLike, max_level: int, *, code: Code = "omega", sign: Sign = "nonzero"
) -> Floats:
    r"""Return F*(y), the largest mean bits of a coordinate when positions have mean square y (D1).

    .. math:: F^*(y) = \min_{\lambda \ge 0} \; \lambda y + \sup_{0 \le x \le s} \bigl(f(x) - \lambda x^2\bigr)

    Every lambda gives a bound, so the numerical minimum is one.

    Parameters
    ----------
    mean_square : array_like
        y = s^2 / n > 0 under the l2 norm.
    max_level : int
        s >= 1, the largest level there is.
    code, sign
        As in `exact_dense_bits`.

    Examples
    --------
    >>> dense_bits_per_coordinate([0.25, 1, 4, 16], 100).round(3)
    array([2.5  , 4.   , 5.125, 7.175])
    """
    lengths = dense_level_bits(whole("max_level", max_level), code, sign)
    y = numbers("mean_square", mean_square, above=0)
    return np.array([_majorant_at(float(value), lengths) for value in y.ravel()]).reshape(y.shape)


def _majorant_at(y: float, lengths: Floats) -> float:
    slopes, starts = np.diff(lengths), np.arange(lengths.size - 1)

    def dual(log_multiplier: float) -> float:
        multiplier = np.exp(log_multiplier)
        # On each cell the expression is concave in x, so that its maximum is where the slope is 0, or an end.
        x = np.clip(slopes / (2 * multiplier), starts, starts + 1)
        return float(multiplier * y + (lengths[:-1] + slopes * (x - starts) - multiplier * x**2).max())

    # At the optimum lambda is a slope of F*, between that at the largest level and that at zero.
    low, high = np.log(1e-3 / lengths.size**2), np.log(8 / np.sqrt(min(y, 1.0)))
    # The dual is convex, but has kinks: a grid first, then a search between neighbours.
    grid = np.linspace(low, high, 200)
    best = int(np.argmin([dual(point) for point in grid]))
    around = (grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)])
    refined = optimize.minimize_scalar(dual, bounds=around, method="bounded", options={"xatol": 1e-12})
    return min(float(refined.fun), dual(grid[best]))


def worst_case_dense_bits(
    num_coordinates: int, num_levels: int, *, code: Code = "omega", sign: Sign = "nonzero"
) -> float:
    """Return 32 + n F*(s^2 / n), an upper bound on E|Code'_s| for every vector of one l2 bucket (D1), bits.

    For omega and s <= sqrt(n) it is 32 + n + 3 s sqrt(n) (sign where not zero) or 32 + 2 n + 2 s sqrt(n)
    (sign always), and the constant vector attains it. Above sqrt(n) the supremum is below it by less than
    the bits of one top level (F* mixes two positions, and n coordinates divide between them only as whole
    numbers), so that a coordinate's share of the gap vanishes as n grows.

    Parameters
    ----------
    num_coordinates, num_levels : int
        n >= 1 and s >= 1.
    code, sign
        As in `exact_dense_bits`.
    """
    n, s = whole("num_coordinates", num_coordinates), table_levels(num_levels)
    per_coordinate = dense_bits_per_coordinate(s**2 / n, s, code=code, sign=sign)
    return float(NORM_BITS + n * per_coordinate)


def closed_form_dense_bits(num_coordinates: int, num_levels: int) -> float:
    """Return 32 + n (2 + 2.5 log2(1 + s / sqrt(n))) bits, simpler than `worst_case_dense_bits` (D2)."""
    n, s = whole("num_coordinates", num_coordinates), whole("num_levels", num_levels)
    return float(NORM_BITS + n * (2 + 2.5 * np.log2(1 + s / np.sqrt(n))))


def dense_bits_bound_for(gradient: ArrayLike, num_levels: int, *, code: Code = "omega") -> float:
    """Return 32 + n (1 + Phi(log2(1 + mean position))) bits: (D2) for this l2 bucket."""
    at = level_positions(gradient, num_levels)
    mean = float(at.positions.mean())
    return float(NORM_BITS + at.positions.size * (1 + length_envelope(np.log2(1 + mean), code)))


def paper_dense_bits(num_coordinates: int) -> float:
    """Return 2.8 n + 32 bits: QSGD, Corollary 3.3, for s = sqrt(n); not met by this layout, see above."""
    return 2.8 * whole("num_coordinates", num_coordinates) + NORM_BITS


@representable()
def recalled_dense_lemma(num_coordinates: int, num_levels: int, *, little_o: float = 0.0) -> float:
    r"""Return the lemma behind Corollary 3.3 as it is remembered, with a number for its o(1), in bits.

    .. math:: 32 + n \bigl(\tfrac{1 + o(1)}2 (\log_2(1 + (s^2 + \min(n, s \sqrt n)) / n) + 1) + 2\bigr)

    At s = sqrt(n) that is 3.29 n; 2.8 n comes out only without the inner + 1. Recalled, not re-read: the
    constants are unconfirmed. `little_o` is at least 0.
    """
    n, s = whole("num_coordinates", num_coordinates), whole("num_levels", num_levels)
    little_o = number("little_o", little_o, least=0)
    inner = np.log2(1 + (s**2 + min(n, s * np.sqrt(n))) / n) + 1
    return float(NORM_BITS + n * ((1 + little_o) / 2 * inner + 2))

"""The fewest bits that levels need: their entropy, and a prior that meets 2.8 n for every vector.

Coding the signed levels arithmetically with one fixed discrete Gaussian costs a number of bits that depends
on the vector only through the sum of squared levels, whose expectation is at most s^2 (1 + omega). So the
largest expected length over all vectors is a closed expression (D3): 2.21 n + 34 at s = sqrt(n), where
Elias codes need 4 n + 32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from qsgd_lab.levels import Norm
from qsgd_lab.theory.arguments import number, numbers, table_levels, vector, whole
from qsgd_lab.theory.arrays import Floats, representable, split_scale, weighted_counts
from qsgd_lab.theory.code_length import NORM_BITS
from qsgd_lab.theory.level_positions import LevelPositions, level_positions
from qsgd_lab.theory.variance import worst_case_variance_l2

#: What an arithmetic coder adds to the ideal length of a whole message.
ARITHMETIC_OVERHEAD_BITS = 2

#: Beyond so many standard deviations the normal law has no weight in float64.
_NEGLIGIBLE_DEVIATIONS = 9


def mean_level_probabilities(
    gradient: ArrayLike, num_levels: int, *, norm: Norm = "l2", bucket_size: int | None = None
) -> Floats:
    """Return the expected share of each signed level -s..s, shape (2s + 1,): what an order-0 coder sees.

    Parameters
    ----------
    gradient, num_levels, norm, bucket_size
        As in `qsgd_lab.theory.level_positions.level_positions`.
    """
    at = level_positions(gradient, num_levels, norm=norm, bucket_size=bucket_size)
    return level_probabilities_at(at, np.signbit(vector("gradient", gradient)))


def level_probabilities_at(at: LevelPositions, negative: NDArray[np.bool_]) -> Floats:
    """Return the same for a vector already placed between levels, given which coordinates are negative."""
    s = table_levels(at.num_levels)
    lower, p = at.lower_levels.astype(np.int64), at.up_probabilities
    upper = np.minimum(lower + 1, s)
    shares = weighted_counts(np.where(negative, s - lower, s + lower), 1 - p, 2 * s + 1)
    shares += weighted_counts(np.where(negative, s - upper, s + upper), p, 2 * s + 1)
    shares /= shares.sum()
    return shares


@representable()
def normal_level_probabilities(scale: float) -> Floats:
    """Return the law of a signed level when positions are normal with deviation `scale`, in levels.

    The limit for a long normal vector, where scale = s / sqrt(n); shape (2m + 1,) for levels -m..m, with m
    beyond any likely one. A level k takes the mean of the triangle max(0, 1 - |z - k|).

    Parameters
    ----------
    scale : float
        Above 0, at most 10^6.
    """
    scale = number("scale", scale, above=0, most=1e6)
    most = int(np.ceil(_NEGLIGIBLE_DEVIATIONS * scale)) + 1
    edges = np.arange(-most - 1, most + 2)
    # The second difference of E max(0, z - k) over k is the triangle's mean.
    hinge = scale * (stats.norm.pdf(edges / scale) - edges / scale * stats.norm.sf(edges / scale))
    shares: Floats = np.maximum(np.diff(hinge, 2), 0)
    shares /= shares.sum()
    return shares


def entropy_bits(probabilities: ArrayLike) -> float:
    """Return the Shannon entropy of a law, in bits a symbol.

    Parameters
    ----------
    probabilities : array_like
        At least 0, not all 0; divided by their sum.

    Examples
    --------
    >>> round(entropy_bits(normal_level_probabilities(1.0)), 3)  # s = sqrt(n), normal vector
    2.158
    """
    shares = numbers("probabilities", probabilities, least=0).reshape(-1)
    if not shares.any():
        raise ValueError("probabilities are all 0; at least one must be above 0")
    # Scaled, because the sum of large numbers would overflow.
    return float(stats.entropy(split_scale(shares)[0], base=2))


@representable()
def discrete_gaussian_bits(second_moment: float) -> float:
    """Return G(m), the largest entropy of a law on the integers with second moment m, in bits.

    m is above 0 and at most 10^12 (working memory grows with its root).

    It is that of the discrete Gaussian with that moment, and the cost of coding with it as a fixed prior.

    Examples
    --------
    >>> [round(discrete_gaussian_bits(m), 3) for m in (1.25, 4.25)]
    [2.208, 3.091]
    """
    second_moment = number("second_moment", second_moment, above=0, most=1e12)
    most = int(np.ceil(40 * np.sqrt(second_moment))) + 40
    squares = np.arange(1, most + 1, dtype=np.float64) ** 2

    def cost(log_rate: float) -> float:
        rate = np.exp(log_rate)
        # Beside the 1 of level 0, the sum of a small moment would be lost.
        return float((np.log1p(2 * np.exp(-rate * squares).sum()) + rate * second_moment) / np.log(2))

    # The rate 1 / (2 sigma^2) is near 1 / (2 m) for large m, and near log(2 / m) for small.
    guess = np.log(max(1 / (2 * second_moment), np.log1p(1 / second_moment)))
    return float(optimize.minimize_scalar(cost, bracket=(guess - 1, guess)).fun)


@representable()
def universal_prior_bits(num_coordinates: int, num_levels: int) -> float:
    """Return 34 + n G(s^2 (1 + omega) / n): bits that suffice for every vector, one l2 bucket (D3).

    Parameters
    ----------
    num_coordinates, num_levels : int
        n >= 1 and s >= 1.
    """
    n, s = whole("num_coordinates", num_coordinates), whole("num_levels", num_levels)
    second_moment = s**2 * (1 + float(worst_case_variance_l2(n, s))) / n
    return NORM_BITS + ARITHMETIC_OVERHEAD_BITS + n * discrete_gaussian_bits(second_moment)

r"""Bits against variance: every quantizer under every code, beside what no compressor can beat.

Two questions have the same form. *This vector*: its exact relative variance and its exact expected bits.
*Every vector*: a bound on either, which different vectors may attain. In both the rate-distortion bound of
`lower_bound` holds below: for normal vectors on average, and for some vector of every kind.

An unbiased quantizer of variance omega, shrunk by 1 / (1 + omega), has relative error omega / (1 + omega),
and the bound depends on that error alone. A biased compressor of error e is therefore set beside the
unbiased ones at e / (1 - e) (`TradeoffRow.comparable_variance`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import gammaln

from qsgd_lab.theory.arguments import fits_memory, number, whole
from qsgd_lab.theory.arrays import Floats
from qsgd_lab.theory.lower_bound import contraction_bits

#: Codes of levels, in the order of the tables: fixed width; Elias codes of every level (dense) or of gaps and
#: non-zeros (sparse); `ideal` is the entropy of the levels, or for every vector the universal prior.
CODES = (
    "fixed",
    "gamma_dense",
    "delta_dense",
    "omega_dense",
    "gamma_sparse",
    "delta_sparse",
    "omega_sparse",
    "ideal",
)

#: Shares of the coordinates that top-k and rand-k keep.
KEPT_SHARES = tuple(2.0**-k for k in range(8, 0, -1))
#: Coordinates of HSQ's segments; the codebook is a rotation of the axes.
SEGMENT_SIZES = (256, 64, 16, 4)
#: Bits of a magnitude up to which the tables go; s = 2^20 levels are listed one by one.
MOST_BITS = 20
#: s of NUQSGD, whose levels are 0, 2^-s, ..., 1/2, 1.
NUQSGD_EXPONENTS = (1, 2, 3, 4, 6, 8)


@dataclass(frozen=True)
class TradeoffRow:
    """One quantizer at one setting.

    Attributes
    ----------
    method : str
        A family, such as ``QSGD, l2``.
    setting : str
        Its parameter, such as ``s = 7``.
    biased : bool
    error : float
        E||C(v) - v||^2 / ||v||^2: of an unbiased method its variance, which may exceed 1.
    bits : dict of str to float
        Expected bits a coordinate by code, norms and indices included; a subset of `CODES`.
    """

    method: str
    setting: str
    biased: bool
    error: float
    bits: dict[str, float] = field(default_factory=dict)

    @property
    def damped_error(self) -> float:
        """The relative error after the best scaling: omega / (1 + omega), or the error of a biased method."""
        # Nothing sent is an error of 1, which rounding may push over.
        return min(self.error, 1.0) if self.biased else self.error / (1 + self.error)

    @property
    def comparable_variance(self) -> float:
        """The variance of an unbiased method with the same damped error; infinite if nothing is sent."""
        damped = self.damped_error
        return damped / (1 - damped) if damped < 1 else float("inf")

    @property
    def lower_bound(self) -> float:
        """Bits a coordinate below which no compressor has this error; infinite where there is no error."""
        return abs(float(contraction_bits(self.damped_error))) if self.damped_error > 0 else float("inf")

    @property
    def best_elias(self) -> float | None:
        """The fewest bits among the omega codes, the paper's; None if the method has no levels."""
        omega = [value for code, value in self.bits.items() if code.startswith("omega")]
        return min(omega) if omega else None


def lower_bound_curve(low: float, high: float, num_points: int = 200) -> tuple[Floats, Floats]:
    """Return (variances, bits a coordinate) of the bound for variances from `low` to `high`, log-spaced.

    Parameters
    ----------
    low, high : float
        0 < low < high.
    num_points : int
        At least 2.

    Raises
    ------
    ValueError
        If a parameter is out of range, or the points would take more than half of this machine's memory.
    """
    low = number("low", low, above=0)
    high = number("high", high, above=low)
    num_points = whole("num_points", num_points, least=2)
    fits_memory("num_points", num_points, num_points, 40)
    variances = np.geomspace(low, high, num_points)
    return variances, contraction_bits(variances / (1 + variances))


def kept_counts(num_coordinates: int) -> list[int]:
    """Return the k of top-k and rand-k: `KEPT_SHARES` of n coordinates, at least one."""
    n = whole("num_coordinates", num_coordinates)
    return sorted({max(1, round(share * n)) for share in KEPT_SHARES})


def log2_binomial(n: int, k: int) -> float:
    """Return log2 of n over k, in bits: what a set of k among n positions takes, 0 <= k <= n.

    Examples
    --------
    >>> round(log2_binomial(4, 2), 6)  # six sets
    2.584963
    """
    n = whole("n", n, least=0)
    k = whole("k", k, least=0, most=n)
    return float((gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)) / np.log(2))

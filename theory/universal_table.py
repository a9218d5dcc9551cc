"""A table of integer frequencies whose expected length is bounded for every vector.

Theorem. Let M = 2^b, and let f_k = f_-k > 0 for k from -T to T and f_esc >= 0 be integers that sum to M. Let
l(k) = log2(M / f_k) up to T, and l(k) = log2(M / f_esc) + 2 floor(log2(abs(k) - T)) + 2 beyond: the escape, a
gamma codeword and a sign. If l(k) <= alpha + beta k^2 for every integer k from -s to s, with beta >= 0, then
for every vector of d coordinates, one l2 bucket, unbiased rounding:

    E sum l(q_i) <= d (alpha + beta m), with m = s^2 (1 + omega) / d and omega the worst-case variance.

Proof. E sum l(q_i) <= alpha d + beta E sum q_i^2, and E sum q_i^2 <= s^2 (1 + omega), whatever the vector is.
The condition is a finite check. Frequencies that are rounded up, f_k = ceil(M 2^-(alpha + beta k^2)), keep it
by construction; rounding for the least mean length would not.

At s = sqrt(d) and b = 12 that is 2.2091 d bits, where Elias codes need 4 d and the discrete Gaussian without
integers 2.2081 d.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import optimize

from qsgd_lab.levels import MAX_LEVELS
from qsgd_lab.theory.arguments import whole
from qsgd_lab.theory.arrays import Floats
from qsgd_lab.theory.code_length import NORM_BITS
from qsgd_lab.theory.variance import worst_case_variance_l2

#: Words that a state of the fast coder moves, and what one state adds to a message.
WORD_BITS = 16
STATE_BITS = 32
_ESCAPES = (1, 2, 4, 8, 16, 32, 64)  # frequencies that are tried


class UniversalTable(NamedTuple):
    """A table, and the line under which its lengths are.

    Attributes
    ----------
    frequencies : tuple of int
        Of the levels 0, 1, ..., T; those of -1, ..., -T are the same.
    escape : int
        Of all other levels; 0 if T = s.
    resolution : int
        b; the frequencies of all levels and of the escape sum to 2^b.
    alpha, beta : float
        The length of level k is at most alpha + beta k^2.
    """

    frequencies: tuple[int, ...]
    escape: int
    resolution: int
    alpha: float
    beta: float

    def length(self, level: int) -> float:
        """Return the bits of a level: ideal, but for the gamma codeword and sign after an escape."""
        size, most = abs(level), len(self.frequencies) - 1
        if size <= most:
            return self.resolution - math.log2(self.frequencies[size])
        return self.resolution - math.log2(self.escape) + 2 * ((size - most).bit_length() - 1) + 2


def universal_table(num_coordinates: int, num_levels: int, *, resolution: int = 12) -> UniversalTable:
    """Return the table for s levels and buckets of d coordinates under the l2 norm.

    Parameters
    ----------
    num_coordinates, num_levels : int
        d >= 1 and s from 1 to 32767.
    resolution : int
        b, 8 to 16.

    Raises
    ------
    ValueError
        If an argument is out of its range, or no table of this resolution keeps the condition.

    Examples
    --------
    >>> universal_table(2**20, 2**10).frequencies
    (1461, 979, 295, 40, 3)
    """
    s = whole("num_levels", num_levels, most=MAX_LEVELS)
    b = whole("resolution", resolution, least=8, most=16)
    moment = _second_moment(num_coordinates, s)
    beta = _rate(moment) / math.log(2)
    # Beyond this an entry of frequency 1 is already longer than an escape need be.
    largest = min(s, math.ceil(math.sqrt((b + 4) / beta)) + 1, 2 ** (b - 1) - 1)
    tried = [_table(most, s, b, beta, escape) for most in range(largest + 1) for escape in _ESCAPES]
    tables = [table for table in tried if table is not None]
    if not tables:
        raise ValueError(f"resolution is {b}; no table of 2^{b} serves s = {s} and d = {num_coordinates}")
    return min(tables, key=lambda table: table.alpha)


def universal_table_bits(num_coordinates: int, num_levels: int, *, resolution: int = 12) -> float:
    """Return 32 + d (alpha + beta m): expected ideal bits that suffice for every vector of one bucket.

    Parameters
    ----------
    num_coordinates, num_levels, resolution
        As in `universal_table`.

    Examples
    --------
    >>> round(universal_table_bits(2**20, 2**10) / 2**20, 4)
    2.2091
    """
    table = universal_table(num_coordinates, num_levels, resolution=resolution)
    moment = _second_moment(num_coordinates, int(num_levels))
    return NORM_BITS + int(num_coordinates) * (table.alpha + table.beta * moment)


def universal_coder_bits(
    num_coordinates: int, num_levels: int, *, resolution: int = 12, num_states: int = 16
) -> float:
    """Return the same with what a coder with states of 32 bits and words of 16 adds at most.

    A step turns a state x into at most (M / f) (x + f), so it wastes at most log2(1 + f / x). Between two
    words f / x is at most 2^(b - 16) (1, p, p^2, ...), p the largest share; a cycle carries 16 bits.

    Parameters
    ----------
    num_coordinates, num_levels, resolution
        As in `universal_table`.
    num_states : int
        Of the whole message, each 32 bits.

    Examples
    --------
    >>> round(universal_coder_bits(2**20, 2**10) / 2**20, 4)
    2.2291
    """
    states = whole("num_states", num_states)
    ideal = universal_table_bits(num_coordinates, num_levels, resolution=resolution) - NORM_BITS
    table = universal_table(num_coordinates, num_levels, resolution=resolution)
    largest = max(*table.frequencies, table.escape) / 2**table.resolution
    waste = math.log2(math.e) * 2.0 ** (table.resolution - WORD_BITS) / (WORD_BITS * (1 - largest))
    return float(NORM_BITS + ideal / (1 - waste) + STATE_BITS * states)


def _second_moment(num_coordinates: int, s: int) -> float:
    """Return the largest mean of a squared level."""
    d = whole("num_coordinates", num_coordinates)
    return float(s**2 * (1 + float(worst_case_variance_l2(d, s))) / d)


def _rate(moment: float) -> float:
    """Return the rate of the discrete Gaussian of a second moment: exp(-rate k^2)."""
    most = int(np.ceil(40 * np.sqrt(moment))) + 40
    squares = np.arange(-most, most + 1, dtype=np.float64) ** 2

    def cost(log_rate: float) -> float:
        rate = np.exp(log_rate)
        return float(np.log(np.exp(-rate * squares).sum()) + rate * moment)

    guess = np.log(max(1 / (2 * moment), np.log1p(1 / moment)))
    return float(np.exp(optimize.minimize_scalar(cost, bracket=(guess - 1, guess)).x))


def _table(most: int, s: int, b: int, beta: float, escape: int) -> UniversalTable | None:
    """Return the table with levels up to `most` of least alpha, or None if there is none."""
    total, levels = 2**b, np.arange(most + 1)
    # The condition of an escape is hardest where its gamma codeword grows by two bits.
    steps = most + 2 ** np.arange(16)
    beyond = steps[steps <= s]
    escape = escape if beyond.size else 0
    tail = b - math.log2(max(escape, 1)) + 2 * np.log2(np.maximum(beyond - most, 1)) + 2
    least = float((tail - beta * beyond.astype(float) ** 2).max(initial=-np.inf))

    def rounded(alpha: float) -> Floats:
        found: Floats = np.maximum(np.ceil(total * np.exp2(-(alpha + beta * levels.astype(float) ** 2))), 1)
        return found

    def fits(alpha: float) -> bool:
        found = rounded(alpha)
        return bool(found[0] + 2 * found[1:].sum() + escape <= total)

    low, high = 0.0, float(b)
    if not fits(high) or least > high:
        return None
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    found = rounded(high)
    found[0] += total - escape - (found[0] + 2 * found[1:].sum())
    lengths = b - np.log2(found)
    # Of the integers themselves, so that the condition holds to the last bit.
    alpha = max(float((lengths - beta * levels.astype(float) ** 2).max()), least)
    return UniversalTable(tuple(int(f) for f in found), escape, b, alpha, beta)

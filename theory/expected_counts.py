r"""Expected numbers of levels and gaps by power of two: all that the length of an Elias code depends on.

A code word's length depends on floor(log2 k) alone, so that one pass over a vector gives the exact expected
length under every code at once: counts times lengths.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.theory.arguments import choice, numbers, optional_whole, table_levels
from qsgd_lab.theory.arrays import Floats, weighted_counts
from qsgd_lab.theory.elias import floor_log2
from qsgd_lab.theory.level_positions import LevelPositions

#: Coordinates whose gaps are worked out together: few enough for little memory, enough for long loops.
_TOGETHER = 2**15


def value_counts(at: LevelPositions, *, plus: int) -> Floats:
    """Return the expected number of coordinates with floor(log2(level + plus)) = t, shape (m,), t = 0, 1, ...

    Parameters
    ----------
    at : LevelPositions
    plus : {0, 1}
        1 counts every coordinate, as a dense layout codes them; 0 the non-zero levels alone, as a sparse one.

    Examples
    --------
    >>> from qsgd_lab.theory.level_positions import (level_positions)
    >>> at = level_positions([3.0, 4.0, 0.0], 5)  # levels 3, 4, 0
    >>> value_counts(at, plus=0), value_counts(at, plus=1)
    (array([0., 1., 1.]), array([1., 0., 2.]))
    """
    choice("plus", plus, (0, 1))
    table_levels(at.num_levels)
    lower, p = at.lower_levels.astype(np.int64), at.up_probabilities
    levels = weighted_counts(lower, 1 - p, at.num_levels + 2)
    levels += weighted_counts(lower + 1, p, at.num_levels + 2)
    # Level 0 has a code word (that of 1) in the dense layout only.
    coded = levels[1 - plus : at.num_levels + 1]
    return weighted_counts(floor_log2(np.arange(1, coded.size + 1)), coded)


def gap_counts(at: LevelPositions, *, restart: int | None = None) -> Floats:
    """Return the expected number of gaps with floor(log2 gap) = t, shape (m,), t = 0, 1, ...

    The levels are independent, so the gap behind coordinate i exceeds g with probability prod (1 - q_k)
    over the g coordinates that follow; differences of such products at powers of two are enough. O(n log n).

    Parameters
    ----------
    at : LevelPositions
    restart : int, optional
        Gaps begin again after so many coordinates; by default with each bucket.
    """
    q = at.nonzero_probabilities
    size = min(optional_whole("restart", restart) or at.bucket_size, q.size)
    full, together = q.size // size * size, size * max(1, _TOGETHER // size)
    counts = np.zeros(int(floor_log2(size)) + 1)
    for start in range(0, full, together):
        counts += _gap_counts(q[start : min(start + together, full)].reshape(-1, size))
    if full < q.size:
        rest = _gap_counts(q[None, full:])
        counts[: rest.size] += rest
    # A count is a difference of sums, which may come out a rounding below zero.
    return np.maximum(counts, 0)


def end_gap_probabilities(q: Floats) -> Floats:
    """Return for k = 1..n+1 the probability that the end mark of one bucket is coded as k, shape (n + 1,).

    Parameters
    ----------
    q : ndarray of float64, shape (n,)
        The probability of a non-zero at each coordinate of the bucket.
    """
    q = numbers("q", q, least=0, most=1).reshape(-1)
    gaps = _Gaps(q[None])
    return (gaps.weights * gaps.survival(q.size))[0, ::-1]


def _gap_counts(q: Floats) -> Floats:
    """Return the expected counts over all stretches, the rows of `q`."""
    gaps = _Gaps(q)
    exponents = range(int(floor_log2(q.shape[1])) + 2)
    longer = [float(np.vdot(gaps.weights, gaps.survival(2**exponent - 1))) for exponent in exponents]
    return -np.diff(longer)


class _Gaps:
    """The law of the gaps of M stretches of n coordinates each; the first gap begins before coordinate 1."""

    def __init__(self, q: Floats) -> None:
        before = ((0, 0), (1, 0))
        #: The probability that a gap begins behind coordinate i = 0..n, shape (M, n + 1).
        self.weights = np.pad(q, before, constant_values=1.0)
        self._certain = np.pad(np.cumsum(q >= 1, axis=1), before)
        self._log_miss = np.pad(np.cumsum(np.log1p(-np.where(q < 1, q, 0.0)), axis=1), before)

    def survival(self, gap: int) -> Floats:
        """P(the next `gap` coordinates are zero), clipped at the end of the stretch, for every beginning."""
        size = self.weights.shape[1]
        ends = np.minimum(np.arange(size) + gap, size - 1)
        misses = np.exp(self._log_miss[:, ends] - self._log_miss)
        return np.where(self._certain[:, ends] == self._certain, misses, 0.0)

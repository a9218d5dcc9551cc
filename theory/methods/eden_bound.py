r"""A bound on the error of EDEN's unbiased scale for every vector, block size and rounds.

Let z be the rotated coordinates of a block in root mean squares, c(z) their centroids, and e the error of the
least scale, 1 - <c, z>^2 / (|c|^2 |z|^2). The unbiased scale leaves e / (1 - e) of ||v||^2: the square of the
tangent of the angle between c and z. For one bit 1 / (1 - e) = 1 / (mean |z|)^2 <= mean z^4 by Hoelder, and
E z^4 <= 3 as for a normal number (Khintchine), which gives E e / (1 - e) <= 2.

For more bits, M is the mean of M(z) = \sum_k a_k z^{2k}, with a_k >= 0 from k = 2 on. It is to be at least
e / (1 - e), that is e <= M / (1 + M): a concave function of M, below all its tangents. Of the tangent at m,
this is so if

.. math:: (z - t c(z))^2 \le \frac{M(z) + m^2}{(1 + m)^2} + b (z^2 - 1)

for all z, some b, and some t, or a mean of such squares over several t, where mean (z - t c)^2 >= e.
Then E M <= \sum_k a_k (2k - 1)!!. The best a_k for many m are those of a linear program on a grid of z.
What it misses between grid points is added; between tangents, e / (1 - e) exceeds M by a known factor. Beyond
the last tangent a cruder bound takes over. With c_1 the least centroid, c^2 <= 2 z c + c_1^2, and 1 / (1 - e)
is at most 2 / mean zc + c_1^2 / (mean zc)^2 <= 2 sqrt(m_4) / c_1 + m_4, m_4 = mean z^4; M grows as m_4^3,
for mean z^8 >= m_4^3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array

from qsgd_lab.theory.arguments import whole
from qsgd_lab.theory.arrays import Floats
from qsgd_lab.theory.methods.eden import centroids

_MOMENTS = np.array([3.0, 15.0, 105.0])  # E z^4, E z^6, E z^8 of a normal number
_POWERS = np.array([4, 6, 8])
_RATIO = 1.5  # of neighbouring tangents
_EXACT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
_ROUNDS = 8  # of adding to the grid where a finer one exceeds a condition


def unbiased_error_bound(bits: int) -> float:
    """Return a bound on E||Q(v) - v||^2 / ||v||^2 of the scale "unbiased", for every v, size and rounds.

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
    >>> unbiased_error_bound(1), round(unbiased_error_bound(2), 2)
    (2.0, 0.47)
    """
    return _bound(whole("bits", bits, most=8))


@cache
def _bound(bits: int) -> float:
    """Return the same for checked bits; the linear program takes seconds."""
    if bits == 1:
        return 2.0
    unit = 4.0**-bits
    last = 100.0 * 2**bits
    count = math.ceil(math.log(last / unit * 20) / math.log(_RATIO)) + 1
    touched = np.concatenate([[0.0], np.geomspace(unit / 20, last, count)])
    book = centroids(bits)
    program = _Program(book, unit, touched)
    a, missed = program.solved()
    _check_beyond(a, book[0], last)
    return float(a.sum() * _excess(touched, missed))


class _Program:
    """The linear program in a_0, the a_k times moments (in units), and the slack, b and weights of each m."""

    def __init__(self, book: Floats, unit: float, touched: Floats) -> None:
        self.book, self.unit, self.touched = book, unit, touched
        self.edges = (book[1:] + book[:-1]) / 2
        self.scales = [self._scales_of(m) for m in touched]

    def _scales_of(self, m: float) -> Floats:
        """Return values of t: near 1 where e is small; else some by which c_1 nears most coordinates, too."""
        near = 1 + math.sqrt(min(m, 1.0) + self.unit) * np.linspace(-0.9, 1, 9)
        far = np.geomspace(0.3, 1.5, 6) / (math.sqrt(1 + m) * self.book[0])
        return near if m < 0.1 else np.unique(np.concatenate([near, far]))

    def grid(self, points: int) -> Floats:
        """Return z from 0 to 1000, with both sides of the limits between centroids."""
        beside = np.concatenate([self.edges * (1 - 1e-9), self.edges * (1 + 1e-9), self.book])
        return np.unique(np.concatenate([np.linspace(0, 5, points), np.geomspace(5, 1e3, points), beside]))

    def squares(self, z: Floats, scales: Floats) -> Floats:
        """Return (z - t c(z))^2, shape (z, t)."""
        chosen = self.book[np.searchsorted(self.edges, z)]
        return np.asarray((z[:, None] - scales * chosen[:, None]) ** 2)

    def solved(self) -> tuple[Floats, Floats]:
        """Return a_0 and the a_k (2k - 1)!!, and by how much e may exceed each tangent.

        What the grid missed of tangents up to m = 1 is added to a_0.
        """
        fine = self.grid(4001)
        # Where a few large coordinates hold the square, they are near sqrt(m).
        spikes = np.geomspace(0.2, 3, 200)
        grids = [np.unique(np.r_[self.grid(60), math.sqrt(m) * spikes if m > 1 else 0]) for m in self.touched]
        for _ in range(_ROUNDS):
            a, found = self.solution(grids)
            missed = np.zeros(self.touched.size)
            for which, over in enumerate(self.exceeded(fine, a, found)):
                missed[which] = max(0.0, over.max())
                peaks = (over > np.roll(over, 1)) & (over >= np.roll(over, -1)) & (over > 0)
                grids[which] = np.unique(np.concatenate([grids[which], fine[peaks]]))
            if (missed * (1 + self.touched) < 0.002 * np.minimum(1, a.sum())).all():
                break
        early = self.touched <= 1
        a[0] += (missed * (1 + self.touched) ** 2)[early].max()
        return a, np.where(early, 0, missed)

    def solution(self, grids: list[Floats]) -> tuple[Floats, list[Floats]]:
        """Return the a_k times moments, and b and the weights of each tangent, for grids of z."""
        rows, columns, values, most = [], [], [], []
        at, height = 4, 0
        for m, scales, z in zip(self.touched, self.scales, grids, strict=True):
            shrink, powers = (1 + m) ** 2, z[:, None] ** _POWERS / _MOMENTS
            ours = np.hstack([np.ones((z.size, 1)), powers]) * -self.unit / shrink
            # A slack that costs little keeps conditions that bind nothing away from their limits.
            slack = np.full((z.size, 1), 0.02 * (self.unit if m < 1 else 1 / (1 + m)))
            own = np.hstack([ours, slack, 1 - z[:, None] ** 2, self.squares(z, scales)])
            size = np.maximum(np.abs(own[:, 5:]).max(axis=1), self.unit)
            i, j = np.indices(own.shape)
            rows.append(height + i.ravel())
            columns.append(np.r_[0:4, at : at + 2 + scales.size][j.ravel()])
            values.append((own / size[:, None]).ravel())
            most.append(m * m / shrink / size)
            at, height = at + 2 + scales.size, height + z.size
        places = (np.concatenate(rows), np.concatenate(columns))
        table = coo_array((np.concatenate(values), places), (height, at)).tocsr()
        starts = np.cumsum([4, *(2 + scales.size for scales in self.scales)])
        sums = np.zeros((self.touched.size, at))
        bounds: list[tuple[float | None, float | None]] = [(None, None), *[(1e-4, None)] * 3]
        cost = np.r_[np.ones(4), np.zeros(at - 4)]
        for which, (low, high) in enumerate(pairwise(starts)):
            sums[which, low + 2 : high] = 1
            cost[low] = -1e-3
            bounds += [(0.0, 1.0), (None, None), *[(0.0, None)] * (high - low - 2)]
        ones, limits = np.ones(self.touched.size), np.concatenate(most)
        x = linprog(cost, table, limits, sums, ones, bounds, "highs", options=_EXACT).x
        return x[:4] * self.unit, [x[low + 1 : high] for low, high in pairwise(starts)]

    def exceeded(self, z: Floats, a: Floats, found: list[Floats]) -> Iterator[Floats]:
        """Yield how much more than allowed the left side of each condition is at z."""
        allowed = a[0] + z[:, None] ** _POWERS / _MOMENTS @ a[1:]
        for m, scales, own in zip(self.touched, self.scales, found, strict=True):
            weights = own[1:].clip(0)
            square = self.squares(z, scales) @ (weights / weights.sum())
            yield square - own[0] * (z * z - 1) - (m * m + allowed) / (1 + m) ** 2


def _excess(touched: Floats, missed: Floats) -> float:
    """Return the largest ratio of T / (1 - T) to M, where T is the least tangent at M."""
    mean = np.geomspace(touched[1] / 10, touched[-1], 20_000)[:, None]
    least = ((mean + touched**2) / (1 + touched) ** 2 + missed).min(axis=1)
    return float((least / (1 - least) / mean[:, 0]).max())


def _check_beyond(a: Floats, least: float, last: float) -> None:
    """Check that M exceeds the crude bound wherever that exceeds the last tangent's place."""
    fourth = np.geomspace(1, 1e9, 10_000)
    crude = 2 * np.sqrt(fourth) / least + fourth
    grown = a[0] + (a[1:] / _MOMENTS * fourth[:, None] ** [1, 2, 3]).sum(axis=1)
    if not (crude <= np.maximum(last, grown)).all():
        raise RuntimeError("the last tangent is too early for these bits")

"""What the seeds allow a table to claim: worse than fp32, as good as fp32, among the best.

A diverged run is a result, but no sample of an accuracy: its cell is marked as diverged and stands in no
test, so that three seeds of 98, 98 and 10 % are not "not significantly worse" for their large deviation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from qsgd_lab.report.analysis.statistics import MIN_SEEDS, SIGNIFICANCE_LEVEL, Comparison, compare, holm

if TYPE_CHECKING:
    from qsgd_lab.report.analysis.cells import Cell

Claim = Literal["worse", "better", "equivalent"]
Reason = Literal["paired", "welch", "too few seeds", "no variance", "diverged", "no baseline", "baseline", ""]

#: Two accuracies nearer than this, in points, are the same.
_SAME = 1e-9


@dataclass(frozen=True)
class Verdict:
    """What may be said of one cell's accuracy.

    Attributes
    ----------
    test : str
        The test against fp32 of the same N, or why there was none: ``too few seeds``, ``no variance``,
        ``diverged`` (one of the two cells has a diverged run), ``no baseline``; ``baseline`` for fp32 itself;
        empty for a cell without runs.
    comparison : Comparison or None
        With fp32; None where the two could not be set side by side.
    p_different_holm, p_not_equivalent_holm : float or None
        Adjusted by Holm's method, each over all the tests against fp32 in the table.
    is_among_best : bool
        Highest mean of its N, or not worse than that by a one-sided test at the level. This test is not
        adjusted: that would let in more cells.
    """

    test: Reason = ""
    comparison: Comparison | None = None
    p_different_holm: float | None = None
    p_not_equivalent_holm: float | None = None
    is_among_best: bool = False

    @property
    def is_tested(self) -> bool:
        """Whether the cell was tested against fp32."""
        return self.test in ("paired", "welch")

    @property
    def claim(self) -> Claim | None:
        """What is significant after Holm's adjustment; both may be, and then the difference is named."""
        if self.comparison is None or self.p_different_holm is None or self.p_not_equivalent_holm is None:
            return None
        if self.p_different_holm <= SIGNIFICANCE_LEVEL:
            return "worse" if (self.comparison.difference or 0.0) < 0 else "better"
        return "equivalent" if self.p_not_equivalent_holm <= SIGNIFICANCE_LEVEL else None


NOT_JUDGED = Verdict()


def judged(rows: Sequence[Sequence[Cell]], baseline: int | None) -> list[tuple[Cell, ...]]:
    """Return the cells of a table with their verdicts.

    Parameters
    ----------
    rows : sequence of sequence of Cell
        A row a method; the cells of all rows have the same numbers of nodes in the same order.
    baseline : int or None
        Index of the fp32 row, if there is one.
    """
    verdicts = [
        [_against(rows, (row, column), baseline) for column in range(len(cells))]
        for row, cells in enumerate(rows)
    ]
    verdicts = _adjusted(verdicts)
    best = [_among_best([row[i] for row in rows]) for i in range(len(rows[0]) if rows else 0)]
    return [
        tuple(
            dataclasses.replace(cell, verdict=dataclasses.replace(verdicts[r][i], is_among_best=r in best[i]))
            for i, cell in enumerate(row)
        )
        for r, row in enumerate(rows)
    ]


def _against(rows: Sequence[Sequence[Cell]], place: tuple[int, int], baseline: int | None) -> Verdict:
    row, column = place
    cell = rows[row][column]
    if not cell.seeds:
        return NOT_JUDGED
    if row == baseline:
        return Verdict("baseline")
    reference = rows[baseline][column] if baseline is not None else None
    if reference is None or not reference.seeds:
        return Verdict("no baseline")
    if cell.num_diverged or reference.num_diverged:
        return Verdict("diverged")
    comparison = compare(cell.accuracies, reference.accuracies)
    return Verdict(comparison.test, comparison)


def _adjusted(verdicts: list[list[Verdict]]) -> list[list[Verdict]]:
    """Return the verdicts with p-values adjusted over all that were tested."""
    places = [(r, i) for r, row in enumerate(verdicts) for i, verdict in enumerate(row) if verdict.is_tested]
    comparisons = [verdicts[r][i].comparison for r, i in places]
    different = holm([c.p_different for c in comparisons if c and c.p_different is not None])
    unlike = holm([c.p_not_equivalent for c in comparisons if c and c.p_not_equivalent is not None])
    for (r, i), p_different, p_unlike in zip(places, different, unlike, strict=True):
        verdicts[r][i] = dataclasses.replace(
            verdicts[r][i], p_different_holm=p_different, p_not_equivalent_holm=p_unlike
        )
    return verdicts


def _among_best(cells: Sequence[Cell]) -> frozenset[int]:
    """Return which of the methods at one N are the best or not worse; none if there is no choice."""
    means = {
        i: cell.accuracy.mean
        for i, cell in enumerate(cells)
        if cell.accuracy and cell.num_seeds >= MIN_SEEDS and not cell.num_diverged
    }
    if len(means) < 2:
        return frozenset()
    best = max(means, key=means.__getitem__)
    return frozenset(i for i in means if i == best or _is_not_worse(cells[i], cells[best]))


def _is_not_worse(cell: Cell, best: Cell) -> bool:
    comparison = compare(cell.accuracies, best.accuracies)
    if comparison.p_worse is not None:
        return comparison.p_worse > SIGNIFICANCE_LEVEL
    return comparison.test == "no variance" and abs(comparison.difference or 0.0) <= _SAME

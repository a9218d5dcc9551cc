"""What the seeds allow a table to claim: worse than fp32, as good as fp32, among the best.

A diverged run is a result, but no sample of an accuracy: its cell is marked as diverged and stands in no
test, so that three seeds of 98, 98 and 10 % are not "not significantly worse" for their large deviation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from qsgd_lab.report.analysis.cells import NOT_JUDGED, Cell, Verdict
from qsgd_lab.report.analysis.statistics import MIN_SEEDS, SIGNIFICANCE_LEVEL, compare, holm

#: Two accuracies nearer than this, in points, are the same.
_SAME = 1e-9


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

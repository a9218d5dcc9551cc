"""The methods that are shown to be near the best of their N, which tables print in bold.

Bold is a claim: less than the margin below every other method at its N. The test of one method is an
intersection-union test: it must pass against each of the others, so its p is the largest of theirs, whatever
the variances and the dependence, and the true best need not be known. Holm's method adjusts over the N. A
method that is surely below another, if by less than the margin, is not bold either.

References
----------
Desu 1970, "A selection problem" (good populations); Hsu 1984 (multiple comparisons with the best).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from qsgd_lab.report.analysis.cells import Cell
from qsgd_lab.report.analysis.statistics import SIGNIFICANCE_LEVEL, Comparison, compare, holm
from qsgd_lab.report.analysis.verdict import Ranking, Verdict


def ranked(column: Sequence[Cell], verdicts: Sequence[Verdict], margin: float, step: float) -> list[Verdict]:
    """Return the verdicts of the cells at one N with what concerns bold filled in.

    Cells with a diverged run do not compete. If some two competitors cannot be compared, none is bold:
    leaving one out would crown the others.

    Parameters
    ----------
    column : sequence of Cell
    verdicts : sequence of Verdict
        Of the same cells, adjusted.
    margin, step : float
        In percentage points; see `statistics.compare`.
    """
    competitors = [i for i, cell in enumerate(column) if cell.seeds and not cell.num_diverged]
    found = {
        (i, j): compare(column[i].accuracies, column[j].accuracies, margin, step)
        for i in competitors
        for j in competitors
        if i != j
    }
    ranking = _ranking(len(competitors), list(found.values()))
    judged = [
        dataclasses.replace(verdict, ranking=_own_ranking(cell, ranking))
        for cell, verdict in zip(column, verdicts, strict=True)
    ]
    if ranking != "ranked":
        return judged
    others = {i: {j: found[i, j] for j in competitors if j != i} for i in competitors}
    p_not_near = {i: max(map(_not_near, others[i].values())) for i in competitors}
    adjusted = holm([p_not_near[i] for i in competitors])
    for i, p_holm in zip(competitors, adjusted, strict=True):
        p_beaten = min(1.0, len(others[i]) * min(c.p_worse or 0.0 for c in others[i].values()))
        judged[i] = dataclasses.replace(
            judged[i],
            p_not_near=p_not_near[i],
            p_not_near_holm=p_holm,
            p_beaten=p_beaten,
            blocked_by=max(others[i], key=lambda j: _not_near(found[i, j])),
            is_bold=p_holm <= SIGNIFICANCE_LEVEL < p_beaten and judged[i].claim != "worse",
        )
    return judged


def _not_near(comparison: Comparison) -> float:
    return 1.0 if comparison.p_not_near is None else comparison.p_not_near


def _ranking(num_competitors: int, comparisons: Sequence[Comparison]) -> Ranking:
    """Return whether the competitors can be ranked, or what is in the way."""
    tests = {comparison.test for comparison in comparisons}
    if num_competitors < 2:
        return "alone"
    if "too few seeds" in tests:
        return "too few seeds"
    return "no variance" if "no variance" in tests else "ranked"


def _own_ranking(cell: Cell, ranking: Ranking) -> Ranking:
    if not cell.seeds:
        return ""
    return "diverged" if cell.num_diverged else ranking

"""Tests against fp32: of each cell, of the counts of diverged runs, and of the mean over N.

A diverged run is a result, but no sample of an accuracy: with seeds of 98, 98 and 10 % a t test would find
nothing. Where a run of a cell or of its fp32 diverged, diverged runs are counted and accuracies not compared.
The three families (cells, divergence, mean over N) have the level each.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

from qsgd_lab.report.analysis.bold import ranked
from qsgd_lab.report.analysis.cells import Cell
from qsgd_lab.report.analysis.statistics import (
    MIN_SEEDS,
    Comparison,
    compare,
    compare_differences,
    divergence_p,
    half_width,
    holm,
)
from qsgd_lab.report.analysis.verdict import NOT_JUDGED, Contrast, Verdict

#: A row a method; the cells of all rows have the same numbers of nodes in the same order.
Rows = Sequence[Sequence[Cell]]


def judged(rows: Rows, baseline: int | None, margin: float, step: float) -> list[tuple[Cell, ...]]:
    """Return the cells of a table with their verdicts.

    Parameters
    ----------
    rows : sequence of sequence of Cell
    baseline : int or None
        Index of the fp32 row, if there is one.
    margin, step : float
        In percentage points; see `statistics.compare`.
    """
    columns = list(zip(*rows, strict=True))
    verdicts = [
        [_against(cell, column[baseline] if baseline is not None else None, margin, step) for cell in column]
        for column in columns
    ]
    verdicts = _adjusted(verdicts)
    verdicts = [ranked(*pair, margin, step) for pair in zip(columns, verdicts, strict=True)]
    cells = [
        [dataclasses.replace(cell, verdict=verdict) for cell, verdict in zip(*pair, strict=True)]
        for pair in zip(columns, verdicts, strict=True)
    ]
    return list(zip(*cells, strict=True))


def averaged(rows: Rows, baseline: int | None, margin: float, step: float) -> list[Contrast | None]:
    """Return for each method the test of its difference from fp32 averaged over the numbers of nodes.

    The seed is the independent unit: a seed's value is the mean of its differences over every N at which
    fp32 has runs, so that the N may depend on each other. It answers another question than the cells, the
    effect averaged over these N, with less noise.

    Returns
    -------
    list of Contrast or None
        None for fp32, for a method that lacks an N or has a diverged run there (or whose fp32 has), and where
        fewer than `MIN_SEEDS` seeds are common to all N; everywhere if there is a single N.
    """
    found: list[Comparison | None] = [None] * len(rows)
    if baseline is not None:
        places = [i for i, cell in enumerate(rows[baseline]) if cell.seeds]
        for row, cells in enumerate(rows):
            if row != baseline and len(places) > 1:
                pairs = [(cells[i], rows[baseline][i]) for i in places]
                found[row] = _mean_over_nodes(pairs, margin, step)
    contrasts = iter(_family([comparison for comparison in found if comparison]))
    return [next(contrasts) if comparison else None for comparison in found]


def _mean_over_nodes(pairs: Sequence[tuple[Cell, Cell]], margin: float, step: float) -> Comparison | None:
    if any(cell.num_diverged or reference.num_diverged for cell, reference in pairs):
        return None
    seeds = set.intersection(*({*cell.seeds} & {*reference.seeds} for cell, reference in pairs))
    values = [
        statistics.fmean(cell.accuracies[seed] - reference.accuracies[seed] for cell, reference in pairs)
        for seed in sorted(seeds)
    ]
    # The mean of independent roundings is that much finer.
    comparison = compare_differences(values, margin, step / math.sqrt(6 * len(pairs)))
    return comparison if comparison.is_tested else None


def _against(cell: Cell, reference: Cell | None, margin: float, step: float) -> Verdict:
    if not cell.seeds:
        return NOT_JUDGED
    if cell is reference:
        return Verdict(test="baseline")
    if reference is None or not reference.seeds:
        return Verdict(test="no baseline")
    if cell.num_diverged or reference.num_diverged:
        counts = (cell.num_diverged, cell.num_seeds, reference.num_diverged, reference.num_seeds)
        is_tested = min(cell.num_seeds, reference.num_seeds) >= MIN_SEEDS
        excess = counts[0] * counts[3] - counts[2] * counts[1]
        return Verdict(
            test="divergence",
            fails_more=(excess > 0) - (excess < 0),
            p_divergence=divergence_p(*counts) if is_tested else None,
        )
    comparison = compare(cell.accuracies, reference.accuracies, margin, step)
    return Verdict(test=comparison.test, comparison=comparison)


def _family(comparisons: Sequence[Comparison]) -> list[Contrast]:
    """Return comparisons that were all tested as one family."""
    different = holm([c.p_different for c in comparisons if c.p_different is not None])
    unlike = holm([c.p_not_equivalent for c in comparisons if c.p_not_equivalent is not None])
    return [
        Contrast(
            comparison=c,
            p_different_holm=p_different,
            p_not_equivalent_holm=p_unlike,
            half_width=half_width(c.error or 0.0, c.num_pairs, len(comparisons)),
        )
        for c, p_different, p_unlike in zip(comparisons, different, unlike, strict=True)
    ]


def _adjusted(verdicts: list[list[Verdict]]) -> list[list[Verdict]]:
    """Return the verdicts with p-values adjusted over the cells that were tested, and over those counted.

    Both families are known once the runs' statuses are, which do not depend on the accuracies.
    """
    flat = [verdict for column in verdicts for verdict in column]
    tested = iter(_family([v.comparison for v in flat if v.comparison and v.is_tested]))
    counted = iter(holm([v.p_divergence for v in flat if v.p_divergence is not None]))

    def adjust(verdict: Verdict) -> Verdict:
        if verdict.is_tested:
            return dataclasses.replace(verdict, **vars(next(tested)))
        if verdict.p_divergence is not None:
            return dataclasses.replace(verdict, p_divergence_holm=next(counted))
        return verdict

    return [[adjust(verdict) for verdict in column] for column in verdicts]

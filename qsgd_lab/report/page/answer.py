"""The answer at the head of a page: what the tests of its tables found together, in two sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from qsgd_lab.report.analysis.cells import Cell
from qsgd_lab.report.analysis.grouping import Group, Method
from qsgd_lab.report.analysis.statistics import MIN_SEEDS

#: More diverged cells than this are counted, and listed further down.
_MAX_NAMED = 4

_CLAIMS = ("worse", "better", "equivalent")
_REASONS = {
    "too few seeds": f"a test takes {MIN_SEEDS} seeds in common",
    "no baseline": "there are no fp32 runs of the same setting",
    "no variance": "the differences between seeds do not vary",
}


def answer(groups: Sequence[Group], titles: Sequence[str]) -> str:
    """Return what was shown, what was not, and what diverged.

    Where no difference was shown the text says that none was ruled out either: the absence of a finding is
    not a finding.
    """
    cells = [
        (title, method, cell)
        for group, title in zip(groups, titles, strict=True)
        for method in group.methods
        for cell in method.cells
        if cell.seeds
    ]
    margins = " or ".join(f"{margin:g}" for margin in sorted({group.margin for group in groups}))
    return f"{_accuracy([cell for _, _, cell in cells], margins)} {_diverged(cells)}"


def _accuracy(cells: Sequence[Cell], margins: str) -> str:
    compared = [cell for cell in cells if cell.verdict.test != "baseline" and not cell.num_diverged]
    tested = [cell for cell in compared if cell.verdict.is_tested]
    if not tested:
        reasons = dict.fromkeys(_REASONS[c.verdict.test] for c in compared if c.verdict.test in _REASONS)
        why = f": {'; '.join(reasons)}" if reasons else ""
        return f"Nothing is tested against fp32{why}."
    claims = Counter(str(cell.verdict.claim) for cell in tested)
    found = [f"{claims[claim]} {claim}" for claim in _CLAIMS if claims[claim]]
    if not found:
        return (
            f"In none of {len(tested)} cells is a difference from fp32 shown, and in none is a difference of "
            f"{margins} points ruled out."
        )
    undecided = len(tested) - sum(claims[claim] for claim in _CLAIMS)
    rest = f", {undecided} undecided" if undecided else ""
    return f"Against fp32, of {len(tested)} cells: {', '.join(found)}{rest}."


def _diverged(cells: Sequence[tuple[str, Method, Cell]]) -> str:
    named = [
        f"{f'{title}: ' if title else ''}{method.label} on N={cell.nodes} "
        f"({cell.num_diverged} of {cell.num_seeds})"
        for title, method, cell in cells
        if cell.num_diverged
    ]
    if not named:
        return "No run diverged."
    if len(named) > _MAX_NAMED:
        return f"Runs diverged in {len(named)} cells, listed below."
    return f"Diverged: {', '.join(named)}."

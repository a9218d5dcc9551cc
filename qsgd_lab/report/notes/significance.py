"""The words about significance: which test was made, over how many cells and seeds, and what it found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from qsgd_lab.report.analysis.cells import Verdict
from qsgd_lab.report.analysis.grouping import Group
from qsgd_lab.report.analysis.statistics import (
    EQUIVALENCE_MARGIN,
    MIN_SEEDS,
    SIGNIFICANCE_LEVEL,
    smallest_visible_difference,
)
from qsgd_lab.report.tables.entries import CLAIM_MARKS


class _Judged(NamedTuple):
    """A cell's verdict and where it stands."""

    label: str
    nodes: int
    verdict: Verdict


def significance_notes(groups: Sequence[Group], names: Sequence[str], bold_sign: str) -> Iterator[str]:
    """Yield what the tests against fp32 found in each group, and what is bold.

    Parameters
    ----------
    groups, names : sequences
        The groups of a table and what it calls them; an empty name is left out.
    bold_sign : str
        What the format calls an entry that is bold.
    """
    named: dict[str, list[str]] = {}
    for group, name in zip(groups, names, strict=True):
        judged = [_Judged(m.label, cell.nodes, cell.verdict) for m in group.methods for cell in m.cells]
        for note in _group_notes(judged):
            named.setdefault(note, []).append(name)
    for note, where in named.items():
        yield note if len(where) == len(groups) else f"{'; '.join(where)}: {note}"
    if any(cell.verdict.is_among_best for group in groups for m in group.methods for cell in m.cells):
        yield (
            f"{bold_sign}: the best of its N, and all that are not worse than it by a one-sided test of "
            f"level {SIGNIFICANCE_LEVEL:g}, of those with {MIN_SEEDS} seeds or more and no diverged run."
        )


def _group_notes(judged: Sequence[_Judged]) -> Iterator[str]:
    tested = [one for one in judged if one.verdict.is_tested]
    comparable = [one for one in judged if one.verdict.comparison is not None]
    if tested:
        yield _tests_note(tested)
    elif comparable and all(one.verdict.test == "too few seeds" for one in comparable):
        yield f"Fewer than {MIN_SEEDS} seeds in common with fp32: no difference is tested or marked."
        return
    yield from _untested_notes(comparable)


def _tests_note(tested: Sequence[_Judged]) -> str:
    marks, family = CLAIM_MARKS, len(tested)
    claims = {one.verdict.claim for one in tested}
    level = f"Holm's level {SIGNIFICANCE_LEVEL:g} over {_cells(family)}"
    tests = f"two-sided {_test_names(tested)}, {level}"
    found = [
        f"{marks[claim]} {claim} than fp32 of the same N" for claim in ("worse", "better") if claim in claims
    ]
    different = f"{', '.join(found)} ({tests})" if found else f"No cell differs from fp32 of its N ({tests})"
    margin = f"{EQUIVALENCE_MARGIN:g} points"
    alike = (
        f"{marks['equivalent']} within {margin} of it (two one-sided tests, the same level)"
        if "equivalent" in claims
        else f"none is shown to be within {margin} of it (two one-sided tests)"
    )
    return f"{different}; {alike}.{_power_words(tested)}"


def _test_names(tested: Sequence[_Judged]) -> str:
    names = {"paired": "t tests paired by seed", "welch": "Welch tests where seeds differ"}
    return " and ".join(words for test, words in names.items() if any(o.verdict.test == test for o in tested))


def _power_words(tested: Sequence[_Judged]) -> str:
    """Return how blind the tests are where they are: with few pairs only a large difference can be found."""
    pairs = [
        one.verdict.comparison.num_pairs
        for one in tested
        if one.verdict.test == "paired" and one.verdict.comparison is not None
    ]
    if not pairs:
        return ""
    fewest = min(pairs)
    multiple = smallest_visible_difference(fewest, len(tested))
    if multiple < 2:
        return ""
    return (
        f" With n = {fewest} the first mark takes a difference of {multiple:.1f} of its standard deviations."
    )


def _untested_notes(comparable: Sequence[_Judged]) -> Iterator[str]:
    reasons = {
        "too few seeds": f"Fewer than {MIN_SEEDS} seeds in common with fp32, so not tested",
        "no variance": "The same difference from fp32 in every seed, so not tested",
    }
    for reason, words in reasons.items():
        places: dict[str, list[str]] = {}
        for one in comparable:
            if one.verdict.test == reason:
                places.setdefault(one.label, []).append(f"N={one.nodes}")
        listed = "; ".join(f"{label} at {', '.join(where)}" for label, where in places.items())
        if places:
            yield f"{words}: {listed}."


def _cells(count: int) -> str:
    return f"{count} cell" if count == 1 else f"{count} cells"

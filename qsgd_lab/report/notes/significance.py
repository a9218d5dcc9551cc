"""The words about significance: which tests were made, over how many cells and seeds, and what they found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from qsgd_lab.report.analysis.cells import Cell
from qsgd_lab.report.analysis.grouping import Group
from qsgd_lab.report.analysis.statistics import (
    MIN_SEEDS,
    MOST_SEEDS,
    SIGNIFICANCE_LEVEL,
    Comparison,
    seeds_for,
    smallest_visible_difference,
)
from qsgd_lab.report.analysis.verdict import Verdict
from qsgd_lab.report.tables.entries import CLAIM_MARKS, DIVERGED, SOME_DIVERGED
from qsgd_lab.runs.config import FULL_PRECISION_BITS

FEW_SEEDS = f"Fewer than {MIN_SEEDS} seeds: nothing is tested or marked."

_HOLM = f"Holm's level {SIGNIFICANCE_LEVEL:g}"


class _Judged(NamedTuple):
    """A cell's verdict and its place."""

    label: str
    cell: Cell

    @property
    def verdict(self) -> Verdict:
        return self.cell.verdict

    @property
    def where(self) -> str:
        return f"N={self.cell.nodes}"


def significance_notes(groups: Sequence[Group], names: Sequence[str], bold_sign: str) -> Iterator[str]:
    """Yield what the tests found in each group (against fp32, near the best, diverged runs), and their power.

    Parameters
    ----------
    groups, names : sequences
        The groups of a table and what it calls them; an empty name is left out.
    bold_sign : str
        What the format calls an entry that is bold.
    """
    yield from _of_groups(groups, names, [list(_group_notes(group, bold_sign)) for group in groups])


def difference_notes(groups: Sequence[Group], names: Sequence[str]) -> Iterator[str]:
    """Yield what the differences from fp32, their intervals, and their mean over N are."""
    yield from _of_groups(groups, names, [list(_difference_notes(group)) for group in groups])


def any_differences(groups: Sequence[Group]) -> bool:
    """Whether any difference from fp32 was tested."""
    return any(cell.verdict.is_tested for group in groups for m in group.methods for cell in m.cells)


def _of_groups(
    groups: Sequence[Group], names: Sequence[str], notes: Sequence[Sequence[str]]
) -> Iterator[str]:
    """Yield every note once, with the names of the groups to which it applies if these are not all."""
    named: dict[str, list[str]] = {}
    for name, own in zip(names, notes, strict=True):
        for note in own:
            named.setdefault(note, []).append(name)
    for note, where in named.items():
        yield note if len(where) == len(groups) else f"{'; '.join(where)}: {note}"


def _group_notes(group: Group, bold_sign: str) -> Iterator[str]:
    judged = [_Judged(method.label, cell) for method in group.methods for cell in method.cells if cell.seeds]
    tested = [one for one in judged if one.verdict.is_tested]
    rankings = {one.verdict.ranking for one in judged}
    tests = {one.verdict.test for one in judged}
    if not tested and "ranked" not in rankings and "too few seeds" in tests | rankings:
        yield FEW_SEEDS
    else:
        if tested:
            yield _tests_note(group, judged, tested)
        yield from _untested_notes(judged)
        if rankings & {"ranked", "too few seeds", "no variance"}:
            yield _bold_note(group, judged, bold_sign)
    yield from _diverged_notes(judged)
    if tested:
        yield _power_note(group, [one.verdict.comparison for one in tested if one.verdict.comparison])


def _tests_note(group: Group, judged: Sequence[_Judged], tested: Sequence[_Judged]) -> str:
    claims = {one.verdict.claim for one in tested}
    family = f"{_HOLM} over {_counted(len(tested), 'cell')}"
    margin = f"{group.margin:g} points"
    if not claims & {"worse", "better", "equivalent"}:
        diverged = sum(one.verdict.test == "divergence" for one in judged)
        more = f"; {diverged} more {'has' if diverged == 1 else 'have'} diverged runs" if diverged else ""
        return (
            f"No mark: of {_counted(len(tested), 'cell')} none is shown to differ from fp32 of its N (paired "
            f"t tests, {_HOLM}) and none to be within {margin} of it (two one-sided tests, the same){more}."
        )
    signs = " ".join(CLAIM_MARKS[claim] for claim in ("worse", "better") if claim in claims)
    tests = f"(paired t tests, {family})"
    different = f"{signs}: differs" if signs else "No cell is shown to differ"
    alike = f"shown to be within {margin} of it (two one-sided tests, the same)"
    sign = CLAIM_MARKS["equivalent"]
    equivalent = f"{sign}: {alike}" if "equivalent" in claims else f"No cell is {alike}"
    return f"{different} from fp32 of its N {tests}. {equivalent}. No mark: neither is shown."


def _untested_notes(judged: Sequence[_Judged]) -> Iterator[str]:
    reasons = {
        "too few seeds": f"Fewer than {MIN_SEEDS} seeds in common with fp32, so not tested",
        "no variance": "The same difference from fp32 in every seed, so not tested",
    }
    for reason, words in reasons.items():
        listed = _listed([(one.label, one.where) for one in judged if one.verdict.test == reason])
        if listed:
            yield f"{words}: {listed}."


def _bold_note(group: Group, judged: Sequence[_Judged], bold_sign: str) -> str:
    margin = f"{group.margin:g} points"
    ranked = [one for one in judged if one.verdict.ranking == "ranked"]
    bold = {one.cell.nodes for one in ranked if one.verdict.is_bold}
    words = (
        f"{bold_sign}: shown to be less than {margin} below every other method at its N ({_HOLM} at each N), "
        "and not shown to be below any; cells with a diverged run do not compete."
    )
    if not bold:
        words = f"No {bold_sign.lower()}"
        words += f": at no N is a method shown to be less than {margin} below every other." if ranked else "."
    without = [n for n in group.nodes if n not in bold and any(one.cell.nodes == n for one in ranked)]
    if bold and without:
        listed = ", ".join(f"N={n} (most uncertain: {_blocker(group, n)})" for n in without)
        words += f" None at {listed}."
    return words + _unranked_words(judged)


def _blocker(group: Group, nodes: int) -> str:
    """Return the method that most others of this N cannot be shown to be near."""
    cells = [method.cells[group.nodes.index(nodes)] for method in group.methods]
    rows = [cell.verdict.blocked_by for cell in cells if cell.verdict.blocked_by is not None]
    return group.methods[max(rows, key=rows.count)].label


def _unranked_words(judged: Sequence[_Judged]) -> str:
    """Return at which N no method could be bold, since two methods there cannot be compared."""
    reasons = {
        "too few seeds": f"some two methods have fewer than {MIN_SEEDS} seeds in common",
        "no variance": "some two methods differ by the same in every seed",
    }
    written = ""
    for reason, words in reasons.items():
        where = dict.fromkeys(one.where for one in judged if one.verdict.ranking == reason)
        if where:
            written += f" Not judged at {', '.join(where)}: {words}."
    return written


def _diverged_notes(judged: Sequence[_Judged]) -> Iterator[str]:
    cells = [one for one in judged if one.cell.num_diverged]
    if not cells:
        return
    signs = [f"{DIVERGED}: all runs diverged"] if any(one.cell.all_diverged for one in cells) else []
    if any(not one.cell.all_diverged for one in cells):
        signs.append(f"{SOME_DIVERGED}: some did, and the mean is over all")
    listed = _listed([(one.label, f"{one.where} ({_count_words(one)})") for one in cells])
    words = f"{', '.join(signs)}; in no test of accuracy: {listed}."
    if any(one.verdict.p_divergence is not None for one in cells):
        words += f" Counts of diverged runs: Fisher's exact test against fp32, {_HOLM}."
    unlike = [one for one in judged if not one.cell.num_diverged and one.verdict.test == "divergence"]
    if unlike:
        places = ", ".join(dict.fromkeys(one.where for one in unlike))
        words += f" Runs of fp32 diverged at {places}, so no accuracy is compared with it there."
    fewer = [one for one in unlike if one.verdict.diverges_otherwise]
    if fewer:
        words += f" Shown to diverge less often than fp32: {_listed([(o.label, o.where) for o in fewer])}."
    yield words


def _count_words(one: _Judged) -> str:
    """Return how many runs diverged, and whether that is shown to be more than of fp32."""
    count = f"{one.cell.num_diverged}/{one.cell.num_seeds}"
    if one.verdict.p_divergence is None:
        return count
    if not one.verdict.diverges_otherwise:
        return f"{count}, not shown to be more often" if one.verdict.fails_more > 0 else count
    return f"{count}, {'more' if one.verdict.fails_more > 0 else 'less'} often than fp32"


def _power_note(group: Group, comparisons: Sequence[Comparison]) -> str:
    """Return what the tests can see: the least difference, and the seeds that it takes to show ≈."""
    fewest, family = min(c.num_pairs for c in comparisons), len(comparisons)
    multiple = smallest_visible_difference(fewest, family)
    words = f"With n = {fewest} the first arrow takes {multiple:.1f} standard deviations of the differences"
    # Methods that are plainly broken vary more; what it takes to show that others are not, they do not say.
    near = [c for c in comparisons if abs(c.difference or 0) <= group.margin + 2 * (c.error or 0)]
    if not near:
        return f"{words}."
    usual = math.sqrt(sum((c.error or 0) ** 2 * c.num_pairs for c in near) / len(near))
    count = seeds_for(usual, group.margin, family)
    seeds = f"more than {MOST_SEEDS:,} seeds" if count is None else f"about {count} seeds"
    sign = CLAIM_MARKS["equivalent"]
    return f"{words}; their usual deviation here is {usual:.2f} points, at which {sign} takes {seeds}."


def _difference_notes(group: Group) -> Iterator[str]:
    quantized = [method for method in group.methods if method.bits != FULL_PRECISION_BITS]
    cells = sum(cell.verdict.is_tested for method in quantized for cell in method.cells)
    means = [method.mean_over_nodes for method in quantized if method.mean_over_nodes]
    if cells:
        words = f"Difference ± half-width of 95 % intervals that hold together over {_counted(cells, 'cell')}"
        if means:
            words += f"; mean over N: of each seed's mean, over {_counted(len(means), 'method')}"
            claims = {mean.claim for mean in means}
            meanings = {
                "worse": "differs",
                "better": "differs",
                "equivalent": f"within {group.margin:g} points",
            }
            listed = ", ".join(f"{CLAIM_MARKS[c]} {words}" for c, words in meanings.items() if c in claims)
            words += f", with marks of its own ({listed})" if listed else ", none of them marked"
        yield f"{words}. Marks step down (Holm), and need less than an interval."


def _listed(places: Sequence[tuple[str, str]]) -> str:
    """Return ``label at where, where; label at where``."""
    found: dict[str, list[str]] = {}
    for label, where in places:
        found.setdefault(label, []).append(where)
    return "; ".join(f"{label} at {', '.join(where)}" for label, where in found.items())


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

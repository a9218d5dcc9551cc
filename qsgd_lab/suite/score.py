"""What results come to: ratios to float32, lossless compression, profiles, tests, and scores as a footnote.

Everything is relative to the reference of the same task, never to the best entry: a method that is added or
removed changes nothing of the others, but for Holm's adjustment.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qsgd_lab.report.analysis.communication import Link
from qsgd_lab.report.analysis.statistics import compare_differences, holm
from qsgd_lab.report.comparison.outcome import FlowSoFar, Outcome
from qsgd_lab.report.comparison.rows import seconds_at
from qsgd_lab.suite.cells import CellResult
from qsgd_lab.suite.definition import REFERENCE, WHOLE, Suite, Task
from qsgd_lab.suite.result_file import Entry

RANKS = ("sent", "received", "rounds", "seconds")
#: Scores that differ by less share a rank.
SAME_SCORE = 0.005
#: Ratios at which a profile is taken.
PROFILE = (1.0, 1.25, 2.0, 4.0, 16.0, 64.0)


@dataclass(frozen=True)
class Scored:
    """A cell with its place among the others.

    Attributes
    ----------
    cell : CellResult
    ratio : float
        Mean metric over the reference's; infinite where a seed diverged.
    diverged : int
        Seeds that did.
    over : float
        Realised bits over what the rung allows, without the slack.
    is_void : bool
        Whether the realised bits exceed the rung with its slack.
    score : float
        1 - log(ratio) / log(cap), in [0, 1]; 0 where void.
    residual : float
        What the lattice of rates leaves open: a factor, at least 1.
    at_edge : bool
        Whether the chosen rate is the first or the last that was tried.
    """

    cell: CellResult
    ratio: float
    diverged: int
    over: float
    is_void: bool
    score: float
    residual: float
    at_edge: bool


class Board:
    """Entries side by side.

    Parameters
    ----------
    suite : Suite
    entries : sequence of Entry
        One of them the reference, fp32.

    Raises
    ------
    ValueError
        If the reference is missing, or two entries have one name.
    """

    def __init__(self, suite: Suite, entries: Sequence[Entry]) -> None:
        self.suite = suite
        self.entries = {entry.name: entry for entry in entries}
        if len(self.entries) < len(entries):
            raise ValueError("two entries have one name; rename one")
        if REFERENCE not in self.entries:
            raise ValueError(f"the reference {REFERENCE} is missing; run it with: qsgd-lab suite run fp32")

    def reference(self, task: Task) -> CellResult | None:
        """Return the reference's cell of a task."""
        return self.entries[REFERENCE].cells.get((task.key, WHOLE))

    def scored(self, name: str, task: Task, rung: str) -> Scored | None:
        """Return an entry's cell with its place; None where it has none."""
        if name == REFERENCE:
            rung = WHOLE
        cell, reference = self.entries[name].cells.get((task.key, rung)), self.reference(task)
        if cell is None or reference is None:
            return None
        cell = self._held_to_audit(name, cell, reference)
        ratio = cell.mean / reference.mean
        over = cell.sent / task.allowed_bits(self.suite.ratio(task, rung))
        is_void = over > self.suite.slack
        return Scored(
            cell,
            ratio,
            sum(math.isinf(value) for value in cell.metric),
            over,
            is_void,
            0.0 if is_void else self._score(cell, reference.mean),
            lattice_residual(cell),
            not cell.interior,
        )

    def _held_to_audit(self, name: str, cell: CellResult, reference: CellResult) -> CellResult:
        """Return a cell at the level of the verification seeds and held-out data, where it was better.

        Who recognised the test seeds or the data did so at every rung: all of the task's cells are scaled.
        """
        entry, worse = self.entries[name], 1.0
        for row in entry.audit.verification:
            audited = entry.cells.get((cell.task, str(row.get("rung"))))
            if row.get("task") != cell.task or audited is None:
                continue
            if row.get("within") is not True:
                worse = max(worse, _number(row.get("metric")) / audited.mean)
            if row.get("held_out_within") is False:
                ratio = audited.mean / reference.mean
                worse = max(worse, _number(row.get("held_out_ratio")) / ratio)
        return replace(cell, metric=tuple(each * worse for each in cell.metric)) if worse > 1 else cell

    def _score(self, cell: CellResult, reference: float) -> float:
        # A seed that diverged counts as the cap, and none counts as better than the reference.
        ratio = float(np.mean([min(value / reference, self.suite.cap) for value in cell.metric]))
        return min(1.0, max(0.0, 1 - math.log(max(ratio, 1e-12)) / math.log(self.suite.cap)))

    def score(self, name: str, rung: str, tasks: Sequence[Task] | None = None) -> float | None:
        """Return an entry's mean score at a rung; a task without a result is 0, a rung not entered None."""
        tasks = self.suite.scored if tasks is None else tasks
        cells = [self.scored(name, task, rung) for task in tasks]
        if not any(cells):
            return None
        return sum(cell.score if cell else 0.0 for cell in cells) / len(tasks)

    def at_equal_total(self, name: str, task: Task, rung: str) -> Scored | None:
        """Return an entry's best cell among those whose bits, up and down, are at most N times the rung's.

        That is what a message to all others costs at this rung. Methods of sums receive no more than they
        send, and therefore may enter with a looser rung.
        """
        most = self.suite.nodes * self.suite.slack * task.allowed_bits(self.suite.ratio(task, rung))
        found = [
            scored
            for each in self.suite.rungs
            if (scored := self.scored(name, task, each)) is not None
            and not scored.is_void
            and scored.cell.sent + scored.cell.received <= most
        ]
        return min(found, key=lambda scored: scored.ratio, default=None)

    def total_score(self, name: str, rung: str) -> float:
        """Return an entry's mean score at equal bits up and down; a task without a cell that fits is 0."""
        cells = [self.at_equal_total(name, task, rung) for task in self.suite.scored]
        return sum(cell.score if cell else 0.0 for cell in cells) / len(cells)

    def place(self, name: str, rung: str, rank: str = "sent") -> int | None:
        """Return an entry's place by score, 1 the best, at equal bits sent or ("received") up and down.

        None for the reference, and where the rung was not entered.
        """
        if name == REFERENCE or self.score(name, rung) is None:
            return None
        scores = {
            each: self._ranked_score(each, rung, rank) for each in self.order(rung) if each != REFERENCE
        }
        return 1 + sum(score > scores[name] + SAME_SCORE for score in scores.values())

    def _ranked_score(self, name: str, rung: str, rank: str) -> float:
        return self.total_score(name, rung) if rank == "received" else self.score(name, rung) or 0.0

    def leave_one_out(self, name: str, rung: str) -> tuple[float, float] | None:
        """Return the least and largest score with one task left out; None where there is none."""
        tasks = self.suite.scored
        scores = [self.score(name, rung, [t for t in tasks if t is not out]) for out in tasks]
        known = [score for score in scores if score is not None]
        return (min(known), max(known)) if known else None

    def profile(self, name: str, rung: str, at: Iterable[float] = PROFILE) -> list[float]:
        """Return the share of scored tasks within each ratio to the reference."""
        cells = [self.scored(name, task, rung) for task in self.suite.scored]
        ratios = [c.ratio if c and not c.is_void else math.inf for c in cells]
        return [sum(ratio <= limit for ratio in ratios) / len(ratios) for limit in at]

    def loss_free(self, name: str, task: Task) -> tuple[float, str] | None:
        """Return R*, the largest compression that loses nothing, and ">", "<" or "" before it.

        At a rung nothing is lost where the one-sided 95 % bound of the ratio (on networks: the difference) to
        the reference is within the task's margin; between two rungs the bound is interpolated, ratios and
        rungs in logarithms. ">" says that the last
        rung entered loses nothing, "<" that the first one already does.
        """
        reference = self.reference(task)
        points = []
        for rung in self.suite.rungs:
            cell = self.scored(name, task, rung)
            if cell is not None and name != REFERENCE and reference is not None and not cell.is_void:
                bound = upper_bound(cell.cell, reference, task)
                points.append((float(self.suite.ratio(task, rung)), bound))
        if not points:
            return None
        limit = task.margin if task.is_difference else math.log(task.margin)
        if points[0][1] > limit:
            return points[0][0], "<"
        for (low, at_low), (high, at_high) in itertools.pairwise(points):
            if at_high > limit:
                if math.isinf(at_high):
                    return low, ""
                share = (limit - at_low) / (at_high - at_low)
                return float(math.exp(math.log(low) + share * math.log(high / low))), ""
        return points[-1][0], ">"

    def order(self, rung: str, rank: str = "sent") -> list[str]:
        """Return the names of those that entered a rung, best first.

        Parameters
        ----------
        rung : str
        rank : str
            sent, received, rounds or seconds@LINK. ``sent`` orders by score at equal bits sent, ``received``
            by score at equal bits up and down; the others by what a run costs in that unit.
        """
        unit, _, _ = rank.partition("@")
        entered = [name for name in self.entries if name != REFERENCE and self.score(name, rung) is not None]
        by_score = sorted(entered, key=lambda name: (-self._ranked_score(name, rung, unit), name))
        if unit in ("sent", "received"):
            return [REFERENCE, *by_score]
        return [REFERENCE, *sorted(by_score, key=lambda name: self.cost(name, rung, rank))]

    def on_task(self, task: Task, rung: str) -> list[str]:
        """Return the names of those that have a cell of one task at a rung, by its ratio; reference first."""
        found = {name: scored for name in self.entries if (scored := self.scored(name, task, rung))}
        return sorted(found, key=lambda name: (name != REFERENCE, found[name].ratio, name))

    def cost(self, name: str, rung: str, rank: str, tasks: Sequence[Task] | None = None) -> float:
        """Return bits a coordinate and step, rounds a step, or modelled seconds: means over scored tasks."""
        unit, _, link = rank.partition("@")
        found = []
        for task in self.suite.scored if tasks is None else tasks:
            cell = self.scored(name, task, rung)
            if cell is None:
                continue
            whole = {
                "sent": cell.cell.sent / (task.dimension * task.steps),
                "received": (cell.cell.sent + cell.cell.received) / (task.dimension * task.steps),
                "rounds": cell.cell.rounds / task.steps,
            }
            found.append(
                seconds(cell.cell, task, self.suite.links[link], self.suite.nodes)
                if unit == "seconds"
                else whole[unit]
            )
        return float(np.mean(found)) if found else math.inf

    def tied_with_best(self, task: Task, rung: str) -> set[str]:
        """Return the best entry of a column and all that are not shown to be worse.

        Worse is an entry whose logarithm of the metric, paired by seed, is above the best's with p below the
        level after Holm's adjustment over the column, and whose ratio to the best exceeds the larger lattice
        residual of the two. On networks the metric itself is tested, and the difference must exceed half the
        task's margin. Entries of another machine are paired too: their seeds have the same noise.
        """
        cells = {
            name: scored
            for name in self.entries
            if name != REFERENCE and (scored := self.scored(name, task, rung)) and not scored.is_void
        }
        if not cells:
            return set()
        best = min(cells, key=lambda name: (cells[name].ratio, name))
        p_values: dict[str, float] = {}
        tied = {best}
        for name, scored in cells.items():
            if name == best:
                continue
            p_value = p_worse(scored.cell, cells[best].cell, task)
            p_values[name] = p_value
        adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
        for name, p_value in adjusted.items():
            if task.is_difference:
                is_near = cells[name].cell.mean - cells[best].cell.mean <= task.margin / 2
            else:
                grain = max(cells[name].residual, cells[best].residual)
                is_near = cells[name].ratio <= grain * cells[best].ratio
            if p_value >= self.suite.level or is_near:
                tied.add(name)
        return tied


def _number(value: object) -> float:
    """Return a number of an audit; what is none is as bad as can be."""
    return float(value) if isinstance(value, int | float) else math.inf


def _differences(cell: CellResult, other: CellResult, task: Task) -> list[float]:
    """Return what a cell has more than another of the metric, by seed: logarithms of ratios on problems."""
    pairs = zip(cell.metric, other.metric, strict=True)
    return [a - b if task.is_difference else math.log(a / b) for a, b in pairs]


def p_worse(cell: CellResult, other: CellResult, task: Task) -> float:
    """Return the two-sided p that two cells have one mean, paired by seed; 0 where one diverged."""
    if math.isinf(cell.mean) or math.isinf(other.mean):
        return 1.0 if math.isinf(cell.mean) and math.isinf(other.mean) else 0.0
    found = compare_differences(_differences(cell, other, task), margin=1.0, least_deviation=0.0)
    if found.p_different is not None:
        return found.p_different
    # No variance: the same difference in every seed, as between a method and a copy of it.
    return 1.0 if abs(found.difference or 0.0) < 1e-9 else 0.0


def upper_bound(cell: CellResult, reference: CellResult, task: Task) -> float:
    """Return the one-sided 95 % bound of what a cell has more than the reference, paired by seed."""
    from scipy.special import stdtrit

    if not all(map(math.isfinite, cell.metric)):
        return math.inf
    found = np.array(_differences(cell, reference, task))
    error = float(found.std(ddof=1)) / math.sqrt(found.size)
    return float(found.mean()) + float(stdtrit(found.size - 1, 0.95)) * error


def lattice_residual(cell: CellResult) -> float:
    """Return exp(second difference of the log metric over the three rates about the best, over 8).

    That is about what the best rate between two of the lattice's would gain. 1 where a neighbour is missing.
    """
    tried = [(scale, value) for scale, value in cell.tried if math.isfinite(value) and value > 0]
    place = next((i for i, (scale, _) in enumerate(tried) if scale == cell.scale), None)
    if place is None or not 0 < place < len(tried) - 1:
        return 1.0
    low, middle, high = (math.log(value) for _, value in tried[place - 1 : place + 2])
    return math.exp(max(0.0, low - 2 * middle + high) / 8)


def seconds(cell: CellResult, task: Task, link: Link, nodes: int) -> float:
    """Return the modelled seconds of a run on a ring: computing each step, and a collective each round."""
    one = np.array([1.0])
    outcome = Outcome(
        nodes=nodes,
        method=cell.spec,
        runs=(0,),
        steps=np.array([task.steps]),
        rounds=one * cell.rounds,
        flows={cell.aggregates: FlowSoFar(one * cell.rounds, one * cell.sent, one * cell.received)},
        values=one[None],
        dimension=task.dimension,
    )
    return float(seconds_at(outcome, link, task.compute)[0])

"""What figures are drawn from: a group's runs, their accuracy by epoch, and what to assume of a link."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qsgd_lab.data.registry import dataset_title
from qsgd_lab.report.analysis.cells import Cell, Statistic, summarize
from qsgd_lab.report.analysis.communication import NodeWork, compute_seconds, node_work
from qsgd_lab.report.analysis.grouping import Group, Method
from qsgd_lab.report.analysis.statistics import MIN_SEEDS

if TYPE_CHECKING:
    from qsgd_lab.runs.epochs import EpochRecord

#: Fields of the quantizer, in which the methods of one frontier may differ.
FAMILY_FIELDS = ("norm", "bucket_size", "convention", "raw_tensors_up_to")

#: Longer names would not fit a figure.
MAX_NAME_LENGTH = 40


@dataclass(frozen=True)
class FigureRuns:
    """All that the figures of one group are drawn from.

    Attributes
    ----------
    group : Group
    epochs : mapping of str to sequence of EpochRecord
        By the key of a run; runs whose epochs are not known are not in it.
    code : str or None
        Whose bits are shown; None: those that are sent, see `communication.sent_code`.
    latency : float
        Of the modelled network, seconds a message.
    compute : float or None
        Seconds of a node's forward and backward pass; None: as measured, see `communication`.
    quantize : float or None
        Seconds that a node quantizes and codes in a step, with every method; None: as measured.
    family : tuple of Group
        ``group``, and those that differ from it in `FAMILY_FIELDS` alone; empty if that was not asked.
    """

    group: Group
    epochs: Mapping[str, Sequence[EpochRecord]]
    code: str | None = None
    latency: float = 0.0
    compute: float | None = None
    quantize: float | None = None
    family: tuple[Group, ...] = ()

    @property
    def leads_family(self) -> bool:
        """Whether a figure of the whole family is this group's to show."""
        return not self.family or self.family[0] is self.group

    def compute_at(self, nodes: int) -> float | None:
        """Return a node's compute seconds, the same for all methods; None if not measured."""
        if self.compute is not None:
            return self.compute
        cells = [cell for _, cell in self.cells() if cell.nodes == nodes]
        return compute_seconds(run for cell in cells for run in cell.runs)

    def work_at(self, cell: Cell) -> NodeWork | None:
        """Return what a node of a cell works in a step; None if neither measured nor given."""
        compute = self.compute_at(cell.nodes)
        if compute is not None and self.quantize is not None:
            return NodeWork(compute, self.quantize)
        return node_work(cell.runs, compute)

    def cells(self) -> list[tuple[Method, Cell]]:
        """Return all cells that have runs, method by method."""
        return [(method, cell) for method in self.group.methods for cell in method.cells if cell.seeds]

    def curve(self, cell: Cell) -> Curve | None:
        """Return the validation curve of a cell; None without a finished epoch."""
        known = [run for run in cell.runs if run.key in self.epochs]
        has_diverged = any(run.status == "diverged" for run in known)
        return mean_curve([self.epochs[run.key] for run in known], has_diverged)

    @property
    def code_words(self) -> str:
        """The code that was chosen, for an axis label; empty where each method has its own."""
        return f", {self.code}" if self.code else ""

    def title(self, remark: str | None = None) -> str:
        """Return two lines that say what was trained, and how often or what else matters more."""
        shared, seeds = self.group.shared, self.group.seeds
        model, preset = (plain(shared[name]) for name in ("model", "preset"))
        dataset = plain(dataset_title(shared["dataset"]))
        if remark is None:
            remark = f"mean ± std of {len(seeds)} seeds" if len(seeds) > 1 else "one seed"
        return f"{model} on {dataset},\npreset {preset}; {remark}"


def families(groups: Sequence[Group]) -> list[tuple[Group, ...]]:
    """Return, for each group, itself and all that differ from it in `FAMILY_FIELDS` alone, in their order."""
    identities = [
        (
            group.is_current,
            tuple((name, value) for name, value in group.shared.items() if name not in FAMILY_FIELDS),
        )
        for group in groups
    ]
    return [
        tuple(group for group, identity in zip(groups, identities, strict=True) if identity == own)
        for own in identities
    ]


@dataclass(frozen=True)
class Curve:
    """Validation accuracy of a cell over its epochs.

    Attributes
    ----------
    epochs, steps : tuple of int
        From the first epoch to the last that all seeds have finished.
    accuracy : tuple of Statistic
        In percent, over the seeds.
    has_diverged : bool
        Whether some seed diverged, at whatever epoch.
    """

    epochs: tuple[int, ...]
    steps: tuple[int, ...]
    accuracy: tuple[Statistic, ...]
    has_diverged: bool

    @property
    def means(self) -> list[float]:
        """Mean accuracy by epoch."""
        return [statistic.mean for statistic in self.accuracy]

    @property
    def deviations(self) -> list[float] | None:
        """Sample standard deviation by epoch; None for one seed."""
        deviations = [statistic.deviation for statistic in self.accuracy]
        return [deviation for deviation in deviations if deviation is not None] or None


def mean_curve(runs: Sequence[Sequence[EpochRecord]], has_diverged: bool = False) -> Curve | None:
    """Return mean and deviation over runs, as far as all of them go; None where that is nowhere.

    A mean over fewer seeds from some epoch on would jump for no reason but that one is gone.
    """
    finished = [
        [(epoch, epoch.validation_accuracy) for epoch in run if epoch.validation_accuracy is not None]
        for run in runs
    ]
    length = min(map(len, finished), default=0)
    if length == 0:
        return None
    columns = list(zip(*(run[:length] for run in finished), strict=True))
    summaries = [summarize([100 * accuracy for _, accuracy in column]) for column in columns]
    return Curve(
        epochs=tuple(column[0][0].epoch for column in columns),
        steps=tuple(round(statistics.median(epoch.step for epoch, _ in column)) for column in columns),
        accuracy=tuple(summary for summary in summaries if summary is not None),
        has_diverged=has_diverged,
    )


def remarks(data: FigureRuns, *, by_epoch: bool = True) -> list[str]:
    """Return what a reader of the figures must know of holes: one seed, missing seeds, diverged runs.

    Parameters
    ----------
    data : FigureRuns
    by_epoch : bool
        Whether missing epochs matter.
    """
    group, cells = data.group, data.cells()
    written = []
    if len(group.seeds) == 1:
        written.append("one seed: no deviation is drawn, nothing is tested")
    elif len(group.seeds) < MIN_SEEDS:
        written.append(f"{len(group.seeds)} seeds: nothing is tested")
    diverged = [_place(m, c, f"{c.num_diverged}/{c.num_seeds}") for m, c in cells if c.num_diverged]
    fewer = [_place(m, c, f"{c.num_seeds}") for m, c in cells if c.missing_seeds]
    absent = [f"{m.label}, N={c.nodes}" for m in group.methods for c in m.cells if not c.seeds]
    without = sum(key not in data.epochs for key in group.run_keys)
    for words, places in (
        ("diverged, drawn with a cross", diverged),
        (f"fewer than {len(group.seeds)} seeds", fewer),
        ("not run", absent),
    ):
        if places:
            written.append(f"{words}: {'; '.join(places)}")
    if by_epoch and without:
        written.append(f"{without} runs have no epochs.jsonl and no curve")
    return written


def _place(method: Method, cell: Cell, count: str) -> str:
    return f"{method.label}, N={cell.nodes} ({count})"


def values(statistics_: Iterable[Statistic | None]) -> list[float]:
    """Return the means, and their ends one deviation off, of what there is: what an axis must hold."""
    known = [statistic for statistic in statistics_ if statistic is not None]
    return [s.mean + sign * (s.deviation or 0.0) for s in known for sign in (-1, 0, 1)]


def plain(name: str) -> str:
    """Return a stored name as matplotlib shows it: not too long, and no part of it as mathematics."""
    short = name if len(name) <= MAX_NAME_LENGTH else name[: MAX_NAME_LENGTH - 1] + "…"
    return short.replace("$", r"\$")

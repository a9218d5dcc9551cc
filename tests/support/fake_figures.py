"""Figures of invented runs, for the tests of figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from fake_runs import demo_records
from matplotlib.figure import Figure

from qsgd_lab.report.analysis.grouping import group_records
from qsgd_lab.report.figures.data import FigureRuns
from qsgd_lab.report.figures.registry import draw
from qsgd_lab.report.figures.style import style
from qsgd_lab.runs.epochs import EpochRecord
from qsgd_lab.runs.record import RunRecord

TIMING = {"total_s": 3.0, "compute_s": 2.0, "quantize_s": 0.5}


def epochs_of(run: RunRecord, count: int | None = None) -> tuple[EpochRecord, ...]:
    """Return invented epochs: accuracy goes up to that of the run, seeds and nodes apart."""
    length = run.config.epochs if count is None else count
    return tuple(
        EpochRecord(k, 39 * k, 1.0 / k, run.result["validation_accuracy"] * k / run.config.epochs)
        for k in range(1, length + 1)
    )


def data_of(runs: Iterable[RunRecord], **options: object) -> FigureRuns:
    """Return the only group of runs with their timing and epochs."""
    timed = [dataclasses.replace(run, timing=TIMING) for run in runs]
    (group,) = group_records(timed)
    epochs = {run.key: epochs_of(run) for run in timed}
    return FigureRuns(group, epochs, **options)  # type: ignore[arg-type]


DEMO = data_of(demo_records())


def figure_of(name: str, data: FigureRuns = DEMO) -> Figure:
    """Return a figure that has something to show."""
    with style():
        figure = draw(name, data)
    assert figure is not None
    return figure


def accuracies(curves: Sequence[Sequence[EpochRecord]]) -> list[list[float]]:
    """Return accuracies in percent by epoch, over the seeds."""
    return [[100 * e.validation_accuracy for e in column] for column in zip(*curves, strict=False)]

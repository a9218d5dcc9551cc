"""The figures of the main comparison, drawn by what draws those of `qsgd-lab plot`; and of equal bits."""

from __future__ import annotations

import dataclasses

from equal_bits_table import equal_bits_figure
from evidence import frontier_figure
from paper_runs import FULL_PRECISION, PaperRuns
from step_times import LATENCY

from qsgd_lab.report.figures.data import FigureRuns
from qsgd_lab.report.figures.registry import draw
from qsgd_lab.report.figures.style import figure_bytes, style
from qsgd_lab.runs.store import RunStore

#: Print has space for three methods by epoch, those that tell the story: noise, bias, and neither.
BY_EPOCH = (FULL_PRECISION, "2 bit, stochastic + EF", "2 bit, stochastic", "2 bit, nearest")


def figure_files(runs: PaperRuns) -> dict[str, bytes | None]:
    """Return file name -> PDF, None where the runs have nothing to show in a figure."""
    store = RunStore(runs.store)
    epochs = {record.key: found for record in runs.in_group if (found := store.epochs(record)) is not None}
    # A store without these methods is shown with those that it has.
    chosen = [runs.methods[label] for label in BY_EPOCH if label in runs.methods]
    shown = {
        "bits": runs.group.methods,
        "epochs": chosen if len(chosen) > 1 else runs.group.methods,
        "bandwidth": runs.modelled,
    }
    drawn: dict[str, bytes | None] = {"equal-bits.pdf": equal_bits_figure()}
    for name, methods in shown.items():
        group = dataclasses.replace(runs.group, methods=tuple(methods))
        with style():
            figure = draw(name, FigureRuns(group, epochs, latency=LATENCY))
            drawn[f"{name}.pdf"] = None if figure is None else figure_bytes(figure, ".pdf")
    drawn["frontier.pdf"] = frontier_figure()
    return drawn

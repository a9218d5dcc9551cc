"""The runs of the worked examples of marks: a noisy best, and a method that is near the best but below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fake_runs import record

from qsgd_lab.report.analysis.cells import Cell
from qsgd_lab.report.analysis.grouping import Group, Method, group_records
from qsgd_lab.runs.record import RunRecord

#: Fields of rows, by the names of the worked examples.
ROWS: dict[str, dict[str, Any]] = {
    "fp32": {"bits": 32},
    "A": {"bits": 8},
    "B": {"bits": 4},
    "C": {"bits": 2},
    "D": {"bits": 2, "rounding": "nearest"},
}
LABELS = {"fp32": "fp32", "A": "8 bit, stochastic + EF", "B": "4 bit, stochastic + EF"} | {
    "C": "2 bit, stochastic + EF",
    "D": "2 bit, nearest + EF",
}
#: Accuracies of seeds 0 to 4; the test set of CIFAR-10 makes steps of 0.01 points.
EXAMPLE = {
    "fp32": (91.2, 90.8, 90.5, 91.0, 90.4),
    "A": (91.1, 90.9, 90.4, 91.0, 90.5),
    "B": (90.9, 90.4, 90.2, 90.6, 90.1),
    "C": (92.6, 90.1, 91.9, 89.9, 91.5),
}


def runs(name: str, accuracies: Sequence[float | None], **fields: Any) -> list[RunRecord]:
    """Return a run a seed; None is a diverged one."""
    return [
        record(
            **{"dataset": "cifar10", **ROWS[name], **fields},
            seed=seed,
            accuracy=0.1 if accuracy is None else accuracy / 100,
            status="diverged" if accuracy is None else "done",
        )
        for seed, accuracy in enumerate(accuracies)
    ]


def example(*names: str, **fields: Any) -> list[RunRecord]:
    """Return the runs of some rows of the example."""
    return [run for name in names for run in runs(name, EXAMPLE[name], **fields)]


def group_of(*records: Sequence[RunRecord], **options: Any) -> Group:
    """Return the one group of some runs."""
    (group,) = group_records([run for some in records for run in some], **options)
    return group


def cells_of(group: Group) -> dict[tuple[str, int], Cell]:
    """Return the cells by the letters of the examples, or else labels, and N."""
    names = {label: name for name, label in LABELS.items()}
    return {(names.get(m.label, m.label), cell.nodes): cell for m in group.methods for cell in m.cells}


def methods_of(group: Group) -> dict[str, Method]:
    """Return the rows by the letters of the examples, or else labels."""
    names = {label: name for name, label in LABELS.items()}
    return {names.get(method.label, method.label): method for method in group.methods}


def bold_of(group: Group) -> set[tuple[str, int]]:
    """Return which cells are bold."""
    return {place for place, cell in cells_of(group).items() if cell.verdict.is_bold}


def rounded(values: Sequence[float | None]) -> list[float | None]:
    """Return values to the six digits of the worked examples."""
    return [None if value is None else round(value, 6) for value in values]

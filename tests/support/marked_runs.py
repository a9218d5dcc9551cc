"""The runs of the worked examples of marks: a noisy best, and a method that is near the best but below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fake_runs import record

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

"""Anchors, verification seeds and held-out data: whether a result holds where nobody could tune."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from qsgd_lab.suite.cells import CellResult, Runner, held_out_seed, verification_repeats
from qsgd_lab.suite.definition import REFERENCE, WHOLE, Suite, Task
from qsgd_lab.suite.result_file import Audit, Entry

#: Baselines that run again on the submitter's machine, and at which rung.
ANCHORS = ((REFERENCE, WHOLE), ("ef-top-k", "32x"))
#: Probabilities of the intervals in which a mean must be.
ANCHOR_LEVEL, SEED_LEVEL = 0.999, 0.99
#: How far the score on held-out data may be below that on the public ones.
HELD_OUT_LOSS = 0.1
_HELD_OUT_REPEATS = 2
#: Metrics below it are taken for it where a logarithm is needed.
LEAST = 1e-6


def audit(runner: Runner, digest: str, cells: Sequence[CellResult], stored: Sequence[Entry]) -> Audit:
    """Run anchors, verification seeds and, on problems, held-out data; return what they came to.

    Parameters
    ----------
    runner : Runner
    digest : str
        Of the submission.
    cells : sequence of CellResult
        Its own; on each task the rung 32x is audited, or the first one that it has.
    stored : sequence of Entry
        The baselines.
    """
    by_name = {entry.name: entry for entry in stored}
    anchors = [
        _anchor(runner, runner.suite.task(key), name, cell)
        for key in dict.fromkeys(cell.task for cell in cells)
        for name, rung in ANCHORS
        if name in by_name and (cell := by_name[name].cells.get((key, rung))) is not None
    ]
    checked = [_verified(runner, digest, cell, by_name.get(REFERENCE)) for cell in _audited(cells)]
    return Audit(tuple(anchors), tuple(checked))


def further_runs(
    suite: Suite, digest: str, cells: Sequence[CellResult]
) -> Iterator[tuple[CellResult, str, range, int | None]]:
    """Yield cells, and the seeds and data that only the digest names: words, repetitions, the data's seed."""
    for cell in _audited(cells):
        yield cell, "verification seeds", verification_repeats(digest), None
        if suite.task(cell.task).kind == "problem":  # a network's data have no other variants
            yield cell, "other data", range(_HELD_OUT_REPEATS), held_out_seed(digest)


def _audited(cells: Sequence[CellResult]) -> list[CellResult]:
    chosen: dict[str, CellResult] = {}
    for cell in cells:
        if cell.task not in chosen or cell.rung == "32x":
            chosen[cell.task] = cell
    return list(chosen.values())


def _anchor(runner: Runner, task: Task, name: str, cell: CellResult) -> Mapping[str, Any]:
    here = runner.at(task, cell.spec, cell.scale, range(task.tests)).metric
    within = is_within(cell.metric, here, ANCHOR_LEVEL)
    return {
        "task": task.key,
        "entry": name,
        "stored": cell.mean,
        "here": _number(np.mean(here)),
        "within": within,
    }


def _verified(runner: Runner, digest: str, cell: CellResult, reference: Entry | None) -> Mapping[str, Any]:
    task, cap = runner.suite.task(cell.task), runner.suite.cap
    found = runner.at(task, cell.spec, cell.scale, verification_repeats(digest)).metric
    row: dict[str, Any] = {
        "task": cell.task,
        "rung": cell.rung,
        "metric": _number(np.mean(found)),
        "within": is_within(cell.metric, found, SEED_LEVEL),
    }
    whole = reference.cells.get((task.key, WHOLE)) if reference else None
    if whole is None or task.kind != "problem":  # a network's data have no other variants
        return row
    repeats, seed = range(_HELD_OUT_REPEATS), held_out_seed(digest)
    other, base = (
        float(np.mean(runner.at(task, each.spec, each.scale, repeats, seed).metric)) for each in (cell, whole)
    )
    public = math.log(max(cell.mean / whole.mean, 1.0)) / math.log(cap)
    private = math.log(max(other / base, 1.0)) / math.log(cap) if math.isfinite(other) else 1.0
    row["held_out_ratio"] = _number(other / base)
    row["held_out_within"] = min(private, 1.0) <= min(public, 1.0) + HELD_OUT_LOSS
    return row


def is_within(known: Sequence[float], new: Sequence[float], level: float) -> bool:
    """Return whether the mean of new values is in the prediction interval of known ones, in logarithms.

    Parameters
    ----------
    known, new : sequence of float
        Not negative; where one is infinite, both must be.
    level : float
        Probability of the interval.
    """
    from scipy.special import stdtrit

    if not (np.isfinite(known).all() and np.isfinite(new).all()):
        return bool(np.isfinite(known).all() == np.isfinite(new).all())
    # A network may have everything right.
    logs, others = (np.log(np.maximum(values, LEAST)) for values in (known, new))
    spread = math.sqrt(1 / logs.size + 1 / others.size) * float(logs.std(ddof=1))
    width = float(stdtrit(logs.size - 1, (1 + level) / 2)) * spread
    return bool(abs(others.mean() - logs.mean()) <= width + 1e-9)


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None

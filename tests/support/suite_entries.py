"""Made-up results of the benchmark, and a plug-in that a stranger might write."""

from __future__ import annotations

from qsgd_lab.suite.cells import CellResult
from qsgd_lab.suite.definition import REFERENCE, WHOLE, load_suite
from qsgd_lab.suite.result_file import Entry

SUITE = load_suite()


def cell(task, rung, metric, *, sent=None, tried=None, spec="synchronous", cpu=1.0):
    """Return a cell; by default it sends exactly what its rung allows."""
    task = SUITE.task(task)
    whole = task.allowed_bits(SUITE.ratio(task, rung))
    return CellResult(
        task=task.key,
        rung=rung,
        spec=spec,
        tried=tried or ((0.5, 2.0), (1.0, 1.0), (2.0, 3.0)),
        scale=1.0,
        metric=tuple(metric),
        sent=whole if sent is None else sent * whole,
        received=whole,
        rounds=task.steps,
        aggregates="sums",
        cpu=cpu,
    )


def metrics(base, spread=0.02):
    """Return eight values around a base."""
    return [base * (1 + spread * (((i * 5) % 8) - 3.5) / 4) for i in range(8)]


def entry(name, ratios, rung="32x", *, status="baseline", **options):
    """Return an entry whose metric is a ratio of 1 on each task."""
    cells = [cell(task, rung, metrics(ratio), **options) for task, ratio in ratios.items()]
    return Entry(name, name, status, {(each.task, each.rung): each for each in cells})


def reference():
    """Return float32, whose metric is 1 on all scored tasks."""
    return entry(REFERENCE, {task.key: 1.0 for task in SUITE.scored}, WHOLE)

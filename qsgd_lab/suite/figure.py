"""What the benchmark's figure shows of a board: dots, intervals over seeds, neighbouring rates, and R*."""

from __future__ import annotations

import math

import numpy as np

from qsgd_lab.report.figures.suite import Dot, SuiteFigure
from qsgd_lab.suite.definition import REFERENCE, Task
from qsgd_lab.suite.score import Board, Scored


def figure_of(board: Board) -> SuiteFigure:
    """Return the figure of a board's scored tasks, entries in the order of the first rung that has any."""
    suite, tasks = board.suite, board.suite.scored
    rungs = [rung for rung in suite.rungs if len(board.order(rung)) > 1]
    order = [name for rung in ("32x", *rungs) for name in board.order(rung) if name != REFERENCE]
    names = list(dict.fromkeys(order))
    titles = {name: board.entries[name].title for name in names}
    dots, stars = {}, {}
    for name in names:
        for task in tasks:
            for rung in rungs:
                scored = board.scored(name, task, rung)
                if scored is not None:
                    dots[titles[name], task.key, rung] = _dot(board, task, scored)
            star = board.loss_free(name, task)
            if star is not None:
                stars[titles[name], task.key] = star
    return SuiteFigure(
        [titles[name] for name in names],
        [task.key for task in tasks],
        rungs,
        dots,
        {task.key: task.margin for task in tasks},
        stars,
    )


def _dot(board: Board, task: Task, scored: Scored) -> Dot:
    reference = board.reference(task)
    assert reference is not None
    cell, ratio = scored.cell, scored.ratio
    if not math.isfinite(ratio):
        return Dot(math.inf, math.inf, math.inf, is_void=scored.is_void)
    logs = np.log(cell.metric)
    half = 2 * float(logs.std(ddof=1)) / math.sqrt(logs.size)
    values = dict(cell.tried)
    near = sorted(values, key=lambda scale: abs(math.log(scale / cell.scale)))[1:3]
    # On the tuning seeds, relative to what the chosen rate came to there.
    others = tuple(ratio * values[s] / values[cell.scale] for s in near if math.isfinite(values[s]))
    return Dot(ratio, ratio * math.exp(-half), ratio * math.exp(half), others, scored.is_void)

"""The words of a table's cells: ratios with marks, lossless compression, costs, and scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from qsgd_lab.suite.definition import REFERENCE, WHOLE, Suite, Task
from qsgd_lab.suite.result_file import Audit, Entry
from qsgd_lab.suite.score import Board, Scored

NOT_RUN = "n/a (not run)"
NOT_ENTERED = "--"
#: After a ratio: the rate is at the edge of those that were tried.
EDGE = "†"
#: After a ratio: the best of the column, or not shown to be worse.
BEST = "*"


def ratio_cell(board: Board, name: str, task: Task, rung: str, *, best: bool = False) -> str:
    """Return a ratio to the reference with its marks, or the reason why there is none."""
    scored = board.scored(name, task, rung)
    if scored is None:
        return missing_cell(board, name, task, rung)
    if scored.is_void:
        return f"over {scored.over:.2f}x"
    if scored.diverged:
        return f"div {scored.diverged}/{len(scored.cell.metric)}"
    return _short(scored.ratio) + (BEST if best else "") + (EDGE if scored.at_edge else "")


def missing_cell(board: Board, name: str, task: Task, rung: str) -> str:
    """Return why an entry has no cell."""
    entry = board.entries[name]
    if task.key in entry.missing:
        return f"n/a ({entry.missing[task.key]})"
    entered = name == REFERENCE or any(at == rung for _, at in entry.cells)
    if entered or entry.status == "baseline":
        return NOT_RUN
    return NOT_ENTERED


def loss_free_cell(board: Board, name: str, task: Task) -> str:
    """Return R* such as ``16x``, ``> 64x`` or ``< 8x``."""
    found = board.loss_free(name, task)
    if found is None:
        return NOT_ENTERED
    ratio, sign = found
    return f"{sign} {ratio:.2g}x".strip() if ratio < 100 else f"{sign} {ratio:.0f}x".strip()


def _short(value: float) -> str:
    if not math.isfinite(value):
        return "inf"
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def network_tasks(board: Board, rung: str) -> list[Task]:
    """Return the tasks that are not scored and have a cell at a rung: each has a table of its own."""
    tasks = [task for task in board.suite.tasks if not task.scored]
    return [task for task in tasks if any(name != REFERENCE for name in board.on_task(task, rung))]


def header(board: Board) -> list[str]:
    """Return the names of the columns."""
    tasks = board.suite.scored
    stars = [f"R* {task.key}" for task in tasks]
    links = [f"s@{name}" for name in board.suite.links]
    return [
        "entry",
        *(task.key for task in tasks),
        *stars,
        "sent",
        "both",
        "rounds",
        *links,
        "rank",
        "rank both",
        "score",
        "range",
    ]


def rows(board: Board, rung: str, rank: str) -> list[list[str]]:
    """Return a row an entry, in the order of a rank."""
    tasks = board.suite.scored
    tied = {task.key: board.tied_with_best(task, rung) for task in tasks}
    result = []
    for name in board.order(rung, rank):
        at = WHOLE if name == REFERENCE else rung
        cells = [ratio_cell(board, name, task, rung, best=name in tied[task.key]) for task in tasks]
        stars = [loss_free_cell(board, name, task) for task in tasks]
        costs = [board.cost(name, rung, unit) for unit in ("sent", "received", "rounds")]
        times = [board.cost(name, rung, f"seconds@{link}") for link in board.suite.links]
        score, span = board.score(name, rung), board.leave_one_out(name, rung)
        label = board.entries[name].title + (f" ({at})" if name == REFERENCE else "")
        places = [board.place(name, rung), board.place(name, rung, "received")]
        ranks = [NOT_ENTERED if place is None else str(place) for place in places]
        footnote = ["--", "--"]
        if score is not None and span is not None and name != REFERENCE:
            footnote = [f"{score:.2f}", f"{span[0]:.2f} to {span[1]:.2f}"]
        result.append(
            [label, *cells, *stars, *(f"{cost:.3g}" for cost in (*costs, *times)), *ranks, *footnote]
        )
    return result


def network_header(board: Board) -> list[str]:
    """Return the names of the columns of a task that is not scored."""
    links = [f"s@{name}" for name in board.suite.links]
    return ["entry", "ratio", "error", "sd", "R*", "rate", "sent", "both", "rounds", *links]


def network_rows(board: Board, task: Task, rung: str) -> list[list[str]]:
    """Return a row an entry with a cell of one task, the least error first, below the reference."""
    tied, result = board.tied_with_best(task, rung), []
    for name in board.on_task(task, rung):
        scored = board.scored(name, task, rung)
        assert scored is not None
        at = WHOLE if name == REFERENCE else rung
        units = ("sent", "received", "rounds", *(f"seconds@{link}" for link in board.suite.links))
        finite = [100 * value for value in scored.cell.metric if math.isfinite(value)]
        result.append(
            [
                board.entries[name].title + (f" ({at})" if name == REFERENCE else ""),
                ratio_cell(board, name, task, rung, best=name in tied),
                f"{np.mean(finite):.2f} %" if finite else NOT_ENTERED,
                f"{np.std(finite, ddof=1):.2f}" if len(finite) > 1 else NOT_ENTERED,
                loss_free_cell(board, name, task),
                f"{scored.cell.scale:g}",
                *(f"{board.cost(name, rung, unit, [task]):.3g}" for unit in units),
            ]
        )
    return result


def network_title(board: Board, task: Task, rung: str) -> tuple[str, str]:
    """Return what a table of a task that is not scored is of, and how it is read."""
    ratio = f"{board.suite.ratio(task, rung)}x"
    return (
        f"{task.key} at {rung}" + ("" if rung == ratio else f" ({ratio})"),
        f"not in the score: {task.metric} of the last mean model, {task.tests} seeds; {BEST}: the best, or "
        f"not shown to be worse by {50 * task.margin:g} points; R*: within {100 * task.margin:g} points of "
        "float32",
    )


def notes(board: Board, rung: str, rank: str) -> list[str]:
    """Return the lines under a table."""
    suite = board.suite
    lines = [
        f"{suite.name}, {suite.digest[:19]}, {suite.nodes} nodes. Rung {rung}: at most {suite.slack:g} times "
        "the bits of float32 over the rung, in whole messages that were sent; as many gradients for all.",
        "A task's column: mean metric over float32's (1 = as good). "
        f"{BEST}: the best, or not shown to be worse (paired t, Holm, p >= {suite.level:g}, or within the "
        f"rates' lattice). {EDGE}: rate at the edge. over: bits beyond the rung. div: seeds that diverged.",
        "R*: the largest compression at which the ratio stays within the task's margin.",
        "sent, both: bits a coordinate and step, up, and up and down; rounds: exchanges a step; s@LINK: "
        "modelled seconds of a run on a ring, a unit of its own.",
        f"rank: by score at equal bits sent; rank both: at equal bits up and down, {suite.nodes} times what "
        "the rung allows up, where methods of sums may take a looser rung.",
        f"Ordered by {rank}. Score: mean of 1 - log ratio / log {suite.cap:g} over tasks, and its range if "
        "one is left out: a footnote, not a verdict.",
    ]
    for name, entry in board.entries.items():
        bad = [anchor for anchor in entry.audit.anchors if not anchor.get("within")]
        if bad:
            lines.append(
                f"{name}: not comparable, its machine's {bad[0]['entry']} on {bad[0]['task']} differs."
            )
        for row in entry.audit.verification:
            if not row.get("within"):
                lines.append(f"{name}: on {row['task']} its verification seeds replace the public ones.")
            if row.get("held_out_within") is False:
                lines.append(f"{name}: on {row['task']} its ratio on held-out data replaces the public one.")
    for name, entry in board.entries.items():
        if entry.status != "baseline":
            lines.append(
                f"{name}: {entry.status}, {_audited(entry.audit)}{_not_entered(entry, suite, rung)}."
            )
    return lines


def _audited(audit: Audit) -> str:
    if not audit.verification:
        return "not audited"
    sound = all(row.get("within") and row.get("held_out_within") is not False for row in audit.verification)
    anchors = all(anchor.get("within") for anchor in audit.anchors)
    return f"anchors {'agree' if anchors else 'differ'}, verification seeds {'agree' if sound else 'differ'}"


def _not_entered(entry: Entry, suite: Suite, rung: str) -> str:
    entered = any(at == rung and suite.task(key).scored for key, at in entry.cells)
    return "" if entered else f", no scored cell at {rung}"


def tidy(board: Board, rungs: Sequence[str]) -> list[dict[str, Any]]:
    """Return a record a run: task, rung, entry, seed and phase, bits and metric."""
    records: list[dict[str, Any]] = []
    for name, entry in board.entries.items():
        for (key, rung), cell in sorted(entry.cells.items()):
            if rung not in (*rungs, WHOLE):
                continue
            shared = {"suite": board.suite.name, "task": key, "rung": rung, "entry": name, "spec": cell.spec}
            for scale, value in cell.tried:
                records.append(
                    _record(shared, "tuning", scale, None, value, cell.sent, cell.received, cell.rounds)
                )
            for seed, value in enumerate(cell.metric):
                records.append(
                    _record(shared, "test", cell.scale, seed, value, cell.sent, cell.received, cell.rounds)
                )
    return records


def _record(
    shared: dict[str, Any],
    phase: str,
    scale: float,
    seed: int | None,
    value: float,
    sent: float,
    received: float,
    rounds: int,
) -> dict[str, Any]:
    finite = math.isfinite(value)
    return {
        **shared,
        "phase": phase,
        "rate_scale": scale,
        "seed": seed,
        "metric": value if finite else None,
        "status": "done" if finite else "diverged",
        "bits_sent": sent if phase == "test" else None,
        "bits_received": received if phase == "test" else None,
        "rounds": rounds if phase == "test" else None,
    }


def summary(board: Board, rung: str) -> list[dict[str, Any]]:
    """Return a record an entry and task: what the table says, as numbers."""
    records: list[dict[str, Any]] = []
    others = network_tasks(board, rung)
    extra = [name for task in others for name in board.on_task(task, rung)]
    for name in dict.fromkeys((*board.order(rung), *extra)):
        for task in (*board.suite.scored, *others):
            scored: Scored | None = board.scored(name, task, rung)
            if scored is None:
                continue
            star = board.loss_free(name, task)
            ratio = scored.ratio if math.isfinite(scored.ratio) else None
            records.append(
                {
                    "suite": board.suite.name,
                    "digest": board.suite.digest,
                    "entry": name,
                    "task": task.key,
                    "rung": WHOLE if name == REFERENCE else rung,
                    "ratio": ratio,
                    "diverged": scored.diverged,
                    "over": scored.over,
                    "void": scored.is_void,
                    "score": scored.score,
                    "residual": scored.residual,
                    "tied": name in board.tied_with_best(task, rung),
                    "loss_free": None if star is None else star[0],
                    "loss_free_sign": None if star is None else star[1],
                    "cpu_s": scored.cell.cpu,
                }
            )
    return records

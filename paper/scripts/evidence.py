"""Runs beyond the digits: a recurrent network, real images, and nodes whose data are not alike.

They are in paper/evidence.jsonl, made by `make evidence` from a clean checkout, and shown as far as they are
complete: a cell needs five seeds, and float32 beside it. What is missing is neither shown nor spoken of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from paper_runs import FULL_PRECISION, PAPER

from qsgd_lab.report import render
from qsgd_lab.report.analysis.cells import Cell
from qsgd_lab.report.analysis.communication import exchange_of
from qsgd_lab.report.analysis.grouping import Group, group_records
from qsgd_lab.report.analysis.statistics import MIN_SEEDS
from qsgd_lab.report.figures.data import FigureRuns, families
from qsgd_lab.report.figures.registry import draw
from qsgd_lab.report.figures.style import figure_bytes, style
from qsgd_lab.report.tables.options import TableOptions
from qsgd_lab.runs.record import RunRecord
from qsgd_lab.runs.store import RunStore

EVIDENCE_RUNS = PAPER / "evidence.jsonl"
BRACKETS, FASHION = "brackets", "fashion-mnist"
ALIKE_NODES, UNLIKE_NODES = "iid", "dirichlet:0.1"
#: Norm and buckets of the table; the other settings are the frontier's.
TABLE_SETTING = ("max", "model")
#: Below so many points a frontier is none.
FEWEST_POINTS = 8


@cache
def evidence(store: Path = EVIDENCE_RUNS) -> tuple[RunRecord, ...]:
    """Return the records of complete cells; none without the file."""
    return complete(RunStore(store).records()) if store.exists() else ()


def complete(records: Iterable[RunRecord]) -> tuple[RunRecord, ...]:
    """Return the records of cells with five seeds or more that have float32 of as many beside them."""
    kept: list[RunRecord] = []
    for group in group_records(records):
        full = {
            cell.nodes
            for m in group.methods
            if m.label == FULL_PRECISION
            for cell in m.cells
            if _is_full(cell)
        }
        cells = (cell for method in group.methods for cell in method.cells)
        kept += [run for cell in cells if cell.nodes in full and _is_full(cell) for run in cell.runs]
    # float32 is in the group of every norm and bucket size.
    return tuple({run.key: run for run in kept}.values())


def _is_full(cell: Cell) -> bool:
    return cell.num_seeds >= MIN_SEEDS


def tasks() -> dict[tuple[str, str], Group]:
    """Return the groups of the tables by data set and split: the cells with the most seeds of each."""
    found = {}
    for group in group_records(evidence()):
        if (group.shared["norm"], group.shared["bucket_size"]) == TABLE_SETTING:
            cells = [cell for method in group.methods for cell in method.cells]
            most = max(cell.num_seeds for cell in cells)
            runs = (run for cell in cells if cell.num_seeds == most for run in cell.runs)
            (found[group.shared["dataset"], group.shared["split"]],) = group_records(runs)
    return found


def images_table() -> str | None:
    """Return the main table, of the images, as a LaTeX float; None without complete cells of quantizers."""
    group = tasks().get((FASHION, ALIKE_NODES))
    if group is None or len(group.methods) < 2:
        return None
    records = [record for record in evidence() if record.key in group.run_keys]
    options = TableOptions(show=("accuracy", "difference", "bits"))
    return re.sub(r"\\label\{tab:[^}]*\}", r"\\label{tab:images}", render(records, "latex", options), count=1)


def tasks_table() -> str | None:
    """Return the tasks side by side as a LaTeX float, by the bits that are sent; None without any."""
    keys = {key for group in tasks().values() for key in group.run_keys}
    records = [record for record in evidence() if record.key in keys]
    options = TableOptions(by="task", sort="bits", show=("accuracy", "bits"))
    if not records:
        return None
    return re.sub(r"\\label\{tab:[^}]*\}", r"\\label{tab:tasks}", render(records, "latex", options), count=1)


def frontier_figure() -> bytes | None:
    """Return the frontier of the images on the most nodes as PDF; None unless there are enough points."""
    images = [record for record in evidence() if record.config.dataset == FASHION]
    most = max((record.config.nodes for record in images), default=0)  # where all settings were trained
    groups = group_records(record for record in images if record.config.nodes == most)
    for group, family in zip(groups, families(groups), strict=True):
        points = sum(len(member.methods) - 1 for member in family)
        if group.shared["split"] == ALIKE_NODES and points >= FEWEST_POINTS:
            with style():
                figure = draw("frontier", FigureRuns(group, {}, family=family))
                return figure_bytes(figure, ".pdf") if figure else None
    return None


def points_of_images() -> list[tuple[float, str, Cell]]:
    """Return bits sent, label and cell of each quantizer of the images on the most nodes, by the bits.

    All norms and buckets: what the frontier draws.
    """
    groups = [
        group
        for group in group_records(record for record in evidence() if record.config.dataset == FASHION)
        if group.shared["split"] == ALIKE_NODES
    ]
    nodes = max((count for group in groups for count in group.nodes), default=0)
    points = {}
    for cell_label, cell in ((m.label, c) for group in groups for m in group.methods for c in m.cells):
        exchange = exchange_of(cell.runs, None) if cell.nodes == nodes and cell.verdict.claim else None
        if exchange is not None:
            points[cell.runs[0].key] = (exchange.bits_per_coordinate, cell_label, cell)
    return sorted(points.values(), key=lambda point: point[0])


def cells(task: tuple[str, str], label: str) -> list[Cell]:
    """Return a method's complete cells of a task, by the number of nodes."""
    group = tasks().get(task)
    methods = [method for method in group.methods if method.label == label] if group else []
    return [cell for method in methods for cell in method.cells if cell.seeds]

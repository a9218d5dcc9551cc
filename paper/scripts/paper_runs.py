"""The runs that the paper is about: which store they are in, and the comparison that its text describes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import click

from qsgd_lab.errors import DataMissingError
from qsgd_lab.report.analysis.cells import Cell
from qsgd_lab.report.analysis.grouping import Group, Method, group_records
from qsgd_lab.report.analysis.verdict import Contrast
from qsgd_lab.report.render import render
from qsgd_lab.runs.record import RunRecord
from qsgd_lab.runs.store import RunStore

PAPER = Path(__file__).resolve().parent.parent
RESULTS = PAPER / "results.tex"
#: Where runs may be: those of a user, and those that are kept with the paper.
STORES = (PAPER.parent / "runs", PAPER / "runs.jsonl")
#: Of several comparisons in a store the text describes this preset's, if it is there.
MAIN_PRESET = "demo"
FULL_PRECISION = "fp32"

_KEY = re.compile(r"\b[0-9a-f]{12}\b")


@dataclass(frozen=True)
class PaperRuns:
    """The records of a store, and the group of them that the text describes.

    Attributes
    ----------
    store : Path
    records : tuple of RunRecord
        All that are not stale.
    group : Group
        The main comparison.
    """

    store: Path
    records: tuple[RunRecord, ...]
    group: Group

    @cached_property
    def methods(self) -> dict[str, Method]:
        """The rows of the main comparison by label, such as ``2 bit, stochastic + EF``."""
        return {method.label: method for method in self.group.methods}

    @cached_property
    def in_group(self) -> tuple[RunRecord, ...]:
        """The records of the main comparison."""
        keys = set(self.group.run_keys)
        return tuple(record for record in self.records if record.key in keys)

    @property
    def with_feedback(self) -> list[Method]:
        """Rows that round stochastically with error feedback."""
        return [m for m in self.group.methods if m.error_feedback and m.rounding == "stochastic"]

    @property
    def modelled(self) -> list[Method]:
        """Rows whose step times are modelled: float32's, and those with feedback and stochastic rounding."""
        return [m for m in self.group.methods if m.label == FULL_PRECISION or m in self.with_feedback]

    @property
    def quantized(self) -> list[Method]:
        """All rows but float32's."""
        return [method for method in self.group.methods if method.label != FULL_PRECISION]

    @property
    def quantized_cells(self) -> list[Cell]:
        """All cells with runs but float32's."""
        return [cell for method in self.quantized for cell in method.cells if cell.seeds]

    @property
    def tested_cells(self) -> list[Cell]:
        """Those that were tested against float32."""
        return [cell for cell in self.quantized_cells if cell.verdict.is_tested]

    @property
    def fewest_pairs(self) -> int:
        """Fewest pairs of seeds of any tested cell; 0 without one."""
        comparisons = [cell.verdict.comparison for cell in self.tested_cells]
        return min((comparison.num_pairs for comparison in comparisons if comparison), default=0)

    def cell(self, label: str, nodes: int) -> Cell | None:
        """Return a cell that has runs, or None."""
        method = self.methods.get(label)
        cells = [c for c in method.cells if c.nodes == nodes and c.seeds] if method else []
        return cells[0] if cells else None

    def mean_accuracy(self, label: str, nodes: int) -> float | None:
        """Return the mean test accuracy of a cell in percent, or None."""
        cell = self.cell(label, nodes)
        return cell.accuracy.mean if cell and cell.accuracy else None

    def mean_over_nodes(self, label: str) -> Contrast | None:
        """Return a method's difference from float32 averaged over N, or None where it is not tested."""
        method = self.methods.get(label)
        return method.mean_over_nodes if method else None

    def means(self, methods: Sequence[Method]) -> list[float]:
        """Return the mean accuracies of all the cells of some rows that have runs."""
        return [cell.accuracy.mean for method in methods for cell in method.cells if cell.accuracy]

    def of(self, label: str, nodes: int) -> list[RunRecord]:
        """Return the records of a cell, diverged ones left out."""
        return [
            record
            for record in self.in_group
            if (record.config.method, record.config.nodes, record.status) == (label, nodes, "done")
        ]


def load_runs(folder: Path | None) -> PaperRuns:
    """Read the runs of a folder or packed file, or of the one from which paper/results.tex was made.

    Raises
    ------
    DataMissingError
        If there are no runs, or none of the known folders holds those of paper/results.tex.
    """
    store = folder or store_of_results()
    records = tuple(RunStore(store).records())
    if not records:
        raise DataMissingError(
            f"no runs in {store}; make them with: "
            f"qsgd-lab reproduce --model alexnet --nodes 1,2,4,8 --runs {store}"
        )
    return PaperRuns(store, records, main_group(group_records(records)))


def main_group(groups: Sequence[Group]) -> Group:
    """Return the comparison that the text describes: the main preset's, or else that with the most runs."""
    preferred = [group for group in groups if group.shared["preset"] == MAIN_PRESET]
    return max(preferred or groups, key=lambda group: len(group.run_keys))


def store_of_results() -> Path:
    """Return the folder or packed file that holds every run which paper/results.tex lists.

    Raises
    ------
    DataMissingError
        If it lists none, or no known place has them all.
    """
    keys = run_keys(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else set()
    if not keys:
        raise DataMissingError(
            f"{_shown(RESULTS)} lists no runs; write it with: qsgd-lab table > paper/results.tex"
        )
    holding = [store for store in STORES if keys <= {run.key for run in RunStore(store).read().records}]
    # The same configurations have the same keys everywhere, but other machines round otherwise: where both
    # folders hold them, what they come to decides.
    for store in holding:
        if render(RunStore(store).records(), "latex") == RESULTS.read_text(encoding="utf-8"):
            return store
    if holding:
        return holding[0]
    places = " or ".join(_shown(store) for store in STORES)
    raise DataMissingError(
        f"the runs that {_shown(RESULTS)} lists are not in {places}; "
        "name their folder: make paper RUNS=folder"
    )


def run_keys(tex: str) -> set[str]:
    """Return the keys of the runs that the comments of a table file list."""
    return {key for line in tex.splitlines() if line.startswith("%") for key in _KEY.findall(line)}


def _shown(path: Path) -> str:
    """Return a path as it is best shown to someone in the project's folder."""
    root = PAPER.parent
    return click.format_filename(path.relative_to(root) if path.is_relative_to(root) else path)

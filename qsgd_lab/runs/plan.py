"""The plan of a sweep: the cells that are done, the time that the others may take, and their output."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.contents import StoreContents
from qsgd_lab.runs.record import RunRecord
from qsgd_lab.runs.store import RunStore

CellState = Literal["done", "running", "stale", "missing"]

#: Measured on records of this schema: run.json, and a line of epochs.jsonl.
RECORD_BYTES = 2048
EPOCH_LINE_BYTES = 256

#: Cells cost alike if these agree; the number of epochs is divided out.
CostClass = tuple[str, str, int]


@dataclass(frozen=True)
class PlannedCell:
    """A configuration and what the store has of it.

    Attributes
    ----------
    config : RunConfig
        In canonical form.
    state : {"done", "running", "stale", "missing"}
        "running": another process holds it now; "stale": made with other component versions, to be redone.
    expected_s : float or None
        Seconds that one process will take, from the store's own history; None without one, 0 when done.
    """

    config: RunConfig
    state: CellState
    expected_s: float | None


@dataclass(frozen=True)
class Plan:
    """The cells of a sweep, without duplicates, all cells of the first seed first.

    That order gives every cell of the table one seed early; the others then narrow the deviation.

    Attributes
    ----------
    cells : tuple of PlannedCell
    contents : StoreContents
        What the store held, and what of it is damaged.
    """

    cells: tuple[PlannedCell, ...]
    contents: StoreContents = field(default_factory=StoreContents)

    @classmethod
    def make(cls, configs: Iterable[RunConfig], store: RunStore) -> Plan:
        """Compare the configurations with what the store holds; nothing is written.

        Raises
        ------
        IntegrityError
            If the record of one of the cells is damaged.
        """
        contents = store.read()
        history = contents.records
        stale = {record.config for record in history if record.is_stale}
        seconds = _seconds_per_epoch(history)
        cells = []
        for config in seed_major(configs):
            state = _state(config, store, stale)
            cells.append(PlannedCell(config, state, 0.0 if state == "done" else _expected_s(config, seconds)))
        return cls(tuple(cells), contents)

    def configs(self, *states: CellState) -> list[RunConfig]:
        """Return the configurations in any of the states, or all if none is named, in the plan's order."""
        return [cell.config for cell in self.cells if not states or cell.state in states]

    def count(self, state: CellState) -> int:
        """Return the number of cells in a state."""
        return len(self.configs(state))

    def eta_s(self, jobs: int) -> float | None:
        """Return the seconds until all cells are done with `jobs` processes, None where history is lacking.

        Cells that another process runs are counted in full: how far they are is not known. The time of a
        perfect division is a lower bound, and so is the longest cell.
        """
        seconds = [cell.expected_s for cell in self.cells]
        known = [value for value in seconds if value is not None]
        if len(known) < len(seconds):
            return None
        return max([sum(known) / jobs, *known], default=0.0)

    @property
    def bytes_to_write(self) -> int:
        """About how many bytes of records will stay; the checkpoints of running cells come and go."""
        todo = self.configs("stale", "missing")
        return sum(RECORD_BYTES + EPOCH_LINE_BYTES * config.epochs for config in todo)


def seed_major(configs: Iterable[RunConfig]) -> list[RunConfig]:
    """Return the canonical configurations once each, by seeds in the order in which these first appear."""
    unique = list({config.key: config.canonical() for config in configs}.values())
    rank = {seed: place for place, seed in enumerate(dict.fromkeys(config.seed for config in unique))}
    return sorted(unique, key=lambda config: rank[config.seed])


def _state(config: RunConfig, store: RunStore, stale: set[RunConfig]) -> CellState:
    if store.record(config) is not None:
        return "done"
    if store.is_claimed(config):
        return "running"
    return "stale" if config in stale else "missing"


def _cost_class(config: RunConfig) -> CostClass:
    return config.model, config.preset, config.nodes


def _seconds_per_epoch(history: Sequence[RunRecord]) -> dict[CostClass, float]:
    """Return the mean time of an epoch for each kind of cell in the store."""
    measured = defaultdict(list)
    for record in history:
        epochs = record.result["epochs"]
        if epochs > 0:
            measured[_cost_class(record.config)].append(record.timing["total_s"] / epochs)
    return {kind: fmean(values) for kind, values in measured.items()}


def _expected_s(config: RunConfig, seconds: dict[CostClass, float]) -> float | None:
    per_epoch = seconds.get(_cost_class(config))
    return None if per_epoch is None else per_epoch * config.epochs

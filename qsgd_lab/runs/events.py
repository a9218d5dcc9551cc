"""Events of a sweep's cells, for a progress display and between worker and scheduler."""

from __future__ import annotations

from dataclasses import dataclass

from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.record import RunRecord


@dataclass(frozen=True)
class CellStarted:
    """A worker has claimed the cell and begins, or goes on from a checkpoint."""

    config: RunConfig


@dataclass(frozen=True)
class CellCompiling:
    """The cell waits until its kernels are compiled, which happens once on a machine."""

    config: RunConfig


@dataclass(frozen=True)
class CellProgress:
    """The cell has done `epoch` of `epochs` epochs; `metrics` are what the training code tells of it."""

    config: RunConfig
    epoch: int
    epochs: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class CellFinished:
    """The cell's record is in the store; `here` is False if another process made it meanwhile."""

    config: RunConfig
    record: RunRecord
    here: bool = True


@dataclass(frozen=True)
class CellFailed:
    """The cell could not be finished; `reason` is one line, the traceback is in the cell's error.log."""

    config: RunConfig
    reason: str


@dataclass(frozen=True)
class CellWaiting:
    """Another process runs the cell; it is looked at again until that one has finished or gone."""

    config: RunConfig


@dataclass(frozen=True)
class CellRetried:
    """The cell's worker died, for the `reason`; the cell is given to a fresh one."""

    config: RunConfig
    reason: str


@dataclass(frozen=True)
class CellInterrupted:
    """The cell stopped because it was asked to; what it had done is in its checkpoint."""

    config: RunConfig


Event = (
    CellStarted
    | CellCompiling
    | CellProgress
    | CellFinished
    | CellFailed
    | CellWaiting
    | CellRetried
    | CellInterrupted
)

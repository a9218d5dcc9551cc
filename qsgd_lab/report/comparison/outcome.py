"""The outcome of one method at one number of nodes, on a problem or on a data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from qsgd_lab.runs.problem_record import ProblemRecord

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """R runs of one method, at C checkpoints.

    Attributes
    ----------
    nodes : int
    method : str
        The row's name.
    runs : tuple of int
        Numbers of the repetitions, or seeds; runs of one number met the same noise under every method.
    steps, rounds : ndarray, shape (C,)
        Steps taken, and exchanges so far.
    sent_bits, received_bits : ndarray, shape (C,)
        Of one node so far.
    values : ndarray, shape (C, R)
        Errors, or validation accuracies in percent; an error that left the finite numbers is infinite.
    final : ndarray or None
        Shape (R,): what replaces the last row where a run is compared whole: test accuracies.
    aggregates : {"sums", "gathers", "two-phase", "server"}
        Which collective the messages take: all-reduce, all-gather, by owners of shards, or by a server.
    dimension : int
        n, coordinates of a vector.
    astray : tuple of bool or None
        Whether each run diverged, where its values alone do not say so: accuracies are always finite.
    """

    nodes: int
    method: str
    runs: tuple[int, ...]
    steps: NDArray[np.int64]
    rounds: Floats
    sent_bits: Floats
    received_bits: Floats
    values: Floats
    aggregates: str
    dimension: int
    final: Floats | None = None
    astray: tuple[bool, ...] | None = None

    def diverged(self, checkpoint: int) -> NDArray[np.bool_]:
        """Return which runs have diverged, shape (R,): their errors are infinite, or they ended astray."""
        values = ~np.isfinite(self.at(checkpoint))
        return values if self.astray is None else values | np.array(self.astray, bool)

    def at(self, checkpoint: int) -> Floats:
        """Return the values that are compared at a checkpoint, shape (R,)."""
        whole = self.final is not None and checkpoint == self.steps.size - 1
        return np.asarray(self.final if whole else self.values[checkpoint])

    @property
    def bits(self) -> Floats:
        """Bits of one node, up and down, shape (C,)."""
        return np.asarray(self.sent_bits + self.received_bits)


def outcome_of(method: str, aggregates: str, dimension: int, blocks: Sequence[ProblemRecord]) -> Outcome:
    """Return the outcome of the blocks of one method at one N, which share their checkpoints."""
    first = blocks[0]
    weights = np.array([block.config.repeats for block in blocks], np.float64)
    runs = tuple(
        run
        for block in blocks
        for run in range(block.config.first_repeat, block.config.first_repeat + block.config.repeats)
    )

    def mean(rows: list[list[float]]) -> Floats:
        return np.asarray(np.average(np.array(rows, np.float64), axis=0, weights=weights))

    return Outcome(
        nodes=first.config.nodes,
        method=method,
        runs=runs,
        steps=np.array(first.steps),
        rounds=np.array(first.rounds, np.float64),
        sent_bits=mean([block.sent_bits for block in blocks]),
        received_bits=mean([block.received_bits for block in blocks]),
        values=np.concatenate([np.array(block.errors) for block in blocks], axis=1),
        aggregates=aggregates,
        dimension=dimension,
    )


def standard_error(values: Floats) -> float | None:
    """Return the standard error of a mean; None for fewer than two values, or where one is infinite."""
    if values.size < 2 or not np.isfinite(values).all():
        return None
    return float(values.std(ddof=1) / math.sqrt(values.size))

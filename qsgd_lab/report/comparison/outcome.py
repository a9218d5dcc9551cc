"""The outcome of one method at one number of nodes, on a problem or on a data set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.traffic import COLLECTIVES, Flow

if TYPE_CHECKING:
    from qsgd_lab.runs.problem_record import ProblemRecord

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FlowSoFar:
    """What went through one collective, at C checkpoints; arrays of shape (C,).

    Attributes
    ----------
    rounds : ndarray
        Steps so far in which it was used.
    sent_bits, received_bits : ndarray
        Of one node so far.
    """

    rounds: Floats
    sent_bits: Floats
    received_bits: Floats


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
        Steps taken, and steps so far in which anything was exchanged.
    flows : mapping of str to FlowSoFar
        By collective: all-reduce ("sums"), all-gather ("gathers"), by owners of shards ("two-phase"), or by a
        "server".
    values : ndarray, shape (C, R)
        Errors, or validation accuracies in percent; an error that left the finite numbers is infinite.
    final : ndarray or None
        Shape (R,): what replaces the last row where a run is compared whole: test accuracies.
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
    flows: Mapping[str, FlowSoFar]
    values: Floats
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
    def sent_bits(self) -> Floats:
        """Bits of one node, up, shape (C,)."""
        return self._sum([flow.sent_bits for flow in self.flows.values()])

    @property
    def received_bits(self) -> Floats:
        """Bits of one node, down, shape (C,)."""
        return self._sum([flow.received_bits for flow in self.flows.values()])

    def _sum(self, parts: Sequence[Floats]) -> Floats:
        return np.asarray(np.sum([np.zeros(self.steps.size), *parts], axis=0))

    @property
    def bits(self) -> Floats:
        """Bits of one node, up and down, shape (C,)."""
        return np.asarray(self.sent_bits + self.received_bits)


def outcome_of(method: str, aggregates: str, dimension: int, blocks: Sequence[ProblemRecord]) -> Outcome:
    """Return the outcome of the blocks of one method at one N, which share their checkpoints.

    `aggregates` is the collective of all that was sent, for records that do not say it.
    """
    first = blocks[0]
    weights = np.array([block.config.repeats for block in blocks], np.float64)
    runs = tuple(
        run
        for block in blocks
        for run in range(block.config.first_repeat, block.config.first_repeat + block.config.repeats)
    )

    def mean(rows: Sequence[Sequence[float]]) -> Floats:
        return np.asarray(np.average(np.array(rows, np.float64), axis=0, weights=weights))

    recorded = [block.flows for block in blocks if block.flows is not None]
    flows = {aggregates: FlowSoFar(*(mean([getattr(b, name) for b in blocks]) for name in Flow._fields))}
    if len(recorded) == len(blocks):
        none = {name: [0.0] * len(first.steps) for name in Flow._fields}
        flows = {
            collective: FlowSoFar(
                *(mean([own.get(collective, none)[name] for own in recorded]) for name in Flow._fields)
            )
            for collective in COLLECTIVES
            if any(collective in own for own in recorded)
        }
    return Outcome(
        nodes=first.config.nodes,
        method=method,
        runs=runs,
        steps=np.array(first.steps),
        rounds=np.array(first.rounds, np.float64),
        flows=flows,
        values=np.concatenate([np.array(block.errors) for block in blocks], axis=1),
        dimension=dimension,
    )


def standard_error(values: Floats) -> float | None:
    """Return the standard error of a mean; None for fewer than two values, or where one is infinite."""
    if values.size < 2 or not np.isfinite(values).all():
        return None
    return float(values.std(ddof=1) / math.sqrt(values.size))

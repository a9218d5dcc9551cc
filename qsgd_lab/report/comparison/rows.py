"""The rows of a comparison: each method at its budget, with a paired test against the first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.report.analysis.communication import Link
from qsgd_lab.report.analysis.statistics import compare, holm
from qsgd_lab.report.comparison.outcome import Floats, Outcome, standard_error
from qsgd_lab.theory.network import (
    allgather_seconds,
    parameter_server_seconds,
    ring_allreduce_seconds,
)
from qsgd_lab.traffic import SERVER, SUMS, TWO_PHASE

#: Bytes of a float32 coordinate.
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Budget:
    """What each method may spend; the last checkpoint within it is compared. None: no limit.

    Attributes
    ----------
    bits : float or None
        Of one node, up and down.
    seconds : float or None
        Of modelled time.
    """

    bits: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Row:
    """One method at one number of nodes.

    Attributes
    ----------
    nodes, method, steps, rounds, sent_bits, received_bits
        As in `Outcome`, at the checkpoint that is compared.
    runs : int
        How many runs the mean is over.
    mean : float
        Of the errors or accuracies; infinite where a run diverged.
    error : float or None
        The mean's standard error.
    diverged : int
        Runs that left the finite numbers, or of networks ended worse than a guess; these keep their accuracy
        in the mean.
    seconds : float
        Modelled time.
    is_within_budget : bool
        Whether any checkpoint was; where none was, the first is shown.
    speed_up : float or None
        Mean error of one node alone over this mean; `speed_up_error` is its standard error, to first order.
    p_value : float or None
        Of a two-sided paired t test against the first method at the same N, after Holm's adjustment over the
        table; None for the first, or where nothing was tested.
    difference : float or None
        Mean difference from the first method.
    """

    nodes: int
    method: str
    runs: int
    steps: int
    rounds: float
    sent_bits: float
    received_bits: float
    mean: float
    error: float | None
    diverged: int
    seconds: float
    is_within_budget: bool = True
    speed_up: float | None = None
    speed_up_error: float | None = None
    p_value: float | None = None
    difference: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; numbers that are not finite are None."""
        values = asdict(self)
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def seconds_at(outcome: Outcome, link: Link, compute: float = 0.0) -> NDArray[np.float64]:
    """Return the modelled time at each checkpoint, shape (C,): compute a step, and the collectives of rounds.

    Each collective that is used in a round is one, with its mean size.
    """
    seconds = outcome.steps * compute
    for collective, flow in outcome.flows.items():
        rounds = np.maximum(flow.rounds, 1)
        sizes = zip(flow.sent_bits / rounds / 8, flow.received_bits / rounds / 8, strict=True)
        once = [_collective(collective, outcome.nodes, float(up), float(down), link) for up, down in sizes]
        seconds = seconds + flow.rounds * np.array(once)
    return np.asarray(seconds)


def _collective(collective: str, nodes: int, message_bytes: float, down_bytes: float, link: Link) -> float:
    if nodes == 1:
        return 0.0
    if collective == SERVER:
        return parameter_server_seconds(nodes, message_bytes, down_bytes, link.latency, link.bandwidth)
    if collective == TWO_PHASE:
        return 2 * (nodes - 1) * link.latency + (message_bytes + down_bytes) / link.bandwidth
    if collective == SUMS:
        words = max(1, round(message_bytes / _FLOAT_BYTES))
        return ring_allreduce_seconds(nodes, words, link.latency, link.bandwidth)
    return allgather_seconds(nodes, message_bytes, link.latency, link.bandwidth)


def rows_of(
    outcomes: Sequence[Outcome],
    *,
    budget: Budget,
    link: Link,
    compute: float = 0.0,
    single: Floats | None = None,
) -> list[Row]:
    """Return the table's rows, method by method in the order given.

    Parameters
    ----------
    outcomes : sequence of Outcome
    budget : Budget
    link : Link
    compute : float
        Seconds of a node's step.
    single : ndarray of float64, optional
        Errors of one node alone, for speed-ups.
    """
    rows, samples = [], []
    for outcome in outcomes:
        seconds = seconds_at(outcome, link, compute)
        within = _within(outcome, seconds, budget)
        last = int(within.nonzero()[0].max()) if within.any() else 0
        values = outcome.at(last)
        finite = np.isfinite(values)
        mean = float(values.mean())
        rows.append(
            Row(
                nodes=outcome.nodes,
                method=outcome.method,
                runs=values.size,
                steps=int(outcome.steps[last]),
                rounds=float(outcome.rounds[last]),
                sent_bits=float(outcome.sent_bits[last]),
                received_bits=float(outcome.received_bits[last]),
                mean=mean,
                error=standard_error(values),
                diverged=int(outcome.diverged(last).sum()),
                seconds=float(seconds[last]),
                is_within_budget=bool(within.any()),
                **_speed_up(single, values),
            )
        )
        samples.append(dict(zip(outcome.runs, values.tolist(), strict=True)) if finite.all() else {})
    return _tested(rows, samples)


def _speed_up(single: Floats | None, values: Floats) -> dict[str, float | None]:
    if single is None or not values.mean() > 0 or not np.isfinite(values).all():
        return {}
    ratio = float(single.mean() / values.mean())
    errors = [(standard_error(sample) or 0.0) / float(sample.mean()) for sample in (single, values)]
    return {"speed_up": ratio, "speed_up_error": ratio * math.hypot(*errors)}


def _within(outcome: Outcome, seconds: Floats, budget: Budget) -> NDArray[np.bool_]:
    """Return which checkpoints are within the budget, shape (C,)."""
    within = np.ones(outcome.steps.size, bool)
    if budget.bits is not None:
        within &= outcome.bits <= budget.bits * (1 + 1e-12)
    if budget.seconds is not None:
        within &= seconds <= budget.seconds
    return within


def _tested(rows: list[Row], samples: list[dict[int, float]]) -> list[Row]:
    """Return the rows with p-values against the first method of their N."""
    first: dict[int, int] = {}
    tests: dict[int, float] = {}
    for index, row in enumerate(rows):
        reference = first.setdefault(row.nodes, index)
        if reference == index or not samples[index] or not samples[reference]:
            continue
        # In parts of the larger mean: errors near an optimum may be of any size.
        scale = max(abs(row.mean), abs(rows[reference].mean)) or 1.0
        values, others = (
            {run: value / scale for run, value in samples[i].items()} for i in (index, reference)
        )
        found = compare(values, others)
        rows[index] = replace(row, difference=None if found.difference is None else found.difference * scale)
        if found.p_different is not None:
            tests[index] = found.p_different
    for index, p_value in zip(tests, holm(list(tests.values())), strict=True):
        rows[index] = replace(rows[index], p_value=p_value)
    return rows

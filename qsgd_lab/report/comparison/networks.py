"""The outcome of trained networks: validation accuracy by epoch, and the test accuracy at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.report.analysis.communication import counted_runs, mean_bits, sent_code
from qsgd_lab.report.comparison.outcome import Floats, FlowSoFar, Outcome
from qsgd_lab.traffic import COLLECTIVES, Flow, flow_of

if TYPE_CHECKING:
    from qsgd_lab.runs.epochs import EpochRecord
    from qsgd_lab.runs.record import RunRecord


def network_outcome(
    method: str, aggregates: str, runs: Sequence[RunRecord], epochs: Sequence[Sequence[EpochRecord]]
) -> Outcome:
    """Return the outcome of the seeds of one method at one N; values are accuracies in percent.

    Traffic is what the epochs' lines say. Where those of older records say nothing, all is taken to have gone
    through one collective, evenly over the steps. What is received for it, `flow_of` says.

    Parameters
    ----------
    method : str
    aggregates : {"sums", "gathers", "two-phase", "server"}
        The collective of older records.
    runs : sequence of RunRecord
        At least one.
    epochs : sequence of sequence of EpochRecord
        Of each run. A diverged run keeps its last accuracy.
    """
    first = runs[0]
    longest = max(epochs, key=len)
    steps = np.array([epoch.step for epoch in longest], np.int64)
    rounds, flows = _recorded(steps, runs, epochs) or _even(steps, aggregates, runs)
    return Outcome(
        nodes=first.config.nodes,
        method=method,
        runs=tuple(run.config.seed for run in runs),
        steps=steps,
        rounds=rounds,
        flows=flows,
        values=np.array([_accuracies(own, steps.size) for own in epochs]).T,
        dimension=first.result["num_parameters"],
        final=np.array([100 * run.result["test_accuracy"] for run in runs]),
        astray=tuple(run.status == "diverged" for run in runs),
    )


def _recorded(
    steps: NDArray[np.int64], runs: Sequence[RunRecord], epochs: Sequence[Sequence[EpochRecord]]
) -> tuple[Floats, dict[str, FlowSoFar]] | None:
    """Return the rounds and flows that the epochs' lines say, a mean over runs; None without such lines.

    As for bits a coordinate, runs that diverged count only where there are no others.
    """
    counted = {run.config.seed for run in counted_runs(runs)}
    own = [found for run, found in zip(runs, epochs, strict=True) if run.config.seed in counted]
    rows: list[list[EpochRecord]] = [
        [e for found in own for e in found[at : at + 1] if e.step == step and e.flows is not None]
        for at, step in enumerate(steps.tolist())
    ]
    if not all(rows):
        return None

    def mean(value: Callable[[EpochRecord], float]) -> Floats:
        return np.array([float(np.mean([value(epoch) for epoch in row])) for row in rows])

    def part(collective: str, name: str) -> Floats:
        return mean(lambda epoch: getattr((epoch.flows or {}).get(collective, Flow(0, 0, 0)), name))

    used = {collective for row in rows for epoch in row for collective in epoch.flows or ()}
    return mean(lambda epoch: epoch.rounds or 0), {
        collective: FlowSoFar(*(part(collective, name) for name in Flow._fields))
        for collective in COLLECTIVES
        if collective in used
    }


def _even(
    steps: NDArray[np.int64], aggregates: str, runs: Sequence[RunRecord]
) -> tuple[Floats, dict[str, FlowSoFar]]:
    """Return rounds and flows as the steps' share of what runs sent in all, by one collective."""
    nodes, n = runs[0].config.nodes, runs[0].result["num_parameters"]
    bits = mean_bits(runs)
    code = sent_code(bits)
    coordinates = float(np.mean([_a_step(run) for run in runs]))
    sent = steps * coordinates * (bits[code] if code else 0.0)
    down = steps * float(np.mean([_down_a_step(run) for run in runs]))
    rounds = np.minimum(steps, np.round(steps * coordinates / (nodes * n) if n else 0.0 * steps))
    flow = flow_of(aggregates, nodes, rounds, sent, down)
    up, back = (np.asarray(bits, np.float64) / nodes for bits in (flow.sent_bits, flow.received_bits))
    return rounds, {aggregates: FlowSoFar(rounds, up, back)}


def _a_step(run: RunRecord) -> float:
    """Return the coordinates that all nodes sent a step."""
    return run.result["coordinates_sent"] / max(1, run.result["steps"])


def _down_a_step(run: RunRecord) -> float:
    """Return the bits that owners of shards, or a server, sent a step; older records: a model in float32."""
    down = run.result.get("down")
    if down is None:
        return float(run.result["num_parameters"] * FLOAT_BITS)
    return down["coordinates"] * down["bits"] / max(1, run.result["steps"])


def _accuracies(epochs: Sequence[EpochRecord], count: int) -> list[float]:
    found = [100 * epoch.validation_accuracy for epoch in epochs if epoch.validation_accuracy is not None]
    last = found[-1] if found else 0.0
    return [*found, *[last] * (count - len(found))]

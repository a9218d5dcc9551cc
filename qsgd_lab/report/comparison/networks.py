"""The outcome of trained networks: validation accuracy by epoch, and the test accuracy at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.report.analysis.communication import mean_bits, sent_code
from qsgd_lab.report.comparison.outcome import Floats, Outcome

if TYPE_CHECKING:
    from qsgd_lab.runs.epochs import EpochRecord
    from qsgd_lab.runs.record import RunRecord


def network_outcome(
    method: str, aggregates: str, runs: Sequence[RunRecord], epochs: Sequence[Sequence[EpochRecord]]
) -> Outcome:
    """Return the outcome of the seeds of one method at one N; values are accuracies in percent.

    Bits and exchanges of an epoch are the steps' share of the run's. Received is, for sums, as much as is
    sent, for gathers every other node's message, and from a server what it sent. In two phases a node sends
    what belongs to the other nodes' shards, and receives the means of these.

    Parameters
    ----------
    method : str
    aggregates : {"sums", "gathers", "two-phase", "server"}
    runs : sequence of RunRecord
        At least one.
    epochs : sequence of sequence of EpochRecord
        Of each run. A diverged run keeps its last accuracy.
    """
    first = runs[0]
    nodes, n = first.config.nodes, first.result["num_parameters"]
    longest = max(epochs, key=len)
    steps = np.array([epoch.step for epoch in longest], np.int64)
    bits = mean_bits(runs)
    code = sent_code(bits)
    shares = [_a_step(run) for run in runs]
    vectors = float(np.mean(shares)) / (nodes * n) if n else 0.0
    moved = (nodes - 1) / nodes if aggregates == "two-phase" else 1.0
    sent: Floats = np.asarray(moved * steps * vectors * n * (bits[code] if code else 0.0), np.float64)
    back = moved * steps * float(np.mean([_down_a_step(run) for run in runs]))
    down: dict[str, Any] = {
        "sums": sent if nodes > 1 else 0 * sent,
        "gathers": sent * (nodes - 1),
        "two-phase": back,
        "server": back,
    }
    return Outcome(
        nodes=nodes,
        method=method,
        runs=tuple(run.config.seed for run in runs),
        steps=steps,
        rounds=np.minimum(steps, np.round(steps * vectors)),
        sent_bits=sent,
        received_bits=np.asarray(down[aggregates], np.float64),
        values=np.array([_accuracies(own, steps.size) for own in epochs]).T,
        aggregates=aggregates,
        dimension=n,
        final=np.array([100 * run.result["test_accuracy"] for run in runs]),
        astray=tuple(run.status == "diverged" for run in runs),
    )


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

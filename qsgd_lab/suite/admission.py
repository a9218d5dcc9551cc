"""The admission of a task: whether it can tell methods apart, by rules that many obvious tasks fail."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.problems.comparison import ComparedMethod
from qsgd_lab.problems.problem import Problem
from qsgd_lab.problems.rate_search import RateScales, best_scale
from qsgd_lab.problems.simulate import simulate

#: Methods that all agree with synchronous SGD in the mean where nodes have one constant curvature.
AVERAGING = (
    "local-sgd(interval=32)",
    "local-sgd(schedule=growing,rounds=16)",
    "csea(ratio=32)",
    "cser-blocks(ratio=32)",
)
#: How near they must be for a task to be null, and how much worse large batches must be.
NULL, TRIVIAL = 0.01, 1.5
#: The largest frame of a message, and its largest share of a rung.
FRAME_BITS, FRAME_SHARE = 640, 0.2


def refusals(problem: Problem, nodes: int, steps: int, scales: RateScales, seed: int = 0) -> list[str]:
    """Return why a task is refused, a line a reason; an empty list: it is admitted.

    Parameters
    ----------
    problem : Problem
    nodes, steps : int
    scales : RateScales
        The search for rates.
    seed : int
        Of the noise.
    """

    def final(spec: str, scale: float) -> float:
        method = ComparedMethod.parse(spec)
        trace = simulate(
            problem,
            method.algorithm,
            method.compressor,
            nodes=nodes,
            num_steps=steps,
            repeats=range(1),
            seed=seed,
            rate_scale=scale,
        )
        error = float(trace.errors[-1, 0])
        return float("inf") if np.isnan(error) else error

    def searched(spec: str) -> dict[float, float]:
        known: dict[float, float] = {}
        while wanted := scales.next(known):
            known |= {scale: final(spec, scale) for scale in wanted}
        return known

    whole = final("synchronous", 1.0)
    others = [final(spec, 1.0) for spec in AVERAGING]
    if max(abs(other / whole - 1) for other in others) <= NULL:
        return ["null: local methods, CSEA and CSER's code end within 1 % of synchronous float32"]
    reasons = []
    dense, large = searched("synchronous"), searched("minibatch(interval=32)")
    ratio = min(large.values()) / min(dense.values())
    if ratio < TRIVIAL:
        reasons.append(f"trivial: minibatch(interval=32) is {ratio:.2f} times float32, below {TRIVIAL:g}")
    if not np.isfinite(final("synchronous", 4 * best_scale(dense))):
        reasons.append("limited by the edge: float32 diverges at 4 times its best rate")
    return reasons


def frame_refusals(dimension: int, ratios: Sequence[int]) -> list[str]:
    """Return for which rungs a message each step would be too much of a frame, but for the last rung.

    At the last one methods skip steps.

    Parameters
    ----------
    dimension : int
    ratios : sequence of int
        Compression of the rungs.
    """
    shares = {ratio: FRAME_BITS * ratio / (FLOAT_BITS * dimension) for ratio in ratios[:-1]}
    return [
        f"frame: {FRAME_BITS} bits are {share:.0%} of a message at {ratio}x"
        for ratio, share in shares.items()
        if share > FRAME_SHARE
    ]

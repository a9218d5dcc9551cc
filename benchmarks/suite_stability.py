"""How stable the benchmark's ranking is: the same search from every start, on a task with fewer coordinates.

python benchmarks/suite_stability.py [curved|kinked]

Every method runs once at each rate of the lattice of sqrt 2; searches from four starts, and plain grids of a
factor 2 and 4, then read these runs. Printed are Kendall's tau between starts, and the largest change of a
method's error.
"""

from __future__ import annotations

import itertools
import sys
from functools import cache

import numpy as np
from scipy.stats import kendalltau

from qsgd_lab.problems.benchmark import Curved, ManyKinks
from qsgd_lab.problems.comparison import ComparedMethod
from qsgd_lab.problems.rate_search import best_scale, next_scales
from qsgd_lab.problems.simulate import simulate
from qsgd_lab.suite.definition import load_suite

METHODS = (
    "minibatch(interval=32)",
    "local-sgd(interval=32)",
    "diloco(interval=32)",
    "local-sgd(schedule=growing,rounds=16)",
    "synchronous(compressor=ef(top-k(fraction=0.02)))",
    "minibatch(interval=2,compressor=ef(sign))",
    "minibatch(interval=2,compressor=eden(bits=1))",
    "qsparse-local-sgd(interval=4,compressor=top-k(fraction=0.1))",
)
SUITE = load_suite()


def main(task: str) -> None:
    """Print the figures of a task."""
    problem = {"curved": Curved, "kinked": ManyKinks}[task](8, 3, dimension=128)

    @cache
    def errors(spec: str, scale: float) -> tuple[float, float]:
        """Return the errors of a tuning and of a test repetition."""
        method = ComparedMethod.parse(spec)
        trace = simulate(
            problem,
            method.algorithm,
            method.compressor,
            nodes=8,
            num_steps=problem.num_steps,
            repeats=range(2),
            seed=3,
            rate_scale=scale,
        )
        tuning, test = np.nan_to_num(trace.errors[-1], nan=np.inf)
        return float(tuning), float(test)

    def searched(spec: str, stages: tuple[float, ...], first: list[float]) -> float:
        known: dict[float, float] = {}
        while wanted := next_scales(known, stages, first):
            known |= {scale: errors(spec, scale)[0] for scale in wanted}
        return errors(spec, best_scale(known))[1]

    for words, stages, count in (
        ("search to sqrt 2", SUITE.scales.stages, 4),
        ("grid of 2", (2.0,), 2),
        ("grid of 4", (4.0,), 4),
    ):
        starts = [
            [2 ** (offset / 2) * stages[0] ** step for step in range(-3, 4) if stages[0] ** abs(step) <= 16]
            for offset in range(count)
        ]
        found = [[searched(spec, stages, first) for spec in METHODS] for first in starts]
        taus = [kendalltau(a, b).statistic for a, b in itertools.combinations(found, 2)]
        change = np.max(np.max(found, axis=0) / np.min(found, axis=0))
        winners = {METHODS[int(np.argmin(row))] for row in found}
        sys.stdout.write(
            f"{task}, {words}: least tau {min(taus):.2f}, largest change {change:.3f}, "
            f"{len(winners)} winners\n"
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "curved")

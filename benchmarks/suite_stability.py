"""How stable the benchmark's ranking is: the stored baselines at 32x, searched from every start.

python benchmarks/suite_stability.py RUNS [TASK | BASELINE]...

RUNS is the folder of `qsgd-lab suite run`; what it lacks is run and kept. Searches from the four starts of
the lattice of sqrt 2, and plain grids of a factor 2 and 4, read these runs. Printed are the least Kendall's
tau between two starts, the largest change of a method's error, and how many winners there are; errors are
means over the tuning seeds.
"""

from __future__ import annotations

import itertools
import sys
from functools import cache
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from qsgd_lab.problems.comparison import FIRST_TUNING_REPEAT
from qsgd_lab.problems.rate_search import best_scale, next_scales
from qsgd_lab.runs.problem_store import ProblemStore
from qsgd_lab.runs.store import RunStore
from qsgd_lab.suite.cells import Runner
from qsgd_lab.suite.definition import load_suite
from qsgd_lab.suite.submission import baselines

RUNG = "32x"
SUITE = load_suite()


def main(folder: str, words: list[str]) -> None:
    """Print the figures of some tasks and baselines, by default of all."""
    runner = Runner(SUITE, ProblemStore(RunStore(Path(folder))), lambda _: None)
    known = {name: each.specs[RUNG][0] for name, each in baselines(SUITE).items() if RUNG in each.specs}
    specs = [known[word] for word in words if word in known] or list(known.values())
    tasks = [word for word in words if word not in known]
    for key in tasks or [task.key for task in SUITE.scored]:
        task = SUITE.task(key)
        repeats = range(FIRST_TUNING_REPEAT, FIRST_TUNING_REPEAT + task.tuning)

        @cache
        def error(spec: str, scale: float, task=task, repeats=repeats) -> float:
            return float(np.mean(runner.at(task, spec, scale, repeats).errors[-1]))

        for label, stages, count in (
            ("search to sqrt 2", SUITE.scales.stages, 4),
            ("grid of 2", (2.0,), 2),
            ("grid of 4", (4.0,), 4),
        ):
            starts = [_start(stages, offset) for offset in range(count)]
            scales = [[_searched(error, spec, stages, first) for spec in specs] for first in starts]
            found = [[error(spec, scale) for spec, scale in zip(specs, row, strict=True)] for row in scales]
            taus = [kendalltau(a, b).statistic for a, b in itertools.combinations(found, 2)]
            change = np.max(np.max(found, axis=0) / np.min(found, axis=0))
            winners = {int(np.argmin(row)) for row in found}
            sys.stdout.write(
                f"{key}, {len(specs)} methods, {label}: least tau {min(taus):.3f}, largest change "
                f"{change:.3f}, {len(winners)} winners\n"
            )


def _start(stages: tuple[float, ...], offset: int) -> list[float]:
    """Return the first rates: the range of the suite's search at the first stage's spacing, shifted."""
    first = (
        SUITE.scales.first
        if stages[0] == SUITE.scales.stages[0]
        else (0.0625, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16)
    )
    return [scale * 2 ** (offset / 2) for scale in first]


def _searched(error, spec: str, stages: tuple[float, ...], first: list[float]) -> float:
    known: dict[float, float] = {}
    while wanted := next_scales(known, stages, first):
        known |= {scale: error(spec, scale) for scale in wanted}
    return best_scale(known)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

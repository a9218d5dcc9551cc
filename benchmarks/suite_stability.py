"""How stable the benchmark's ranking is: the stored baselines at 32x, searched from every start.

python benchmarks/suite_stability.py RUNS [TASK | BASELINE]...

RUNS is the folder of `qsgd-lab suite run`; what it lacks is run and kept. On problems, searches from the four
starts of the lattice of sqrt 2, and plain grids of a factor 2 and 4, read these runs. On networks, the search
to a factor 2 and a grid of 4 start at both places of the lattice of 2; with the word `shifted`, the search
also starts half a step aside. Printed are the least Kendall's tau between two starts, the largest change of a
method's error, as a factor and in points, and how many winners there are; errors are means over the tuning
seeds.
"""

from __future__ import annotations

import itertools
import sys
from functools import cache
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from qsgd_lab.problems.comparison import ComparedMethod
from qsgd_lab.problems.rate_search import best_scale, next_scales
from qsgd_lab.runs.store import RunStore
from qsgd_lab.suite.cells import Runner
from qsgd_lab.suite.definition import REFERENCE, WHOLE, Task, load_suite
from qsgd_lab.suite.submission import baselines

RUNG = "32x"
SUITE = load_suite()


def main(folder: str, words: list[str]) -> None:
    """Print the figures of some tasks and baselines, by default of all that are scored."""
    runner = Runner(SUITE, RunStore(Path(folder)), lambda _: None)
    known = {name: (each.specs.get(RUNG) or each.specs[WHOLE])[0] for name, each in baselines(SUITE).items()}
    chosen = [word for word in words if word in known] or [name for name in known if name != REFERENCE]
    specs = [known[name] for name in chosen]
    tasks = [word for word in words if word not in known and word != "shifted"]
    for key in tasks or [task.key for task in SUITE.scored]:
        task = SUITE.task(key)
        comparison = runner.comparison(task)

        @cache
        def error(spec: str, scale: float, comparison=comparison) -> float:
            return float(np.mean(comparison.tuning(ComparedMethod.parse(spec), scale).metric))

        for label, stages, offsets in _searches(task, "shifted" in words):
            starts = [_start(SUITE.search(task).first, stages, offset) for offset in offsets]
            scales = [[_searched(error, spec, stages, first) for spec in specs] for first in starts]
            found = [[error(spec, scale) for spec, scale in zip(specs, row, strict=True)] for row in scales]
            taus = [kendalltau(a, b).statistic for a, b in itertools.combinations(found, 2)]
            change = np.max(np.max(found, axis=0) / np.min(found, axis=0))
            points = 100 * np.max(np.max(found, axis=0) - np.min(found, axis=0))
            winners = {int(np.argmin(row)) for row in found}
            sys.stdout.write(
                f"{key}, {len(specs)} methods, {label}, {len(starts)} starts: least tau {min(taus):.3f}, "
                f"largest change {change:.3f}"
                + (f" or {points:.3f} points" if task.is_difference else "")
                + f", {len(winners)} winners\n"
            )


def _searches(task: Task, shifted: bool) -> list[tuple[str, tuple[float, ...], tuple[int, ...]]]:
    """Return label, stages and starts, in steps of sqrt 2, of the searches and grids of a task."""
    stages = SUITE.search(task).stages
    if task.kind == "network":
        own = [("search to 2", stages, (0, 2)), ("grid of 4", (4.0,), (0, 2))]
        return [*own, ("search to 2, also half a step aside", stages, (0, 1, 2, 3))] if shifted else own
    four = (0, 1, 2, 3)
    return [("search to sqrt 2", stages, four), ("grid of 2", (2.0,), (0, 1)), ("grid of 4", (4.0,), four)]


def _start(own: tuple[float, ...], stages: tuple[float, ...], offset: int) -> list[float]:
    """Return the first rates: the range of the suite's search at the first stage's spacing, shifted."""
    first = own if stages[0] == SUITE.scales.stages[0] else (0.0625, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16)
    return [scale * 2 ** (offset / 2) for scale in first]


def _searched(error, spec: str, stages: tuple[float, ...], first: list[float]) -> float:
    known: dict[float, float] = {}
    while wanted := next_scales(known, stages, first):
        known |= {scale: error(spec, scale) for scale in wanted}
    return best_scale(known)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

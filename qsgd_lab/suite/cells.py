"""Cells of the benchmark: tuned on seeds of their own, then run once on the test seeds.

Runs are those of `qsgd_lab.problems.comparison`, or training runs, kept in the same store under their
keys: what was run before is read, and a killed command goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from qsgd_lab.errors import IntegrityError
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.problems.comparison import FIRST_TUNING_REPEAT, ComparedMethod, Comparison, Settings
from qsgd_lab.problems.problem import Problem
from qsgd_lab.problems.quadratics import UnlikeCurvatures
from qsgd_lab.problems.rate_search import RateScales, best_scale
from qsgd_lab.problems.registry import problem_entry
from qsgd_lab.problems.simulate import simulate
from qsgd_lab.runs.problem_store import ProblemStore
from qsgd_lab.runs.store import RunStore
from qsgd_lab.suite.definition import Suite, Task
from qsgd_lab.suite.measured import Measured, TaskComparison

if TYPE_CHECKING:
    from qsgd_lab.suite.network_task import Train

#: A final error this much above the start's is a divergence, as one that is not finite.
DIVERGED = 100.0
#: Relative differences of a fingerprint that rounding on another machine explains.
SAME_DATA = 1e-6


@dataclass(frozen=True)
class CellResult:
    """What one method came to on a task at a rung.

    Attributes
    ----------
    task, rung, spec : str
    tried : tuple of (float, float)
        Factors of the rate and the mean metric on tuning seeds, in the order of the factors.
    scale : float
        The factor that was chosen.
    metric : tuple of float
        Of each test seed; infinite where it diverged.
    sent, received : float
        Bits of a node in a run, in whole messages, means over test seeds.
    rounds : int
        Steps in which anything was exchanged.
    aggregates : {"sums", "gathers"}
    cpu : float
        Processor seconds of the cell, tuning included; of networks, seconds by the clock.
    keys : tuple of str
        Of the stored test runs.
    """

    task: str
    rung: str
    spec: str
    tried: tuple[tuple[float, float], ...]
    scale: float
    metric: tuple[float, ...]
    sent: float
    received: float
    rounds: int
    aggregates: str
    cpu: float
    keys: tuple[str, ...] = field(default=())

    @property
    def mean(self) -> float:
        """Mean of the metric."""
        return float(np.mean(self.metric))

    @property
    def interior(self) -> bool:
        """Whether the chosen factor is between others that were tried."""
        scales = [scale for scale, _ in self.tried]
        return min(scales) < self.scale < max(scales)


class ProblemTask:
    """Methods on a problem with a known optimum; see `TaskComparison`.

    Parameters
    ----------
    task : Task
    nodes, seed : int
        The seed is that of the data and the noise.
    scales : RateScales
    store : ProblemStore
    announce : callable
        Told in a few words what is run next.
    """

    def __init__(
        self,
        task: Task,
        nodes: int,
        seed: int,
        scales: RateScales,
        store: ProblemStore,
        announce: Callable[[str], None],
    ) -> None:
        settings = Settings(task.source, task.steps, task.tests, seed, task.split, scales, task.tuning)
        self.task, self.nodes = task, nodes
        self.comparison = Comparison(settings, store, announce)

    def tried(self, method: ComparedMethod) -> dict[float, float]:
        """Return the mean error on tuning seeds at every factor of the rate that the search tried."""
        return self.comparison.tried(method, self.nodes)

    def tuning(self, method: ComparedMethod, scale: float) -> Measured:
        """Return the final errors on the tuning seeds."""
        count = self.comparison.settings.tuning_repeats
        return self._measured(method, scale, range(FIRST_TUNING_REPEAT, FIRST_TUNING_REPEAT + count))

    def run(self, method: ComparedMethod, scale: float, repeats: range) -> Measured:
        """Return the final errors of the repetitions of these numbers."""
        found = self._measured(method, scale, repeats)
        known = problem_of(self.task, self.comparison.settings.seed, self.nodes)
        return replace(found, metric=or_diverged(found.metric, known))

    def _measured(self, method: ComparedMethod, scale: float, repeats: range) -> Measured:
        (record,) = self.comparison.run(method, self.nodes, scale, repeats)
        return Measured(
            tuple(record.errors[-1]),
            record.sent_bits[-1],
            record.received_bits[-1],
            record.rounds[-1],
            record.seconds,
            (record.config.key,),
        )


class Runner:
    """Runs cells, or reads them from the store.

    Parameters
    ----------
    suite : Suite
    store : RunStore
    announce : callable
        Told in a few words what is run next.
    train : callable, optional
        Trains networks that the store lacks; by default in this process.
    """

    def __init__(
        self, suite: Suite, store: RunStore, announce: Callable[[str], None], train: Train | None = None
    ) -> None:
        self.suite, self.store, self.announce, self.train = suite, store, announce, train

    def cell(self, task: Task, rung: str, specs: Sequence[str]) -> CellResult:
        """Return a cell; of several specs, the one that is best on tuning seeds among those within the bits.

        Parameters
        ----------
        task : Task
        rung : str
        specs : sequence of str
            One to three texts of methods.
        """
        comparison = self.comparison(task)
        candidates = []
        for spec in specs:
            method = ComparedMethod.parse(spec)
            tried = comparison.tried(method)
            scale = best_scale(tried)
            sent = comparison.tuning(method, scale).sent + last_average(method, task)
            candidates.append((sent > self.limit(task, rung), tried[scale], spec, method, tried, scale))
        # The order of the specs breaks ties, which `min` does by keeping the first.
        _, _, spec, method, tried, scale = min(candidates, key=lambda found: found[:2])
        found = comparison.run(method, scale, range(task.tests))
        extra = last_average(method, task)
        return CellResult(
            task=task.key,
            rung=rung,
            spec=spec,
            tried=tuple(sorted(tried.items())),
            scale=scale,
            metric=found.metric,
            sent=found.sent + extra,
            received=found.received + extra,
            rounds=found.rounds + (extra > 0),
            aggregates=method.compressor.make().aggregates,
            cpu=found.seconds + math.fsum(comparison.tuning(method, each).seconds for each in tried),
            keys=found.keys,
        )

    def at(self, task: Task, spec: str, scale: float, repeats: range, seed: int | None = None) -> Measured:
        """Return runs of other numbers, or of other data of a problem, at a rate that was found before."""
        return self.comparison(task, seed).run(ComparedMethod.parse(spec), scale, repeats)

    def limit(self, task: Task, rung: str) -> float:
        """Return the bits that a node may send in a run, slack included."""
        return self.suite.slack * task.allowed_bits(self.suite.ratio(task, rung))

    def comparison(self, task: Task, seed: int | None = None) -> TaskComparison:
        """Return what runs methods on a task; `seed` is that of other data of a problem."""
        scales, nodes = self.suite.search(task), self.suite.nodes
        if task.kind == "problem":
            seed = task.seed if seed is None else seed
            return ProblemTask(task, nodes, seed, scales, ProblemStore(self.store), self.announce)
        # Loaded here: what trains networks is no part of the benchmark on problems.
        from qsgd_lab.suite.network_task import NetworkTask, train_here

        train = self.train or partial(train_here, self.store)
        return NetworkTask(task, nodes, scales, self.store, train)


@dataclass(frozen=True)
class KnownProblem:
    """A task's problem, and the error where all methods begin."""

    problem: Problem
    error_at_start: float


@cache
def problem_of(task: Task, seed: int, nodes: int) -> KnownProblem:
    """Return the problem of a task; its data are made once a process."""
    problem = problem_entry(task.source).make(nodes, task.split, seed)
    return KnownProblem(problem, float(problem.error(problem.start[None])[0]))


def or_diverged(errors: Iterable[float], known: KnownProblem) -> tuple[float, ...]:
    """Return errors, infinite where the run has diverged."""
    return tuple(e if e <= DIVERGED * known.error_at_start else math.inf for e in map(float, errors))


def fingerprint(task: Task, nodes: int) -> list[float]:
    """Return numbers that depend on all data of a task: its error and its nodes' gradients at two points."""
    problem = problem_of(task, task.seed, nodes).problem
    weights = np.cos(np.arange(problem.num_coordinates))
    numbers = []
    for point in (problem.start, problem.start + weights / 8):
        gradients = problem.full_gradients(np.broadcast_to(point, (nodes, 1, point.size)))
        numbers += [float(problem.error(point[None])[0]), *map(float, gradients[:, 0] @ weights)]
    return numbers


def check_data(suite: Suite, task: Task) -> None:
    """Refuse a machine whose data of a problem are not those of the definition.

    A network's runs are held to its size when they are read.

    Raises
    ------
    IntegrityError
        In one line.
    """
    if task.kind != "problem":
        return
    found = np.array(fingerprint(task, suite.nodes))
    pinned = np.array(task.reference)
    if pinned.shape != found.shape or not np.allclose(found, pinned, rtol=SAME_DATA, atol=1e-9):
        raise IntegrityError(
            f"the data of task {task.key} are not those of {suite.name}: another version of scikit-learn or "
            "of the lab made them; install the versions of constraints.txt"
        )


def last_average(method: ComparedMethod, task: Task) -> float:
    """Return the bits of a float32 vector where nodes end with models that differ, else 0."""
    return FLOAT_BITS * task.dimension if _ends_apart(str(method.algorithm), task.steps) else 0.0


@cache
def _ends_apart(algorithm: str, steps: int) -> bool:
    """Whether an algorithm's nodes hold different models after T steps, found on a small problem."""
    method = ComparedMethod.parse(algorithm)
    if not method.algorithm.make().replicas:
        return False
    problem = UnlikeCurvatures(2, 256)
    trace = simulate(problem, method.algorithm, method.compressor, nodes=2, num_steps=steps, repeats=range(1))
    return trace.ends_apart


def verification_repeats(digest: str, count: int = 3) -> range:
    """Return the numbers of repetitions that only a submission's digest names.

    No test or tuning repetition has such a number.
    """
    first = 2 * FIRST_TUNING_REPEAT + int(digest[:8], 16) % FIRST_TUNING_REPEAT
    return range(first, first + count)


def held_out_seed(digest: str) -> int:
    """Return the seed of the data that only a submission's digest names."""
    return 1000 + int(digest[8:15], 16) % 10**6

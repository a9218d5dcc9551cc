"""A network as a task: runs of a preset, with the keys and the store of all other training runs.

Rates are chosen by the validation accuracy of the last mean model on tuning seeds; the metric is that model's
test error on the test seeds. Rates rise over a tenth of the steps and then fall linearly to zero, as the
presets say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from qsgd_lab.errors import IntegrityError, LabError
from qsgd_lab.problems.comparison import ComparedMethod
from qsgd_lab.problems.rate_search import RateScales
from qsgd_lab.report.comparison.networks import network_outcome
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.environment import collect_environment
from qsgd_lab.runs.record import RunRecord
from qsgd_lab.runs.store import RunStore
from qsgd_lab.suite.definition import Task
from qsgd_lab.suite.measured import Measured
from qsgd_lab.training.preset_table import PRESETS
from qsgd_lab.training.presets import configurations
from qsgd_lab.training.run import run_training

#: The first seed that chooses rates, as in ``qsgd-lab compare``; test seeds are counted from the task's own.
FIRST_TUNING_SEED = 1000

#: Trains what the store lacks.
Train = Callable[[Sequence[RunConfig]], None]


def train_here(store: RunStore, configs: Sequence[RunConfig]) -> None:
    """Train in this process, one after the other, what a store lacks; a killed run goes on where it was.

    Raises
    ------
    LabError
        If another process has one of the runs at the moment.
    """
    for config in configs:
        if store.record(config) is not None:
            continue
        claim = store.claim(config)
        if claim is None:
            raise LabError(f"another process has the run {config.key}; wait until it has ended")
        with claim:
            outcome = run_training(
                config,
                checkpoint=store.checkpoint_path(config),
                should_stop=lambda: False,
                progress=lambda *_: None,
            )
            environment = collect_environment(outcome.device, outcome.data_sha256)
            store.write(config, outcome, environment | outcome.device_facts)


class NetworkTask:
    """Methods on a network; see `TaskComparison`.

    Parameters
    ----------
    task : Task
    nodes : int
    scales : RateScales
    store : RunStore
    train : callable
        Given all configurations of a stage; afterwards the store has their records.
    """

    def __init__(self, task: Task, nodes: int, scales: RateScales, store: RunStore, train: Train) -> None:
        self.task, self.nodes, self.scales = task, nodes, scales
        self.store, self.train = store, train

    def tried(self, method: ComparedMethod) -> dict[float, float]:
        """Return the mean loss on tuning seeds at every factor of the rate that the search tried."""
        known: dict[float, float] = {}
        while wanted := self.scales.next(known):
            # Together, so that the runs of a stage are trained side by side.
            self.train([config for scale in wanted for config in self._tuning(method, scale)])
            known |= {scale: math.fsum(m := self.tuning(method, scale).metric) / len(m) for scale in wanted}
        return known

    def tuning(self, method: ComparedMethod, scale: float) -> Measured:
        """Return the share of the validation set that the last mean model has wrong, on the tuning seeds."""
        return self._measured(method, self._tuning(method, scale), self._validation_error)

    def run(self, method: ComparedMethod, scale: float, repeats: range) -> Measured:
        """Return the test error of the last mean model on the seeds of these numbers."""
        seeds = [self.task.seed + repeat for repeat in repeats]
        return self._measured(method, self._configs(method, scale, seeds), self._test_error)

    def _tuning(self, method: ComparedMethod, scale: float) -> list[RunConfig]:
        return self._configs(method, scale, range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + self.task.tuning))

    def _configs(self, method: ComparedMethod, scale: float, seeds: Sequence[int]) -> list[RunConfig]:
        source = self.task.source
        made = configurations(
            source,
            [next(iter(PRESETS[source].models))],
            [self.nodes],
            [str(method.compressor)],
            seeds,
            {"split": self.task.split},
            str(method.algorithm),
        )
        return [replace(each, learning_rate=each.learning_rate * scale).canonical() for each in made]

    def _measured(
        self,
        method: ComparedMethod,
        configs: Sequence[RunConfig],
        error: Callable[[RunRecord], float],
    ) -> Measured:
        self.train(configs)
        records = [record for config in configs if (record := self.store.record(config)) is not None]
        assert len(records) == len(configs), "the caller trains all"
        for record in records:
            self._check(record)
        server = method.algorithm.make().uses_server
        aggregates = "server" if server else method.compressor.make().aggregates
        epochs = [self.store.epochs(record) or () for record in records]
        outcome = network_outcome(method.label, aggregates, records, epochs)
        return Measured(
            metric=tuple(error(record) for record in records),
            sent=float(outcome.sent_bits[-1]),
            received=float(outcome.received_bits[-1]),
            rounds=int(outcome.rounds[-1]),
            seconds=math.fsum(record.timing["total_s"] for record in records),
            keys=tuple(config.key for config in configs),
        )

    def _check(self, record: RunRecord) -> None:
        """Refuse a run that is not of the task's size: the preset is then not the one of the definition."""
        found = record.result["num_parameters"], record.result["steps"]
        if found[0] != self.task.dimension or (record.status == "done" and found[1] != self.task.steps):
            raise IntegrityError(
                f"the preset {self.task.source} trains {found[0]} coordinates in {found[1]} steps, and task "
                f"{self.task.key} has {self.task.dimension} and {self.task.steps}; the preset was changed"
            )

    def _validation_error(self, record: RunRecord) -> float:
        # Infinite only where it left the finite numbers. A rate so small that nothing was learnt may also end
        # above the loss of a guess; were it infinite, the search would take no larger rate.
        epochs = self.store.epochs(record) or ()
        accuracy = epochs[-1].validation_accuracy if epochs else None
        return math.inf if accuracy is None else 1 - accuracy

    def _test_error(self, record: RunRecord) -> float:
        if record.status == "diverged":
            return math.inf
        result = record.result
        if result["best_epoch"] == result["epochs"]:
            return 1 - result["test_accuracy"]
        if "last_test_accuracy" not in result:
            raise IntegrityError(
                f"the stored run {record.key} has the test accuracy of epoch {result['best_epoch']} alone, "
                "and the last model is scored; delete its folder, and it is redone"
            )
        return 1 - result["last_test_accuracy"]

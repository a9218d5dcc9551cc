"""A run from configuration to outcome: train, choose on validation, test; stop and resume anywhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from qsgd_lab.data import Part, load_dataset
from qsgd_lab.plugins import load_from_environment
from qsgd_lab.runs.config import TWO_PHASE, RunConfig
from qsgd_lab.runs.record import Interrupted, RunOutcome, RunResult
from qsgd_lab.training.checkpoint import Arrays, Selection, load_checkpoint, save_checkpoint
from qsgd_lab.training.devices import describe, prepare, resolve_device
from qsgd_lab.training.evaluation import accuracy, accuracy_in_training_mode
from qsgd_lab.training.flaws import (
    CANDIDATES,
    TEST_SET_SELECTION,
    TRAIN_MODE_EVALUATION,
    TRAIN_MODE_VALIDATION,
)
from qsgd_lab.training.message_timing import time_message
from qsgd_lab.training.methods import check_plugins
from qsgd_lab.training.stopwatch import Stopwatch, clock_of
from qsgd_lab.training.trainer import Trainer

CHECKPOINT_EVERY_S = 20.0

#: Steps between two looks at the losses, which on a device wait for it. Divergence is noticed at these steps
#: alone, and so at the same one whenever a run is stopped and resumed.
LOSSES_EVERY = {"cpu": 1, "cuda": 32}


@dataclass
class Progress:
    """What a run knows of itself besides its arrays; JSON-ready.

    Attributes
    ----------
    step : int
        Steps taken.
    loss_sum : float
        Of the epoch's steps so far, up to the first that was not finite.
    losses_summed : int
        How many losses that are.
    recent_losses : list of float
        Of the last steps, at most a quarter of an epoch.
    finite : bool
        Whether all losses so far were.
    diverged : bool
        Whether a loss was not finite, as far as has been looked.
    best_accuracy, best_epoch
        Of the validation accuracies, the first highest.
    epochs : list of dict
        A line an epoch.
    """

    step: int = 0
    loss_sum: float = 0.0
    losses_summed: int = 0
    recent_losses: list[float] = field(default_factory=list)
    finite: bool = True
    diverged: bool = False
    best_accuracy: float = -1.0
    best_epoch: int = 0
    epochs: list[dict[str, Any]] = field(default_factory=list)


def run_training(
    config: RunConfig,
    *,
    checkpoint: Path,
    should_stop: Callable[[], bool],
    progress: Callable[[int, int, dict[str, Any]], None],
    device: str | None = None,
) -> RunOutcome:
    """Train one configuration, or go on with it from its checkpoint.

    Parameters
    ----------
    config : RunConfig
    checkpoint : Path
        Where to leave the state, now and then and when stopped.
    should_stop : callable
        Asked between steps.
    progress : callable
        Told (epochs done, epochs in all, the epoch's line) after each epoch.
    device : str, optional
        See `qsgd_lab.training.devices.resolve_device`; by default what the environment says, else the CPU.

    Returns
    -------
    RunOutcome
        A run that diverged is a result; its accuracy is that of its best-validation parameters.

    Raises
    ------
    Interrupted
        When asked to stop; the checkpoint then holds everything.
    """
    load_from_environment()
    check_plugins(config)
    place = resolve_device(device)
    prepare(place)
    run = Run(config, checkpoint, place)
    while run.has_more():
        if should_stop():
            run.save()
            raise Interrupted
        run.step()
        if run.at_end_of_epoch():
            progress(len(run.progress.epochs), config.epochs, run.progress.epochs[-1])
            run.save_now_and_then()
    return run.outcome()


class Run:
    """A run under way: its trainer, its progress, and the best parameters so far.

    Parameters
    ----------
    config : RunConfig
    checkpoint : Path
        Where the state is kept, and found.
    device : torch.device
    """

    def __init__(self, config: RunConfig, checkpoint: Path, device: torch.device) -> None:
        self.config, self.path, self.device = config, checkpoint, device
        on_host = load_dataset(config.dataset)
        self.data_sha256 = on_host.sha256
        self.dataset = on_host if device.type == "cpu" else on_host.to(device)
        self.trainer = self._make_trainer()
        self.progress = Progress()
        candidates = CANDIDATES if TEST_SET_SELECTION in config.flaws else 1
        self.best = Selection(self.trainer.model.snapshot(), candidates)
        stored = self._stored()
        self.watch = Stopwatch(self._load(*stored) if stored else None, clock_of(device))
        self._losses: list[torch.Tensor] = []
        self.saved_at = time.monotonic()

    def _make_trainer(self) -> Trainer:
        return Trainer(self.config, self.dataset, self.device)

    def _stored(self) -> tuple[Arrays, dict[str, Any]] | None:
        return load_checkpoint(self.path, self.config.key)

    def has_more(self) -> bool:
        """Whether steps remain."""
        return self.progress.step < self.trainer.num_steps and not self.progress.diverged

    def at_end_of_epoch(self) -> bool:
        """Whether the last step ended an epoch."""
        return self.progress.step % self.trainer.steps_per_epoch == 0 and not self.progress.diverged

    def step(self) -> None:
        """Take a step, and evaluate at the end of an epoch."""
        progress = self.progress
        self._losses.append(self.trainer.step(progress.step, self.watch))
        progress.step += 1
        ends_epoch = progress.step % self.trainer.steps_per_epoch == 0
        if ends_epoch or progress.step % LOSSES_EVERY[self.device.type] == 0:
            self._look_at_losses()
            progress.diverged = not progress.finite
        if self.at_end_of_epoch():
            self._end_epoch()

    def _look_at_losses(self) -> None:
        """Fetch the losses of the steps since the last look, all at once, in the order of the steps."""
        losses = torch.stack(self._losses).tolist() if self._losses else []
        self._losses.clear()
        for loss in losses:
            self.progress.finite &= math.isfinite(loss)
            if self.progress.finite:
                self.progress.loss_sum += loss
                self.progress.losses_summed += 1
        recent = self.progress.recent_losses
        recent += losses
        del recent[: -max(1, self.trainer.steps_per_epoch // 4)]
        self.watch.settle()

    def _end_epoch(self) -> None:
        progress = self.progress
        validation = self._validation_accuracy()
        mean_loss = progress.loss_sum / self.trainer.steps_per_epoch
        progress.loss_sum, progress.losses_summed = 0.0, 0
        progress.epochs.append(
            {
                "epoch": len(progress.epochs) + 1,
                "step": progress.step,
                "train_loss": mean_loss,
                "validation_accuracy": validation,
                **self._traffic_so_far(),
            }
        )
        if validation > progress.best_accuracy:
            progress.best_accuracy, progress.best_epoch = validation, len(progress.epochs)
        if self.best.wants(validation):
            self.best.keep(validation, len(progress.epochs), self.trainer.show_consensus().snapshot())

    def _validation_accuracy(self) -> float:
        self.trainer.show_consensus()
        flawed = {TRAIN_MODE_VALIDATION, TRAIN_MODE_EVALUATION} & set(self.config.flaws)
        return self._accuracy(self.dataset.validation, in_training_mode=bool(flawed))

    def _accuracy(self, part: Part, *, in_training_mode: bool) -> float:
        module, config = self.trainer.model.module, self.config
        if not in_training_mode:
            return accuracy(module, part)
        return accuracy_in_training_mode(module, part, config.global_batch, config.seed, self.progress.step)

    def is_time_to_save(self) -> bool:
        """Whether the last checkpoint is old."""
        return time.monotonic() - self.saved_at > CHECKPOINT_EVERY_S

    def save_now_and_then(self) -> None:
        """Save if the last checkpoint is old."""
        if self.is_time_to_save():
            self.save()

    def save(self) -> None:
        """Write a checkpoint."""
        self._look_at_losses()
        arrays, scalars = self.trainer.state()
        scalars |= {"progress": asdict(self.progress), "timing": self.watch.read()}
        scalars["best_ranks"] = self.best.ranks
        self._write({**arrays, **self.best.arrays()}, scalars)
        self.saved_at = time.monotonic()

    def _write(self, arrays: Arrays, scalars: dict[str, Any]) -> None:
        save_checkpoint(self.path, self.config.key, arrays, scalars)

    def _load(self, arrays: dict[str, Any], scalars: dict[str, Any]) -> dict[str, float]:
        self.best.load(arrays, scalars["best_ranks"])
        self.trainer.load(arrays, scalars)
        self.progress = Progress(**scalars["progress"])
        timing: dict[str, float] = scalars["timing"]
        return timing

    def outcome(self) -> RunOutcome:
        """Read the test set with the parameters that were best on validation.

        The last ones, which choose nothing, are tested too where they are others.
        """
        final = self.trainer.show_consensus().snapshot()
        # A flawed protocol keeps several candidates, and lets the test set choose.
        test = max(self._test_accuracy(rank) for rank in range(len(self.best.snapshots)))
        self.trainer.model.restore(self.best.snapshots[0])
        validation = self.best.ranks[0][0] if self.progress.epochs else self._validation_accuracy()
        final_loss = self.progress.epochs[-1]["train_loss"] if self.progress.epochs else math.nan
        # Worse than a uniform guess at the end of training: the run diverged though its numbers stayed
        # finite.
        astray = not fmean(self.progress.recent_losses) <= math.log(self.dataset.num_classes)
        timing = self.watch.read()
        last = None
        if not self.progress.diverged:
            self.trainer.model.restore(final)
            if self.progress.best_epoch != len(self.progress.epochs) and not self.config.flaws:
                last = self._accuracy(self.dataset.test, in_training_mode=False)
            timing |= time_message(self.trainer, max(0, self.progress.step - 1))
        return RunOutcome(
            status="diverged" if self.progress.diverged or astray else "done",
            result=self._result(test, validation, final_loss, last),
            timing=timing,
            epochs=self.progress.epochs + self._epoch_of_divergence(),
            device=str(self.device),
            device_facts=describe(self.device),
            data_sha256=self.data_sha256,
        )

    def _epoch_of_divergence(self) -> list[dict[str, Any]]:
        """Return a line for the epoch in which the run diverged: what was seen of it; none without one."""
        progress = self.progress
        if not progress.diverged:
            return []
        seen = progress.losses_summed
        return [
            {
                "epoch": len(progress.epochs) + 1,
                "step": progress.step,
                "train_loss": progress.loss_sum / seen if seen else None,
                "validation_accuracy": None,
                **self._traffic_so_far(),
            }
        ]

    def _traffic_so_far(self) -> dict[str, float]:
        """Return what an epoch's line says of the traffic; this waits for a device."""
        return self.trainer.exchange.total_traffic().fields(self.config.nodes)  # type: ignore[no-any-return]

    def _test_accuracy(self, rank: int) -> float:
        self.trainer.model.restore(self.best.snapshots[rank])
        flawed = TRAIN_MODE_EVALUATION in self.config.flaws
        return self._accuracy(self.dataset.test, in_training_mode=flawed)

    def _result(
        self, test: float, validation: float, final_loss: float, last_test: float | None
    ) -> RunResult:
        traffic = self.trainer.exchange.total_traffic()
        ledger, down = traffic.sent_in_all(), traffic.down
        reached = [e for e in self.progress.epochs if e["validation_accuracy"] >= self.config.target_accuracy]
        finite = math.isfinite(final_loss) and not self.progress.diverged
        result = RunResult(
            test_accuracy=test,
            validation_accuracy=validation,
            best_epoch=self.progress.best_epoch,
            epochs_to_target=reached[0]["epoch"] if reached else None,
            steps_to_target=reached[0]["step"] if reached else None,
            epochs=len(self.progress.epochs),
            steps=self.progress.step,
            final_train_loss=final_loss if finite else None,
            num_parameters=self.trainer.model.num_parameters,
            coordinates_sent=ledger.coordinates + ledger.raw_coordinates,
            bits_per_coordinate=ledger.bits_per_coordinate(),
            num_test=len(self.dataset.test),
        )
        if last_test is not None:
            result["last_test_accuracy"] = last_test
        if checked := ledger.checked_sizes():
            result["checked_sizes"] = checked
        if self.config.collective == TWO_PHASE or self.trainer.algorithm.uses_server:
            bits = down.bits_per_coordinate()
            result["down"] = {
                "coordinates": down.coordinates + down.raw_coordinates,
                "bits": bits.get("message", bits.get("fp32", 0.0)),
            }
        return result

"""A run from configuration to outcome: train, choose on validation, test once; stop and resume anywhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from qsgd_lab.data import load_dataset
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.record import Interrupted, RunOutcome, RunResult
from qsgd_lab.training.checkpoint import load_checkpoint, save_checkpoint
from qsgd_lab.training.evaluation import accuracy
from qsgd_lab.training.stopwatch import Stopwatch
from qsgd_lab.training.trainer import Trainer

CHECKPOINT_EVERY_S = 20.0


@dataclass
class Progress:
    """What a run knows of itself besides its arrays; JSON-ready.

    Attributes
    ----------
    step : int
        Steps taken.
    loss_sum : float
        Of the epoch's steps so far.
    recent_losses : list of float
        Of the last steps, at most a quarter of an epoch.
    diverged : bool
        Whether a loss was not finite.
    best_accuracy, best_epoch
        Of the validation accuracies, the first highest.
    epochs : list of dict
        A line an epoch.
    """

    step: int = 0
    loss_sum: float = 0.0
    recent_losses: list[float] = field(default_factory=list)
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

    Returns
    -------
    RunOutcome
        A run that diverged is a result; its accuracy is that of its best-validation parameters.

    Raises
    ------
    Interrupted
        When asked to stop; the checkpoint then holds everything.
    """
    torch.set_num_threads(1)  # results depend on the number of threads; cells run side by side instead
    run = _Run(config, checkpoint)
    while run.has_more():
        if should_stop():
            run.save()
            raise Interrupted
        run.step()
        if run.at_end_of_epoch():
            progress(len(run.progress.epochs), config.epochs, run.progress.epochs[-1])
            run.save_now_and_then()
    return run.outcome()


class _Run:
    def __init__(self, config: RunConfig, checkpoint: Path) -> None:
        self.config, self.path = config, checkpoint
        self.dataset = load_dataset(config.dataset)
        self.trainer = Trainer(config, self.dataset)
        self.progress = Progress()
        self.best = self.trainer.model.snapshot()
        stored = load_checkpoint(checkpoint, config.key)
        self.watch = Stopwatch(self._load(*stored) if stored else None)
        self.saved_at = time.monotonic()

    def has_more(self) -> bool:
        return self.progress.step < self.trainer.num_steps and not self.progress.diverged

    def at_end_of_epoch(self) -> bool:
        return self.progress.step % self.trainer.steps_per_epoch == 0 and not self.progress.diverged

    def step(self) -> None:
        loss = self.trainer.step(self.progress.step, self.watch)
        self.progress.step += 1
        self.progress.loss_sum += loss
        self.progress.recent_losses.append(loss)
        del self.progress.recent_losses[: -max(1, self.trainer.steps_per_epoch // 4)]
        self.progress.diverged = not math.isfinite(loss)
        if self.at_end_of_epoch():
            self._end_epoch()

    def _end_epoch(self) -> None:
        progress = self.progress
        validation = accuracy(self.trainer.model.module, self.dataset.validation)
        mean_loss = progress.loss_sum / self.trainer.steps_per_epoch
        progress.loss_sum = 0.0
        progress.epochs.append(
            {
                "epoch": len(progress.epochs) + 1,
                "step": progress.step,
                "train_loss": mean_loss,
                "validation_accuracy": validation,
            }
        )
        if validation > progress.best_accuracy:
            progress.best_accuracy, progress.best_epoch = validation, len(progress.epochs)
            self.best = self.trainer.model.snapshot()

    def save_now_and_then(self) -> None:
        if time.monotonic() - self.saved_at > CHECKPOINT_EVERY_S:
            self.save()

    def save(self) -> None:
        arrays, scalars = self.trainer.state()
        best = {f"best{i}": t.numpy() for i, t in enumerate(self.best)}
        scalars |= {"progress": asdict(self.progress), "timing": self.watch.read()}
        save_checkpoint(self.path, self.config.key, {**arrays, **best}, scalars)
        self.saved_at = time.monotonic()

    def _load(self, arrays: dict[str, Any], scalars: dict[str, Any]) -> dict[str, float]:
        count = len(self.best)
        self.best = [torch.from_numpy(arrays.pop(f"best{i}")) for i in range(count)]
        self.trainer.load(arrays, scalars)
        self.progress = Progress(**scalars["progress"])
        timing: dict[str, float] = scalars["timing"]
        return timing

    def outcome(self) -> RunOutcome:
        """Read the test set, once, with the parameters that were best on validation."""
        self.trainer.model.restore(self.best)
        module = self.trainer.model.module
        test = accuracy(module, self.dataset.test)
        validation = accuracy(module, self.dataset.validation)
        final_loss = self.progress.epochs[-1]["train_loss"] if self.progress.epochs else math.nan
        # Worse than a uniform guess at the end of training: the run went astray though its numbers stayed
        # finite.
        astray = not fmean(self.progress.recent_losses) <= math.log(self.dataset.num_classes)
        return RunOutcome(
            status="diverged" if self.progress.diverged or astray else "done",
            result=self._result(test, validation, final_loss),
            timing=self.watch.read(),
            epochs=self.progress.epochs,
            data_sha256=self.dataset.sha256,
        )

    def _result(self, test: float, validation: float, final_loss: float) -> RunResult:
        tally = self.trainer.algorithm.tally
        reached = [e for e in self.progress.epochs if e["validation_accuracy"] >= self.config.target_accuracy]
        finite = math.isfinite(final_loss) and not self.progress.diverged
        return RunResult(
            test_accuracy=test,
            validation_accuracy=validation,
            best_epoch=self.progress.best_epoch,
            epochs_to_target=reached[0]["epoch"] if reached else None,
            steps_to_target=reached[0]["step"] if reached else None,
            epochs=len(self.progress.epochs),
            steps=self.progress.step,
            final_train_loss=final_loss if finite else None,
            num_parameters=self.trainer.model.num_parameters,
            coordinates_sent=tally.coordinates + tally.raw_coordinates,
            bits_per_coordinate=tally.bits_per_coordinate(),
        )

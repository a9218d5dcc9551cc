"""A training run: repeatable, resumable, honest about divergence and about the test set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qsgd_lab.compressors import ErrorFeedback
from qsgd_lab.data import load_dataset
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.record import Interrupted, RunOutcome
from qsgd_lab.training import run as run_module
from qsgd_lab.training.engines.batched import NodeBatched
from qsgd_lab.training.evaluation import accuracy
from qsgd_lab.training.presets import FP32, Method, configurations
from qsgd_lab.training.run import run_training
from qsgd_lab.training.stopwatch import Stopwatch
from qsgd_lab.training.trainer import Trainer

TWO_BIT = Method(2)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep checkpoints of slow runs out of the folder that the tests are started in."""
    monkeypatch.chdir(tmp_path)


def config(
    method: Method = TWO_BIT, nodes: int = 2, seed: int = 0, epochs: int = 2, **changes: Any
) -> RunConfig:
    (cell,) = configurations("demo", ["alexnet"], [nodes], [method], [seed], {"epochs": epochs})
    return dataclasses.replace(cell, **changes)


def train(
    cell: RunConfig,
    checkpoint: Path = Path("none.npz"),
    should_stop: Callable[[], bool] = lambda: False,
) -> RunOutcome:
    return run_training(cell, checkpoint=checkpoint, should_stop=should_stop, progress=lambda *_: None)


def stop_after(steps: int) -> Callable[[], bool]:
    asked = iter(range(10**9))
    return lambda: next(asked) >= steps


@pytest.mark.parametrize("method", [FP32, TWO_BIT, Method(2, "nearest", False)], ids=str)
def test_a_run_is_a_function_of_its_configuration(method: Method) -> None:
    """Run twice, the same result and the same epochs, to the last bit."""
    first, second = uninterrupted(method), train(config(method))
    assert (first.result, first.epochs) == (second.result, second.epochs)


@cache
def uninterrupted(method: Method) -> RunOutcome:
    return train(config(method))


@pytest.mark.parametrize(
    ("method", "cuts"),
    [
        (TWO_BIT, (0,)),
        (TWO_BIT, (1,)),
        (TWO_BIT, (39,)),
        (TWO_BIT, (40, 20)),
        (TWO_BIT, (77,)),
        (FP32, (40, 20)),
    ],
    ids=str,
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, method: Method, cuts: tuple[int, ...]
) -> None:
    """Stopped anywhere, also twice, and resumed from its checkpoint, a run ends with the same bits."""
    whole = uninterrupted(method)
    path = tmp_path / "checkpoint.npz"
    for cut in cuts:
        with pytest.raises(Interrupted):
            train(config(method), path, stop_after(cut))
    resumed = train(config(method), path)
    assert (resumed.result, resumed.epochs) == (whole.result, whole.epochs)
    assert resumed.timing["total_s"] > 0


@pytest.mark.parametrize("engine", ["loop", "batched"])
def test_a_resumed_run_takes_up_every_setting(tmp_path: Path, engine: str) -> None:
    """So it is with augmentation, Nesterov momentum, a schedule of steps and weak scaling together."""
    cell = config(
        Method(2),
        augmentation="crop-flip",
        nesterov=True,
        schedule="steps",
        scaling="weak",
        engine=engine,
    )
    whole = train(cell)
    path = tmp_path / "checkpoint.npz"
    for cut in (7, 20):  # of 19 steps an epoch
        with pytest.raises(Interrupted):
            train(cell, path, stop_after(cut))
    resumed = train(cell, path)
    assert (resumed.result, resumed.epochs) == (whole.result, whole.epochs)
    assert whole.result != uninterrupted(TWO_BIT).result


def test_checkpoints_between_epochs_are_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process killed after a periodic checkpoint resumes from it and ends with the same bits."""
    monkeypatch.setattr(run_module, "CHECKPOINT_EVERY_S", 0.0)
    path = tmp_path / "checkpoint.npz"

    def die(done: int, _epochs: int, _line: dict[str, Any]) -> None:
        if done == 2:
            raise KeyboardInterrupt  # a kill, as far as the run can tell: nothing is saved after it

    cell = config(epochs=3)
    with pytest.raises(KeyboardInterrupt):
        run_training(cell, checkpoint=path, should_stop=lambda: False, progress=die)
    assert train(cell, path).result == train(cell, tmp_path / "other.npz").result


def test_nodes_see_the_same_global_batch() -> None:
    """At fp32 the agreed gradient of a step is the same at N = 1 and N = 8 but for rounding."""
    gradients = []
    for nodes in (1, 8):
        trainer = Trainer(config(FP32, nodes), load_dataset("digits"))
        trainer.step(5, Stopwatch())
        gradients.append(trainer.algorithm.mean.clone())
    assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) < 1e-5


def test_error_feedback_remembers_what_was_not_sent() -> None:
    """After each step a node's residual is all its gradients less all that it sent, and not zero."""
    with_memory = Trainer(config(nodes=2), load_dataset("digits"))
    assert isinstance(with_memory.exchange.compressor, ErrorFeedback)
    given, sent = np.zeros((2, 159_578)), np.zeros(159_578)
    for step in range(3):
        images, labels = with_memory.batch(step)
        fresh = NodeBatched(with_memory.model, torch.zeros(2, 159_578))
        fresh.compute(images, labels)
        given += fresh.gradients.numpy()
        with_memory.step(step, Stopwatch())
        sent += 2.0 * with_memory.algorithm.mean.numpy()
        residuals = with_memory.exchange.buffer
        assert residuals is not None
        assert np.abs(residuals).max(axis=1).min() > 0
        np.testing.assert_allclose(residuals.sum(0) + sent, given.sum(0), atol=1e-5)


def test_bits_are_counted_for_every_coordinate() -> None:
    """A run reports n coordinates a node and step, b + 1 bits for each at fixed width, and its norms."""
    result = train(config(nodes=4, epochs=1)).result
    assert result["coordinates_sent"] == 4 * 39 * 159_578
    assert result["bits_per_coordinate"]["fixed"] == pytest.approx(3 + 32 / 159_578)
    assert train(config(FP32, epochs=1)).result["bits_per_coordinate"] == {"fp32": 32.0}


def test_parameters_are_chosen_on_validation_and_the_test_set_is_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Test images are classified once by the first best validation epoch's parameters, and once by the last.

    Which epoch is the best depends on the processor's rounding; where it is the last, once is enough.
    """
    seen = []

    def watched(module: torch.nn.Module, part: Any) -> float:
        seen.append(part)
        return accuracy(module, part)

    monkeypatch.setattr(run_module, "accuracy", watched)
    outcome = train(config(FP32, epochs=3))
    dataset = load_dataset("digits")
    tested = [True] if outcome.result["best_epoch"] == 3 else [True, True]
    assert [part is dataset.test for part in seen] == [False, False, False, *tested]
    validation = [line["validation_accuracy"] for line in outcome.epochs]
    assert outcome.result["best_epoch"] == validation.index(max(validation)) + 1
    assert outcome.result["validation_accuracy"] == max(validation)


def test_evaluation_is_in_evaluation_mode() -> None:
    """Dropout is off while accuracy is measured, and the training mode comes back afterwards."""
    modes = []

    class Spy(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            modes.append(self.training)
            return torch.zeros(len(images), 10)

    spy = Spy()
    accuracy(spy, load_dataset("digits").validation)
    assert modes == [False]
    assert spy.training


def test_epochs_to_target_is_the_first_that_reaches_it() -> None:
    """The convergence time counts epochs from one and is None when the target was never reached."""
    outcome = train(config(FP32, epochs=3, target_accuracy=0.3))
    reached = [e["epoch"] for e in outcome.epochs if e["validation_accuracy"] >= 0.3]
    assert outcome.result["epochs_to_target"] == reached[0]
    assert outcome.result["steps_to_target"] == 39 * reached[0]
    never = train(config(FP32, epochs=1, target_accuracy=1.0)).result
    assert never["epochs_to_target"] is None
    assert never["steps_to_target"] is None


def test_a_diverged_run_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A learning rate that blows up ends as `diverged`, with an accuracy and no infinite number.

    What was seen of the epoch in which it diverged is its last line: the steps, and the mean of the losses
    that were finite; no epoch of it counts as done. Stopped in it and resumed, the run has the same line.
    """
    losses: list[float] = []
    take = Trainer.step

    def step(*arguments: Any) -> torch.Tensor:
        loss = take(*arguments)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(Trainer, "step", step)
    cell = config(FP32, learning_rate=1e6)
    outcome = train(cell)
    assert outcome.status == "diverged"
    assert 0 <= outcome.result["test_accuracy"] <= 1
    assert (outcome.result["epochs"], outcome.result["final_train_loss"]) == (0, None)
    *finite, last = losses
    assert np.isfinite(finite).all()
    assert not np.isfinite(last)
    (line,) = outcome.epochs
    assert line == {
        "epoch": 1,
        "step": len(losses),
        "train_loss": pytest.approx(np.mean(finite)),
        "validation_accuracy": None,
        "rounds": len(losses),
        "sums.rounds": len(losses),
        "sums.sent_bits": 32 * outcome.result["num_parameters"] * len(losses),
        "sums.received_bits": 32 * outcome.result["num_parameters"] * len(losses),
    }

    path = tmp_path / "checkpoint.npz"
    with pytest.raises(Interrupted):
        train(cell, path, stop_after(len(losses) - 1))
    assert train(cell, path).epochs == outcome.epochs


def test_a_run_that_learns_is_done() -> None:
    """The demo's fp32 baseline passes 90 % on the test set within four epochs."""
    outcome = train(config(FP32, nodes=1, epochs=4))
    assert outcome.status == "done"
    assert outcome.result["test_accuracy"] > 0.9


def test_times_add_up() -> None:
    """Compute, quantize and the rest are the whole, and all are positive."""
    timing = train(config(epochs=1)).timing
    parts = [timing[name] for name in ("compute_s", "quantize_s", "other_s")]
    assert min(parts) > 0
    assert sum(parts) == pytest.approx(timing["total_s"])


def test_residual_networks_train() -> None:
    """ResNet-20 with BatchNorm, two nodes and 4 bits, beats chance in its first epoch of digits."""
    (cell,) = configurations("digits-full", ["resnet20"], [2], [Method(4)], [0], {"epochs": 1})
    outcome = train(cell)
    assert outcome.status == "done"
    assert outcome.result["validation_accuracy"] > 0.3

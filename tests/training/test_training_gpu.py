"""Training on a CUDA device: engines, graphs and resuming, held against each other and against the CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from qsgd_lab.data import load_dataset
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.record import Interrupted, RunOutcome
from qsgd_lab.training.devices import prepare
from qsgd_lab.training.engines.batched import NodeBatched
from qsgd_lab.training.engines.cuda_graph import StepGraph
from qsgd_lab.training.engines.loop import NodeLoop
from qsgd_lab.training.presets import FP32, Method, configurations
from qsgd_lab.training.run import run_training
from qsgd_lab.training.stopwatch import Stopwatch
from qsgd_lab.training.trainer import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(autouse=True)
def device() -> Iterator[torch.device]:
    """Return the first CUDA device, prepared as for a run; threads are as before afterwards."""
    threads = torch.get_num_threads()
    place = torch.device("cuda", 0)
    prepare(place)
    yield place
    torch.set_num_threads(threads)


def make_config(model: str = "alexnet-quarter", method: Method = FP32, **changes: Any) -> RunConfig:
    (cell,) = configurations("demo", ["alexnet"], [4], [method], [0], {"epochs": 1})
    return dataclasses.replace(cell, model=model, **changes)


def make_trainer(device: torch.device, cell: RunConfig) -> Trainer:
    return Trainer(cell, load_dataset("digits").to(device), device)


def train(cell: RunConfig, path: Path, stop_after: int = 10**9) -> RunOutcome:
    asked = iter(range(10**9))
    return run_training(
        cell,
        checkpoint=path,
        should_stop=lambda: next(asked) >= stop_after,
        progress=lambda *_: None,
        device="cuda",
    )


@pytest.mark.parametrize("model", ["alexnet-quarter", "resnet20"])
def test_all_engines_and_the_cpu_agree(device: torch.device, model: str) -> None:
    """Loop, batched and recorded engines and the CPU's give the same gradients, to rounding."""
    trainers = {
        "loop": make_trainer(device, make_config(model, engine="loop")),
        "recorded": make_trainer(device, make_config(model, engine="batched")),
        "cpu": make_trainer(torch.device("cpu"), make_config(model, engine="loop")),
    }
    assert isinstance(trainers["loop"].engine, NodeLoop)
    for trainer in trainers.values():
        trainer.compute_gradients(*trainer.batch(0), 0)
    rows = {name: trainer.gradients.cpu() for name, trainer in trainers.items()}
    for name in ("loop", "recorded"):
        error = (rows[name] - rows["cpu"]).norm() / rows["cpu"].norm()
        assert float(error) < 1e-4, name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", ["alexnet-quarter", "resnet20"])
def test_a_graph_has_the_bits_of_what_it_records(device: torch.device, model: str, precision: str) -> None:
    """Three steps replayed equal three steps launched, bit for bit, running statistics too."""
    plain, graphed = (
        make_trainer(device, make_config(model, engine="batched", precision=precision)) for _ in range(2)
    )
    assert isinstance(graphed.engine, StepGraph)
    plain.engine = plain.engine.engine
    assert isinstance(plain.engine, NodeBatched)
    for step in range(3):
        losses = [float(trainer.step(step, Stopwatch())) for trainer in (plain, graphed)]
        assert losses[0] == losses[1]
    assert graphed.engine.failure is None
    assert torch.equal(plain.gradients, graphed.gradients)
    for ours, theirs in zip(graphed.model.snapshot(), plain.model.snapshot(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("method", [FP32, Method(4), Method(2, "nearest", False)], ids=str)
@pytest.mark.parametrize("model", ["alexnet-quarter", "resnet20"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, model: str, method: Method) -> None:
    """On one device a run repeats to the bit, also when it was stopped in between."""
    cell = make_config(model, method, augmentation="crop-flip")
    whole = train(cell, tmp_path / "none.npz")
    path = tmp_path / "checkpoint.npz"
    with pytest.raises(Interrupted):
        train(cell, path, stop_after=17)
    resumed = train(cell, path)
    assert (resumed.result, resumed.epochs) == (whole.result, whole.epochs)
    assert whole.device == "cuda:0"
    assert set(whole.device_facts) == {"device_name", "cuda", "cudnn"}


def test_quantized_training_learns(tmp_path: Path) -> None:
    """Four bits with error feedback on the device reach on digits what the demo reaches on a CPU."""
    outcome = train(make_config(method=Method(4), epochs=4), tmp_path / "none.npz")
    assert outcome.status == "done"
    assert outcome.result["test_accuracy"] > 0.9


def test_a_diverged_run_ends_early(tmp_path: Path) -> None:
    """Losses are looked at rarely, but a run that blows up still ends as diverged within its epoch."""
    outcome = train(make_config(learning_rate=1e6), tmp_path / "none.npz")
    assert outcome.status == "diverged"
    assert outcome.result["steps"] == 32

"""Devices of a run: naming them, timing on them, looking at losses rarely; tested without one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
import pytest
import torch

from qsgd_lab.cli.main import main
from qsgd_lab.cli.options import training
from qsgd_lab.data import load_dataset
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.record import Interrupted, RunOutcome
from qsgd_lab.training import run as run_module
from qsgd_lab.training.devices import describe, processes_for, resolve_device
from qsgd_lab.training.presets import FP32, Method, configurations
from qsgd_lab.training.run import run_training
from qsgd_lab.training.stopwatch import Stopwatch
from qsgd_lab.training.trainer import Trainer


def make_config(method: Method = FP32, **changes: object) -> RunConfig:
    (cell,) = configurations("demo", ["alexnet"], [2], [method], [0], {"epochs": 1})
    return dataclasses.replace(cell, **changes)


def train(cell: RunConfig, path: Path, stop_after: int = 10**9) -> RunOutcome:
    asked = iter(range(10**9))
    return run_training(
        cell, checkpoint=path, should_stop=lambda: next(asked) >= stop_after, progress=lambda *_: None
    )


@pytest.fixture
def two_cuda_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch seem to see two CUDA devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_cuda_devices")
def test_names_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` and `cuda` are the first CUDA device; a name, then the environment, then the CPU decides."""
    names = {"auto": "cuda:0", "cuda": "cuda:0", "cuda:1": "cuda:1", "cpu": "cpu"}
    assert {name: str(resolve_device(name)) for name in names} == names
    assert str(resolve_device()) == "cpu"
    monkeypatch.setenv("QSGD_LAB_DEVICE", "cuda:1")
    assert str(resolve_device()) == "cuda:1"
    assert str(resolve_device("cpu")) == "cpu"


@pytest.mark.usefixtures("two_cuda_devices")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gpu", "must be auto, cpu, cuda or cuda:N"),
        ("cuda:", "must be auto"),
        ("cuda:x", "must be"),
        ("cuda:2", "2 CUDA"),
    ],
)
def test_devices_that_are_not_there(name: str, words: str) -> None:
    """A name that means nothing, or too much, is refused with what would be right."""
    with pytest.raises(ValueError, match=words):
        resolve_device(name)


def test_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a device `auto` is the CPU, of which the record needs no more, and `cuda` is refused."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    assert describe(torch.device("cpu")) == {}
    with pytest.raises(ValueError, match=r"torch sees no CUDA devices; --device cpu needs none"):
        resolve_device("cuda")


def test_processes_that_share_a_device() -> None:
    """One process for 16 GiB, at least one and at most four."""
    gibibyte = 2**30
    assert [processes_for(size * gibibyte) for size in (6, 24, 40, 80, 141)] == [1, 1, 2, 4, 4]


class FakeClock:
    """A device that is late: its times are known only when asked for."""

    immediate = False

    def __init__(self) -> None:
        self.now, self.asked = 0, 0

    def mark(self) -> int:
        self.now += 1
        return self.now

    def seconds(self, earlier: int, later: int) -> float:
        self.asked += 1
        return float(later - earlier)


def test_a_stopwatch_does_not_wait_for_its_device() -> None:
    """Splits are added up when the watch is settled or read, and the parts are the whole."""
    clock = FakeClock()
    watch = Stopwatch({"compute_s": 10.0}, clock)
    for name in ("other_s", "compute_s", "quantize_s") * 3:
        watch.split(name)
    assert clock.asked == 0
    watch.settle()
    assert clock.asked == 9
    assert watch.read() == {"compute_s": 13.0, "quantize_s": 3.0, "other_s": 4.0, "total_s": 20.0}


@pytest.mark.parametrize("learning_rate", [0.03, 1e6])
def test_losses_looked_at_rarely_change_nothing_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learning_rate: float
) -> None:
    """Looking every 32 steps gives the same losses; divergence shows at one step, stopped or not."""
    cell = make_config(learning_rate=learning_rate)
    at_once = train(cell, tmp_path / "none.npz")
    monkeypatch.setitem(run_module.LOSSES_EVERY, "cpu", 32)
    rarely = train(cell, tmp_path / "none.npz")
    path = tmp_path / "checkpoint.npz"
    for _ in range(2):
        with pytest.raises(Interrupted):
            train(cell, path, stop_after=9)
    stopped = train(cell, path)
    assert (stopped.result, stopped.epochs) == (rarely.result, rarely.epochs)
    assert stopped.status == rarely.status == at_once.status
    if at_once.status == "done":
        assert rarely.result == at_once.result
    else:
        assert rarely.result["steps"] == 32 > at_once.result["steps"] > 1


def test_all_of_a_trainer_lies_on_its_device() -> None:
    """Parameters, buffers, gradients, mean and batches are on the device that the trainer was given."""
    device = torch.device("meta")
    trainer = Trainer(make_config(), load_dataset("digits").to(device), device)
    tensors = [*trainer.model.snapshot(), trainer.gradients, trainer.algorithm.mean, *trainer.batch(0)]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_residuals_lie_on_the_device_too() -> None:
    """With error feedback the algorithm keeps its residuals in the trainer's buffer of gradients."""
    device = torch.device("meta")
    trainer = Trainer(make_config(Method(2)), load_dataset("digits").to(device), device)
    assert trainer.exchange.buffer is trainer.gradients
    assert trainer.gradients.device.type == "meta"
    assert trainer.engine.accumulate


def test_bfloat16_is_honoured() -> None:
    """Steps in bfloat16 repeat to the bit, and differ from float32's as 8 significant bits do."""
    losses = {}
    for name, precision in (("first", "bfloat16"), ("again", "bfloat16"), ("float32", "float32")):
        cell = make_config(Method(4), precision=precision, global_batch=8)
        trainer = Trainer(cell, load_dataset("digits"))
        losses[name] = [float(trainer.step(step, Stopwatch())) for step in range(3)]
    assert losses["first"] == losses["again"]
    assert losses["first"] != losses["float32"]
    assert losses["first"] == pytest.approx(losses["float32"], rel=0.1)


@pytest.mark.usefixtures("two_cuda_devices")
def test_the_sweep_takes_the_device_to_its_workers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The device is printed on stderr, kept in the environment inside, and bounds the processes."""
    monkeypatch.setattr(training, "DRIVER_FILES", (Path("/"),))
    monkeypatch.setattr("qsgd_lab.training.devices.memory_bytes", lambda _device: 40 * 2**30)
    monkeypatch.setattr("qsgd_lab.training.devices.describe", lambda _device: {"device_name": "Made Up 1"})
    with training.sweep_device("cuda:1", cores=8) as chosen:
        assert str(resolve_device()) == "cuda:1"
    assert chosen == training.SweepDevice("cuda:1", 2)
    assert str(resolve_device()) == "cpu"
    assert capsys.readouterr().err == "Device: cuda:1, Made Up 1.\n"
    with pytest.raises(click.BadParameter, match="cuda:7"), training.sweep_device("cuda:7", cores=8):
        pass


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--device", "gpu"], "auto, cpu, cuda or cuda:N"),
        (["--device", "cuda:99"], "--device cpu needs none"),
        (["--engine", "fast"], "'batched'"),
        (["--precision", "half"], "'bfloat16'"),
    ],
    ids=str,
)
def test_requests_that_cannot_be_computed(
    args: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit 2, nothing written."""
    assert main(["reproduce", "--runs", str(tmp_path / "runs"), *args]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("Error: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert not (tmp_path / "runs").exists()

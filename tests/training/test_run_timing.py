"""What a run's time is spent on, and how long a run will take."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from qsgd_lab.data import DATASETS, load_dataset
from qsgd_lab.data.stand_in import stand_in
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.training import probe
from qsgd_lab.training.message_timing import time_message
from qsgd_lab.training.presets import FP32, Method, configurations
from qsgd_lab.training.probe import expected_seconds, probe_seconds
from qsgd_lab.training.run import run_training
from qsgd_lab.training.trainer import Trainer


def make_configs(*methods: Method, nodes: tuple[int, ...] = (2,), epochs: int = 1) -> list[RunConfig]:
    return configurations("demo", ["alexnet"], nodes, methods, [0], {"epochs": epochs})


@pytest.mark.parametrize("method", [Method(2), Method(4, "nearest", False)], ids=str)
def test_a_run_times_its_message(tmp_path: Path, method: Method) -> None:
    """Encoding and decoding a node's message are timed, beside the run's own time."""
    (cell,) = make_configs(method)
    timing = run_training(
        cell, checkpoint=tmp_path / "c.npz", should_stop=lambda: False, progress=lambda *_: None
    ).timing
    assert 0 < timing["encode_message_s"] < timing["total_s"]
    assert 0 < timing["decode_message_s"] < timing["total_s"]
    parts = [timing[name] for name in ("compute_s", "quantize_s", "other_s")]
    assert sum(parts) == pytest.approx(timing["total_s"])


def test_full_precision_has_no_message_to_time() -> None:
    """fp32 sends its gradient as it is: no figures rather than zeros."""
    (cell,) = make_configs(FP32)
    assert time_message(Trainer(cell, load_dataset("digits")), 0) == {}


@pytest.mark.parametrize("name", list(DATASETS))
def test_the_stand_in_has_the_shapes_of_the_data(name: str) -> None:
    """Noise in place of a data set has its sizes, shapes, types and normalisation, and takes no memory."""
    made_up, entry = stand_in(name), DATASETS[name]
    assert made_up.inputs == entry.inputs
    assert (len(made_up.train), len(made_up.validation), len(made_up.test)) == entry.sizes
    assert (str(made_up.train.images.dtype) == "torch.uint8") == entry.stores_bytes
    inputs, labels = made_up.train.batch(slice(0, 5))
    assert inputs.shape == (5, *entry.shape)
    assert str(inputs.dtype) == ("torch.int64" if entry.num_symbols else "torch.float32")
    assert labels.reshape(5, -1)[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert made_up.train.images.untyped_storage().nbytes() <= 3 * 32 * 32 * 4
    if entry.source is None:
        real = load_dataset(name)
        assert (len(real.train), real.inputs) == (len(made_up.train), made_up.inputs)
        assert made_up.train.images.dtype == real.train.images.dtype


def test_a_probe_needs_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a run on a data set that is not there is told, and grows with its epochs."""
    monkeypatch.setenv("QSGD_LAB_DATA", "/nowhere")
    (cell,) = make_configs(Method(4))
    cell = dataclasses.replace(cell, dataset="cifar10", model="alexnet-quarter")
    assert probe_seconds(cell) > probe_seconds(dataclasses.replace(cell, dataset="digits"))


def test_long_steps_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step would be long its time follows from small batches, within a factor of the measured one."""
    (cell,) = make_configs(Method(4))
    cell = dataclasses.replace(cell, global_batch=256)
    trainer = Trainer(cell, stand_in("digits"))
    sizes: list[int] = []
    original = probe._timed_step

    def watched(which: Trainer, size: int) -> float:
        sizes.append(size)
        return original(which, size)

    monkeypatch.setattr(probe, "_timed_step", watched)
    measured = probe._step_seconds(trainer)
    assert max(sizes) == 256
    sizes.clear()
    monkeypatch.setattr(probe, "LONGEST_STEP_S", 0.0)
    extrapolated = probe._step_seconds(trainer)
    assert max(sizes) == 2 * probe.SMALL_SHARE * 2
    assert measured / 20 < extrapolated < measured * 20


def test_node_counts_between_the_ends_are_not_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind is probed at its fewest and most nodes, quantized; the others are on the line between."""
    probed = []

    def pretend(config: RunConfig) -> float:
        probed.append((config.nodes, config.bits))
        return (10.0 + config.nodes) * config.epochs

    monkeypatch.setattr(probe, "probe_seconds", pretend)
    cells = make_configs(FP32, Method(4), nodes=(1, 2, 4, 8), epochs=3)
    said: list[str] = []
    seconds = expected_seconds(cells, said.append)
    assert probed == [(1, 4), (8, 4)]
    assert said == ["alexnet-quarter, N=1", "alexnet-quarter, N=8"]
    assert seconds == pytest.approx([(10 + cell.nodes) * 3 for cell in cells])
    probed.clear()
    assert expected_seconds(make_configs(FP32, nodes=(4,))) == [14.0]
    assert probed == [(4, 32)]

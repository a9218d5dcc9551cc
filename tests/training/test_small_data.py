"""Training on sequences and on a user's vectors, whole: from the command to the table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from qsgd_lab.cli.main import main
from qsgd_lab.data import registry
from qsgd_lab.data.array_file import _read
from qsgd_lab.data.registry import load_dataset
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.training.evaluation import accuracy
from qsgd_lab.training.presets import PRESETS, configurations
from qsgd_lab.training.stopwatch import Stopwatch
from qsgd_lab.training.trainer import Trainer


@pytest.fixture(autouse=True)
def fresh_caches() -> Iterator[None]:
    """Forget data sets: those of one name differ between tests."""
    yield
    registry.load_dataset.cache_clear()
    _read.cache_clear()


def lstm_config(**changes) -> RunConfig:
    """Return a cell of the preset `brackets`."""
    preset = PRESETS["brackets"]
    (config,) = configurations("brackets", ["lstm"], [2], preset.methods[3:4], [0], {})
    return dataclasses.replace(config, **changes)


def test_an_lstm_learns_and_is_resumed_bit_for_bit():
    """The loss of ten steps falls; a trainer that goes on from a state has the same parameters."""
    dataset = load_dataset("brackets")
    first = Trainer(lstm_config(warmup=0.0), dataset)
    losses = [float(first.step(step, Stopwatch())) for step in range(10)]
    assert losses[-1] < losses[0] - 0.02
    second = Trainer(lstm_config(warmup=0.0), dataset)
    second.load(*first.state())
    for trainer in (first, second):
        trainer.step(10, Stopwatch())
    assert torch.equal(first.model.parameters, second.model.parameters)
    with pytest.raises(ValueError, match="cannot be split by node"):
        Trainer(lstm_config(engine="batched"), dataset)


def test_accuracy_counts_labels_not_strings():
    """A network that always names class 8 is right where no bracket is open."""

    class Always(torch.nn.Module):
        def forward(self, symbols):
            return torch.eye(9)[8][None, :, None].expand(len(symbols), 9, symbols.shape[1])

    part = load_dataset("brackets").validation
    assert accuracy(Always(), part) == pytest.approx(float((part.labels == 8).double().mean()))


def test_versions_are_in_the_key():
    """Data set and network have versions; another version is another key; the digits' runs have none."""
    config = lstm_config()
    assert config.versions == ("brackets=1", "lstm-128=1")
    assert dataclasses.replace(config, versions=("brackets=2", "lstm-128=1")).key != config.key
    assert RunConfig.from_dict(config.to_dict()) == config
    (old,) = configurations("demo", ["alexnet"], [1], PRESETS["demo"].methods[:1], [0], {})
    assert old.versions == ()
    assert "versions" not in old.to_dict()


@pytest.mark.usefixtures("forked_workers")
def test_own_vectors_from_a_file_to_the_table(tmp_path, monkeypatch, capsys):
    """2,000 vectors in 3 classes: trained, tabulated and plotted from an empty folder, with no code."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 2000)
    np.savez("flowers.npz", x=4 * np.eye(3)[y] @ rng.normal(size=(3, 20)) + rng.normal(size=(2000, 20)), y=y)
    command = ["reproduce", "--data", "flowers.npz", "--nodes", "1", "--bits", "2", "--seeds", "0..1"]
    assert main([*command, "--epochs", "2", "--jobs", "1", "--format", "json"]) == 0
    table = capsys.readouterr()
    assert "flowers.npz, 1440 inputs for training" in table.err
    cells = json.loads(table.out)
    assert "flowers.npz" in table.out
    assert main(["table", "--format", "text"]) == 0
    assert "flowers.npz" in capsys.readouterr().out
    assert main(["plot", "-o", "figures"]) == 0
    assert len(list((tmp_path / "figures").iterdir())) == 4
    assert cells
    record = json.loads(next((tmp_path / "runs").glob("*/run.json")).read_text())
    assert record["config"]["plugins"][0].startswith("flowers=flowers.npz sha256:")
    assert record["result"]["test_accuracy"] > 0.8


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--data", "absent.npz"], 3, "absent.npz"),
        (["--data", "notes.txt"], 2, "an .npz file"),
        (["--data", "text.npz"], 2, "not a .npz file"),
        (["--data", "flowers.npz", "--dataset", "digits"], 2, "give one"),
        (["--data", "flowers.npz", "--model", "lstm"], 2, "lstm"),
        (["--preset", "brackets", "--model", "alexnet"], 2, "lstm"),
    ],
)
def test_bad_data_is_one_line(tmp_path, monkeypatch, capsys, arguments, code, words):
    """Nothing is trained, and no folder is left behind."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.npz").write_text("no archive")
    np.savez("flowers.npz", x=np.zeros((50, 3)), y=np.arange(50) % 2)
    assert main(["reproduce", *arguments, "--nodes", "1"]) == code
    error = capsys.readouterr().err
    assert words in error
    assert len([line for line in error.splitlines() if line.startswith("Error")]) == 1
    assert not (tmp_path / "runs").exists()

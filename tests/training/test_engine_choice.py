"""Which engine a run takes: what is asked for, and under `auto` what the measurements say."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from qsgd_lab.data import load_dataset
from qsgd_lab.inputs import Inputs
from qsgd_lab.models import MODELS
from qsgd_lab.training.engines.batched import NodeBatched
from qsgd_lab.training.engines.choose import check_engine, faster_engine, make_engine
from qsgd_lab.training.engines.convolution import product_is_faster
from qsgd_lab.training.engines.loop import NodeLoop
from qsgd_lab.training.flat_model import FlatModel
from qsgd_lab.training.presets import Method, configurations
from qsgd_lab.training.stopwatch import Stopwatch
from qsgd_lab.training.trainer import Trainer

INPUTS = Inputs((3, 32, 32), 10)
#: (network, global batch) -> the engines at N = 1, 2, 4, 8: those of the measurements in `faster_engine`.
MEASURED = {
    ("alexnet", 32): "BBBB",
    ("alexnet", 128): "LBBB",
    ("alexnet-quarter", 32): "LBBB",
    ("alexnet-quarter", 128): "LBBB",
    ("resnet20", 32): "LLLL",
    ("resnet20", 128): "LLLL",
    ("resnet110", 32): "LLLL",
    ("resnet110", 128): "LLLL",
    ("resnet18", 32): "LLBB",
    ("resnet18", 128): "LLLL",
}


def make_trainer(engine: str) -> Trainer:
    (cell,) = configurations("demo", ["alexnet"], [2], [Method(4)], [0], {"epochs": 1})
    return Trainer(dataclasses.replace(cell, engine=engine), load_dataset("digits"))


@pytest.mark.parametrize(("name", "batch"), MEASURED, ids=str)
def test_auto_takes_what_was_measured_to_be_faster(name: str, batch: int) -> None:
    """On a CPU the rule gives the faster engine of the table, and leaves the network as it was."""
    model = FlatModel(MODELS[name]().train())
    before = model.snapshot()
    chosen = [faster_engine(model, nodes, batch, torch.device("cpu"), INPUTS) for nodes in (1, 2, 4, 8)]
    assert "".join(engine[0].upper() for engine in chosen) == MEASURED[name, batch]
    assert all(torch.equal(a, b) for a, b in zip(before, model.snapshot(), strict=True))
    assert model.module.training


def test_a_run_takes_the_engine_that_it_names() -> None:
    """`RunConfig.engine` is honoured, and both engines train alike but for rounding."""
    loop, batched = make_trainer("loop"), make_trainer("batched")
    assert isinstance(loop.engine, NodeLoop)
    assert isinstance(batched.engine, NodeBatched)
    losses = [float(trainer.step(0, Stopwatch())) for trainer in (loop, batched)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_the_batched_engine_is_refused_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network with noise of its own has no batched engine: an error names it, and `auto` loops."""

    def noisy() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(3072, 10))

    monkeypatch.setitem(MODELS, "noisy", noisy)
    with pytest.raises(ValueError, match="cannot split noisy by node; use --engine loop or auto"):
        check_engine("batched", "noisy", INPUTS)
    check_engine("loop", "noisy", INPUTS)
    for name in MODELS:
        if name not in ("noisy", "lstm-128"):  # an LSTM takes no images
            check_engine("batched", name, INPUTS)
    model = FlatModel(noisy())
    rows = torch.zeros(2, model.num_parameters)
    assert isinstance(make_engine(model, rows, 8, inputs=INPUTS), NodeLoop)
    with pytest.raises(ValueError, match="use NodeLoop"):
        make_engine(model, rows, 8, inputs=INPUTS, engine="batched")


def test_products_serve_alexnet_and_not_the_residual_networks() -> None:
    """The faster way is taken where it was measured to be: 2x2 positions under many channels."""
    assert product_is_faster(torch.empty(128, 256, 2, 2), 8)
    assert not product_is_faster(torch.empty(128, 192, 4, 4), 8)
    assert not product_is_faster(torch.empty(32, 64, 8, 8), 8)
    assert not product_is_faster(torch.empty(128, 256, 2, 2, dtype=torch.bfloat16), 8)
    assert not product_is_faster(torch.empty(128, 256, 2, 2, device="meta"), 8)

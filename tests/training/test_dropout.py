"""Dropout keyed by seed, step and layer: the same for an image in every engine and at every N."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from qsgd_lab.data import load_dataset
from qsgd_lab.models.dropout import KeyedDropout, open_dropout_streams
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.stream import Purpose
from qsgd_lab.training.engines.batched import NodeBatched
from qsgd_lab.training.engines.loop import NodeLoop
from qsgd_lab.training.presets import FP32, configurations
from qsgd_lab.training.stopwatch import Stopwatch
from qsgd_lab.training.trainer import Trainer


def kept(rows: int, seed: int = 0, index: int = 0, purpose: Purpose = Purpose.DROPOUT) -> torch.Tensor:
    layer = KeyedDropout(0.25)
    open_dropout_streams(layer, seed, index, purpose)
    return torch.as_tensor(layer(torch.ones(rows, 500)))


def test_a_share_is_zeroed_and_the_mean_kept() -> None:
    """A quarter becomes 0, within 4.5 standard errors, and the rest is scaled by 4/3."""
    values = kept(40)
    assert values.unique().tolist() == pytest.approx([0, 4 / 3])
    error = math.sqrt(0.25 * 0.75 / values.numel())
    assert abs(float((values == 0).double().mean()) - 0.25) < 4.5 * error


def test_nodes_in_turn_drop_what_all_at_once_drop() -> None:
    """Rows come from one stream, in whatever pieces they are asked for."""
    layer = KeyedDropout(0.25)
    open_dropout_streams(layer, 0, 0)
    pieces = [layer(torch.ones(rows, 500)) for rows in (1, 7, 32)]
    assert torch.equal(torch.cat(pieces), kept(40))


def test_streams_differ_by_seed_step_purpose_and_layer() -> None:
    """No two of them drop the same, and the same key drops the same."""
    variants = [kept(4), kept(4, seed=1), kept(4, index=1), kept(4, purpose=Purpose.DROPOUT_IN_EVALUATION)]
    two = nn.ModuleList([KeyedDropout(0.25), KeyedDropout(0.25)])
    open_dropout_streams(two, 0, 0)
    first, second = (layer(torch.ones(4, 500)) for layer in two)
    assert torch.equal(first, variants[0])
    distinct = [*variants, second]
    assert all(not torch.equal(a, b) for i, a in enumerate(distinct) for b in distinct[:i])


def test_evaluation_drops_nothing() -> None:
    """In evaluation mode, and with a share of 0, activations pass as they are, and no stream is needed."""
    ones = torch.ones(3, 5)
    assert torch.equal(KeyedDropout(0.5).eval()(ones), ones)
    assert torch.equal(KeyedDropout(0.0)(ones), ones)


def test_training_without_a_stream_is_an_error() -> None:
    """Numbers never come from a global generator unasked; and a share of 1 would leave nothing."""
    with pytest.raises(RuntimeError, match="open_dropout_streams"):
        KeyedDropout()(torch.ones(1, 2))
    with pytest.raises(ValueError, match="below 1"):
        KeyedDropout(1.0)


def config(nodes: int, engine: str) -> RunConfig:
    (cell,) = configurations("digits-report", ["alexnet-bn"], [nodes], [FP32], [0], {})
    return dataclasses.replace(cell, engine=engine)


def test_engines_drop_alike() -> None:
    """With BatchNorm and dropout, batched and loop agree to a few units in the last place."""
    gradients = []
    for engine, kind in (("loop", NodeLoop), ("batched", NodeBatched)):
        trainer = Trainer(config(4, engine), load_dataset("digits"))
        assert isinstance(trainer.engine, kind)
        trainer.step(3, Stopwatch())
        gradients.append(trainer.gradients.clone())
    scale = float(gradients[0].abs().max())
    assert float((gradients[0] - gradients[1]).abs().max()) <= 1e-6 * scale


def test_a_step_repeats_itself() -> None:
    """The gradients of a step do not depend on the steps that were taken before with the same parameters."""
    trainer = Trainer(config(2, "loop"), load_dataset("digits"))
    images, labels = trainer.batch(5)
    found = []
    for _ in range(2):
        trainer.compute_gradients(images, labels, 5)
        found.append(trainer.gradients.clone())
        trainer.compute_gradients(images, labels, 6)
    assert torch.equal(*found)

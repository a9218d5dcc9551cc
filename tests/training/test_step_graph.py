"""A step recorded once and replayed; a recorder that keeps the function replaces CUDA."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from qsgd_lab.models import MODELS
from qsgd_lab.models.initialisation import initialise
from qsgd_lab.training.engines.batched import NodeBatched
from qsgd_lab.training.engines.cuda_graph import StepGraph
from qsgd_lab.training.flat_model import FlatModel

Compute = Callable[[], torch.Tensor]


def make_engine(accumulate: bool = False) -> NodeBatched:
    module = MODELS["resnet20"]()
    initialise(module, 0)
    model = FlatModel(module.train())
    return NodeBatched(model, torch.full((2, model.num_parameters), 0.5), accumulate=accumulate)


def make_batches(count: int, size: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(size, 3, 32, 32, generator=generator), torch.randint(10, (size,), generator=generator))
        for _ in range(count)
    ]


class Recorder:
    """Calls the function as often as recording a graph does, and replays by calling it."""

    def __init__(self) -> None:
        self.replays = 0

    def __call__(self, compute: Compute) -> Compute:
        for _ in range(4):
            output = compute()

        def replay() -> torch.Tensor:
            self.replays += 1
            output.copy_(compute())
            return output

        return replay


def refuse(_compute: Compute) -> Compute:
    raise RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.parametrize("accumulate", [False, True])
def test_a_recorded_engine_computes_what_the_engine_does(accumulate: bool) -> None:
    """Gradients, losses and running statistics of several steps are the engine's own, bit for bit."""
    recorder = Recorder()
    plain, graphed = make_engine(accumulate), StepGraph(make_engine(accumulate), recorder)
    losses = []
    for images, labels in make_batches(3):
        losses.append((plain.compute(images, labels), graphed.compute(images, labels)))
    assert recorder.replays == 3
    assert all(torch.equal(*pair) for pair in losses), "a later step must not overwrite an earlier loss"
    assert torch.equal(plain.gradients, graphed.gradients)
    for ours, theirs in zip(graphed.model.module.buffers(), plain.model.module.buffers(), strict=True):
        assert torch.equal(ours, theirs)


def test_other_shapes_are_computed_without_the_graph() -> None:
    """A batch of another size than the recorded one goes to the engine, and the graph stays for the rest."""
    recorder = Recorder()
    plain, graphed = make_engine(), StepGraph(make_engine(), recorder)
    batches = [*make_batches(1), *make_batches(1, size=6), *make_batches(1)]
    for images, labels in batches:
        assert torch.equal(plain.compute(images, labels), graphed.compute(images, labels))
    assert recorder.replays == 2


def test_what_cannot_be_recorded_runs_without() -> None:
    """A recording that fails leaves no trace in the results, and says why."""
    plain, graphed = make_engine(accumulate=True), StepGraph(make_engine(accumulate=True), refuse)
    for images, labels in make_batches(2):
        assert torch.equal(plain.compute(images, labels), graphed.compute(images, labels))
    assert torch.equal(plain.gradients, graphed.gradients)
    assert graphed.failure == "operation not permitted when stream is capturing"

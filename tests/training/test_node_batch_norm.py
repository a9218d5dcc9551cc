"""BatchNorm by node: what each node normalises with, and what all of them keep."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from qsgd_lab.training.devices import Precision
from qsgd_lab.training.engines.batch_norm import NodeBatchNorm, Running, fold, unfold
from qsgd_lab.training.engines.batched import NodeBatched, supports
from qsgd_lab.training.engines.loop import NodeLoop
from qsgd_lab.training.engines.slots import NodeSlots
from qsgd_lab.training.flat_model import FlatModel
from qsgd_lab.training.ranks import update_running_statistics


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute as a run does: with several threads, sums depend on how the library parts the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(size, 3, 32, 32, generator=generator)
    return images, torch.randint(0, 10, (size,), generator=generator)


@pytest.mark.parametrize("nodes", [1, 2, 4])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_batch_norms_keep_what_the_loop_keeps(nodes: int, precision: str) -> None:
    """Without convolutions, whose bits depend on the size of a batch, whole states are equal at every N."""
    states = []
    for kind in (NodeLoop, NodeBatched):
        torch.manual_seed(0)
        layers = nn.BatchNorm2d(3, momentum=0.3), nn.ReLU(), nn.BatchNorm2d(3)
        model = FlatModel(nn.Sequential(*layers, nn.Flatten(), nn.Linear(3072, 10)))
        engine = kind(model, torch.zeros(nodes, model.num_parameters), precision=Precision(precision))
        images, labels = make_batch(16)
        for step in range(3):
            engine.compute(images + step, labels)
        states.append(list(model.module.buffers()))
    assert states[0][2] == 3 * nodes
    assert all(torch.equal(loop, batched) for loop, batched in zip(*states, strict=True))


def test_a_batch_norm_in_two_places_is_left_to_the_loop() -> None:
    """What it keeps would depend on which comes first, a node's second place or the second node."""
    layer = nn.BatchNorm2d(3)
    assert supports(nn.Sequential(layer, nn.ReLU(), nn.BatchNorm2d(3)))
    assert not supports(nn.Sequential(layer, nn.ReLU(), layer))
    assert not supports(nn.Sequential(nn.Sequential(layer), nn.ReLU(), layer))


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_batch_norm_by_node_is_batch_norm_of_each_share(nodes: int) -> None:
    """Output and all three gradients equal those of N ordinary BatchNorms on the shares, bit for bit."""
    torch.manual_seed(0)
    images = torch.randn(15, 3, 4, 4) if nodes != 2 else torch.randn(14, 3, 4, 4)
    shares = [share.clone().requires_grad_() for share in images.chunk(nodes)]
    layer = nn.BatchNorm2d(3)
    nn.init.uniform_(layer.weight)
    upstream = torch.randn_like(images)
    outputs, weights, biases = [], [], []
    for share, gradient in zip(shares, upstream.chunk(nodes), strict=True):
        layer.zero_grad()
        outputs.append(layer(share))
        outputs[-1].backward(gradient)
        weights.append(layer.weight.grad.clone())
        biases.append(layer.bias.grad.clone())

    twin = nn.BatchNorm2d(3)
    whole = images.clone().requires_grad_()
    rows = torch.zeros(nodes, 6)
    slots = NodeSlots(FlatModel(layer), rows)
    slots.open()
    twin.num_batches_tracked += 1  # as the module counts before it calls the function
    running = Running(twin.running_mean, twin.running_var, twin.num_batches_tracked)
    affine = layer.weight.detach().repeat(nodes), layer.bias.detach().repeat(nodes)
    output = NodeBatchNorm.apply(whole, layer.weight, layer.bias, affine, running, (0.1, 1e-5), slots)
    output.backward(upstream)
    slots.close()
    assert torch.equal(output, torch.cat(outputs))
    assert torch.equal(whole.grad, torch.cat([share.grad for share in shares]))
    assert torch.equal(rows, torch.cat([torch.stack(weights), torch.stack(biases)], dim=1))
    for name, buffer in layer.named_buffers():
        assert torch.equal(getattr(twin, name), buffer)


@given(st.integers(1, 3), st.integers(0, 2**16), st.sampled_from([0.1, 0.3, 0.01, 1.0]))
def test_ranks_update_running_statistics_as_the_layers_do(nodes: int, seed: int, momentum: float) -> None:
    """From each batch's statistics ranks come to the running ones of a layer that has seen the batches."""
    random = torch.Generator().manual_seed(seed)
    layer, one = nn.BatchNorm2d(5, momentum=momentum), nn.BatchNorm2d(5, momentum=1.0)
    running = [layer.running_mean.clone(), layer.running_var.clone()]
    batches = [torch.randn(4, 5, 3, 3, generator=random) * 3 + 1 for _ in range(nodes)]
    statistics = []
    for images in batches:
        layer(images)
        one(images)
        statistics.append((one.running_mean.clone(), one.running_var.clone()))
    shared = [torch.stack(part) for part in zip(*statistics, strict=True)]
    update_running_statistics(running, shared, momentum)
    assert torch.equal(running[0], layer.running_mean)
    assert torch.equal(running[1], layer.running_var)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5))
def test_folding_nodes_into_channels_is_undone(nodes: int, share: int, channels: int) -> None:
    """Unfold inverts fold, and node i's channel c is channel i C + c of the folded images."""
    images = torch.arange(nodes * share * channels * 4.0).view(nodes * share, channels, 2, 2)
    folded = fold(images, nodes)
    assert folded.shape == (share, nodes * channels, 2, 2)
    assert torch.equal(unfold(folded, nodes), images)
    last = folded[:, (nodes - 1) * channels]
    assert torch.equal(last, images[(nodes - 1) * share :, 0])


def test_folding_keeps_channels_last() -> None:
    """Images with the channels last come out of fold and unfold so, with the same values."""
    images = torch.randn(6, 4, 3, 3)
    last = images.contiguous(memory_format=torch.channels_last)
    folded = fold(last, 2)
    assert folded.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(folded, fold(images, 2))
    assert unfold(folded, 2).is_contiguous(memory_format=torch.channels_last)

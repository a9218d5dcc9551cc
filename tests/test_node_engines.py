"""Per-node gradients: the loop against autograd written out, the batched engine against the loop."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from qsgd_lab.models import MODELS
from qsgd_lab.models.initialisation import initialise
from qsgd_lab.training.flat_model import FlatModel
from qsgd_lab.training.node_batched import NodeBatched, supports
from qsgd_lab.training.node_loop import NodeLoop


def make_model(seed: int = 0) -> FlatModel:
    module = MODELS["alexnet-quarter"]()
    initialise(module, seed)
    return FlatModel(module)


def make_batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(size, 3, 32, 32, generator=generator)
    return images, torch.randint(0, 10, (size,), generator=generator)


def naive_gradients(model: FlatModel, images: torch.Tensor, labels: torch.Tensor, nodes: int) -> torch.Tensor:
    """Return the gradients by torch.autograd.grad on slices, shape (N, n)."""
    share = len(labels) // nodes
    rows = []
    for node in range(nodes):
        part = slice(node * share, (node + 1) * share)
        loss = functional.cross_entropy(model.module(images[part]), labels[part])
        rows.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, model.tensors)]))
    return torch.stack(rows)


@pytest.mark.parametrize("nodes", [1, 2, 8])
def test_loop_is_autograd_on_each_share(nodes: int) -> None:
    """Row i is the gradient of the mean loss of share i, bit for bit, also at the second call."""
    model, (images, labels) = make_model(), make_batch(16)
    engine = NodeLoop(model, nodes)
    for _ in range(2):
        losses = engine.compute(images, labels)
        assert torch.equal(engine.gradients, naive_gradients(model, images, labels, nodes))
    assert losses.shape == (nodes,)


@pytest.mark.parametrize("nodes", [1, 2, 4, 8])
def test_batched_engine_equals_the_loop(nodes: int) -> None:
    """One pass over the global batch gives every node's gradient, to a few units in the last place."""
    model, (images, labels) = make_model(), make_batch(32)
    loop, batched = NodeLoop(model, nodes), NodeBatched(model, nodes)
    loop_losses, batched_losses = loop.compute(images, labels), batched.compute(images, labels)
    for ours, reference in zip(batched.gradients, loop.gradients, strict=True):
        assert float((ours - reference).norm() / reference.norm()) < 1e-6
    assert torch.allclose(loop_losses, batched_losses, rtol=1e-6)


def test_nodes_average_to_the_gradient_of_the_whole_batch() -> None:
    """With equal shares the mean of the nodes' gradients is the global gradient: N changes nothing else."""
    model, (images, labels) = make_model(), make_batch(32)
    split, whole = NodeLoop(model, 8), NodeLoop(model, 1)
    split.compute(images, labels)
    whole.compute(images, labels)
    difference = split.gradients.mean(0) - whole.gradients[0]
    assert float(difference.norm() / whole.gradients.norm()) < 1e-6


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        nn.LayerNorm(4),
    ],
    ids=lambda layer: str(layer),
)
def test_batched_engine_refuses_what_it_cannot_split(layer: nn.Module) -> None:
    """A layer that mixes images, draws noise or is not known is refused, never computed wrongly."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), layer)
    assert not supports(network)
    with pytest.raises(ValueError, match="NodeLoop"):
        NodeBatched(FlatModel(network), 2)


def test_convolution_without_bias_is_split_too() -> None:
    """A missing bias has no slot and needs none."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 10, bias=False)
    )
    model, (images, labels) = FlatModel(network), make_batch(8)
    loop, batched = NodeLoop(model, 4), NodeBatched(model, 4)
    loop.compute(images, labels)
    batched.compute(images, labels)
    assert float((loop.gradients - batched.gradients).norm() / loop.gradients.norm()) < 1e-6


def test_flat_parameters_are_the_networks_own() -> None:
    """Writing the flat buffer changes the network, and a snapshot brings it back."""
    model, (images, _) = make_model(), make_batch(4)
    before, snapshot = model.module(images), model.snapshot()
    model.parameters.mul_(2)
    assert not torch.equal(model.module(images), before)
    model.restore(snapshot)
    assert torch.equal(model.module(images), before)

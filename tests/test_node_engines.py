"""Per-node gradients: the loop against autograd written out, the batched engine against the loop."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from qsgd_lab.models import MODELS
from qsgd_lab.models.initialisation import initialise
from qsgd_lab.training.flat_model import FlatModel
from qsgd_lab.training.node_batch_norm import NodeBatchNorm, fold, unfold
from qsgd_lab.training.node_batched import NodeBatched, supports
from qsgd_lab.training.node_loop import NodeLoop


def make_model(name: str = "alexnet-quarter") -> FlatModel:
    module = MODELS[name]()
    initialise(module, 0)
    return FlatModel(module.train())


def engine_of(
    kind: type[NodeLoop | NodeBatched], model: FlatModel, nodes: int, *, accumulate: bool = False
) -> NodeLoop | NodeBatched:
    return kind(model, torch.zeros(nodes, model.num_parameters), accumulate=accumulate)


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
    engine = engine_of(NodeLoop, model, nodes)
    for _ in range(2):
        losses = engine.compute(images, labels)
        assert torch.equal(engine.gradients, naive_gradients(model, images, labels, nodes))
    assert losses.shape == (nodes,)


@pytest.mark.parametrize("nodes", [1, 2, 4, 8])
def test_batched_engine_equals_the_loop(nodes: int) -> None:
    """One pass over the global batch gives every node's gradient, to a few units in the last place."""
    model, (images, labels) = make_model(), make_batch(32)
    loop, batched = engine_of(NodeLoop, model, nodes), engine_of(NodeBatched, model, nodes)
    loop_losses, batched_losses = loop.compute(images, labels), batched.compute(images, labels)
    for ours, reference in zip(batched.gradients, loop.gradients, strict=True):
        assert float((ours - reference).norm() / reference.norm()) < 1e-6
    assert torch.allclose(loop_losses, batched_losses, rtol=1e-6)


@pytest.mark.parametrize("nodes", [1, 4])
def test_batched_engine_splits_residual_networks(nodes: int) -> None:
    """With BatchNorm, too, both engines agree, at the second step and in the running statistics.

    (Bit for bit where the convolutions of a share are computed as those of the whole batch are.)
    """
    images, labels = make_batch(16)
    gradients, statistics = [], []
    for kind in (NodeLoop, NodeBatched):
        model = make_model("resnet20")
        engine = engine_of(kind, model, nodes)
        for _ in range(2):
            engine.compute(images, labels)
        gradients.append(engine.gradients)
        statistics.append([b for b in model.module.buffers() if b.is_floating_point()])
    assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) < 1e-5
    for batched, loop in zip(*statistics, strict=True):
        torch.testing.assert_close(batched, loop, rtol=1e-5, atol=1e-6)


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
    slots = {id(tensor): torch.zeros(nodes, 3) for tensor in (layer.weight, layer.bias)}
    running = (twin.running_mean, twin.running_var)
    output = NodeBatchNorm.apply(whole, layer.weight, layer.bias, running, (0.1, 1e-5), nodes, slots)
    output.backward(upstream)
    assert torch.equal(output, torch.cat(outputs))
    assert torch.equal(whole.grad, torch.cat([share.grad for share in shares]))
    assert torch.equal(slots[id(layer.weight)], torch.stack(weights))
    assert torch.equal(slots[id(layer.bias)], torch.stack(biases))
    torch.testing.assert_close(twin.running_mean, layer.running_mean)
    torch.testing.assert_close(twin.running_var, layer.running_var)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5))
def test_folding_nodes_into_channels_is_undone(nodes: int, share: int, channels: int) -> None:
    """Unfold inverts fold, and node i's channel c is channel i C + c of the folded images."""
    images = torch.arange(nodes * share * channels * 4.0).view(nodes * share, channels, 2, 2)
    folded = fold(images, nodes)
    assert folded.shape == (share, nodes * channels, 2, 2)
    assert torch.equal(unfold(folded, nodes), images)
    last = folded[:, (nodes - 1) * channels]
    assert torch.equal(last, images[(nodes - 1) * share :, 0])


@pytest.mark.parametrize("kind", [NodeLoop, NodeBatched])
@pytest.mark.parametrize("name", ["alexnet-quarter", "resnet20"])
def test_accumulating_engines_add_to_what_is_there(name: str, kind: type[NodeLoop | NodeBatched]) -> None:
    """With `accumulate` a step adds the gradients to the buffer; without it the buffer is overwritten."""
    images, labels = make_batch(8)
    plain = engine_of(kind, make_model(name), 2)
    adding = engine_of(kind, make_model(name), 2, accumulate=True)
    before = torch.randn(adding.gradients.shape, generator=torch.Generator().manual_seed(1))
    for engine in (plain, adding):
        engine.gradients.copy_(before)
        engine.compute(images, labels)
    assert torch.equal(adding.gradients, before + plain.gradients)


def test_nodes_average_to_the_gradient_of_the_whole_batch() -> None:
    """With equal shares the mean of the nodes' gradients is the global gradient: N changes nothing else."""
    model, (images, labels) = make_model(), make_batch(32)
    split, whole = engine_of(NodeLoop, model, 8), engine_of(NodeLoop, model, 1)
    split.compute(images, labels)
    whole.compute(images, labels)
    difference = split.gradients.mean(0) - whole.gradients[0]
    assert float(difference.norm() / whole.gradients.norm()) < 1e-6


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(4, affine=False),
        nn.BatchNorm2d(4, track_running_stats=False),
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
        engine_of(NodeBatched, FlatModel(network), 2)


def test_convolution_without_bias_is_split_too() -> None:
    """A missing bias has no slot and needs none."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 10, bias=False)
    )
    model, (images, labels) = FlatModel(network), make_batch(8)
    loop, batched = engine_of(NodeLoop, model, 4), engine_of(NodeBatched, model, 4)
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

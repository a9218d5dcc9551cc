"""Per-node gradients: the loop against autograd written out, the batched engine against the loop."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from qsgd_lab.inputs import Inputs
from qsgd_lab.models import MODELS
from qsgd_lab.models.initialisation import initialise
from qsgd_lab.training.devices import Precision
from qsgd_lab.training.engines.batched import NodeBatched, supports
from qsgd_lab.training.engines.choose import make_engine
from qsgd_lab.training.engines.convolution import NodeConvolution
from qsgd_lab.training.engines.loop import NodeLoop
from qsgd_lab.training.engines.replicas import ReplicaBatched
from qsgd_lab.training.engines.slots import NodeSlots
from qsgd_lab.training.flat_model import FlatModel


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute as a run does: with several threads, sums depend on how the library parts the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
@pytest.mark.parametrize("name", ["alexnet-quarter", "alexnet"])
def test_batched_engine_equals_the_loop(name: str, nodes: int) -> None:
    """One pass over the global batch gives every node's gradient, to a few units in the last place."""
    model, (images, labels) = make_model(name), make_batch(32)
    loop, batched = engine_of(NodeLoop, model, nodes), engine_of(NodeBatched, model, nodes)
    loop_losses, batched_losses = loop.compute(images, labels), batched.compute(images, labels)
    for ours, reference in zip(batched.gradients, loop.gradients, strict=True):
        assert float((ours - reference).norm() / reference.norm()) < 1e-6
    assert torch.allclose(loop_losses, batched_losses, rtol=1e-6)


def shares_are_computed_alike(model: FlatModel, batch: int, nodes: int) -> bool:
    """Whether this machine's library convolves a share of a batch to the bits it has in the whole batch.

    It picks its algorithm by shape; for shares of four images and more it did on every machine seen.
    """
    seen: dict[tuple[object, ...], tuple[nn.Conv2d, torch.Size]] = {}

    def look(conv: nn.Conv2d, inputs: tuple[torch.Tensor], _output: torch.Tensor) -> None:
        seen[conv.weight.shape, conv.stride, inputs[0].shape] = conv, inputs[0].shape

    convolutions = [layer for layer in model.module.modules() if isinstance(layer, nn.Conv2d)]
    hooks = [conv.register_forward_hook(look) for conv in convolutions]
    model.module.eval()(make_batch(batch)[0])
    model.module.train()
    for hook in hooks:
        hook.remove()
    alike = True
    for conv, shape in seen.values():
        whole = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
        shares = [share.detach().requires_grad_() for share in whole.chunk(nodes)]
        outputs = [conv(images) for images in (whole, *shares)]
        alike &= torch.equal(outputs[0], torch.cat(outputs[1:]))
        upstream = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(1))
        for output, gradient in zip(outputs, (upstream, *upstream.chunk(nodes)), strict=True):
            output.backward(gradient)
        alike &= torch.equal(whole.grad, torch.cat([share.grad for share in shares]))
    return alike


@pytest.mark.parametrize(
    ("name", "batch", "nodes"),
    [*(("resnet20", 32, nodes) for nodes in (1, 2, 4, 8)), ("resnet110", 8, 1), ("resnet110", 8, 2)],
)
def test_batched_engine_has_the_loops_bits_on_residual_networks(name: str, batch: int, nodes: int) -> None:
    """With BatchNorm by node both engines give the same bits, where a share is convolved as in its batch.

    The whole state is compared: gradients, running statistics and the number of batches seen.
    """
    images, labels = make_batch(batch)
    rows, states = [], []
    for kind in (NodeLoop, NodeBatched):
        model = make_model(name)
        engine = engine_of(kind, model, nodes)
        for _ in range(2):
            engine.compute(images, labels)
        rows.append(engine.gradients)
        states.append(dict(model.module.named_buffers()))
    if not shares_are_computed_alike(make_model(name), batch, nodes):
        pytest.skip("this machine's library convolves a share otherwise than a whole batch")
    assert torch.equal(*rows)
    for buffer, loop in states[0].items():
        assert torch.equal(states[1][buffer], loop), buffer


@pytest.mark.parametrize("name", ["alexnet-quarter", "resnet20"])
def test_engines_agree_in_bfloat16(name: str) -> None:
    """With 8 significant bits both engines are near the float32 gradient, and the loss stays float32."""
    images, labels = make_batch(32)
    rows = []
    for kind, precision in ((NodeLoop, "float32"), (NodeLoop, "bfloat16"), (NodeBatched, "bfloat16")):
        model = make_model(name)
        engine = kind(model, torch.zeros(4, model.num_parameters), precision=Precision(precision))
        losses = engine.compute(images, labels)
        assert losses.dtype == engine.gradients.dtype == torch.float32
        rows.append(engine.gradients)
    exact, loop, batched = rows
    assert not torch.equal(exact, loop)
    for row in (loop, batched):
        assert torch.nn.functional.cosine_similarity(row, exact).min() > 0.98


@pytest.mark.parametrize("nodes", [1, 4])
def test_batched_engine_splits_residual_networks(nodes: int) -> None:
    """With BatchNorm, too, both engines agree, at the second step and in all that a BatchNorm keeps.

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
        statistics.append(list(model.module.buffers()))
    assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) < 1e-5
    for loop, batched in zip(*statistics, strict=True):
        if loop.is_floating_point():
            torch.testing.assert_close(batched, loop, rtol=1e-5, atol=1e-6)
        else:
            assert batched == loop == 2 * nodes


@given(
    nodes=st.integers(1, 3),
    share=st.integers(1, 3),
    channels=st.integers(1, 3),
    size=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    overwrite=st.booleans(),
)
def test_weight_gradients_as_products_of_matrices(
    nodes: int,
    share: int,
    channels: int,
    size: int,
    stride: int,
    padding: int,
    dilation: int,
    overwrite: bool,
) -> None:
    """With many output channels and few positions the products give autograd's gradient, node by node."""
    generator = torch.Generator().manual_seed(share)
    layer = nn.Conv2d(channels, 150, size, stride, padding, dilation)
    images = torch.randn(nodes * share, channels, 5, 5, generator=generator)
    upstream = torch.randn(layer(images).shape, generator=generator)
    expected = []
    for node_images, node_upstream in zip(images.chunk(nodes), upstream.chunk(nodes), strict=True):
        layer.zero_grad()
        layer(node_images).backward(node_upstream)
        expected.append(torch.cat([layer.weight.grad.reshape(-1), layer.bias.grad]))

    model = FlatModel(layer)
    rows = torch.ones(nodes, model.num_parameters)
    slots = NodeSlots(model, rows, accumulate=not overwrite)
    geometry = (layer.stride, layer.padding, layer.dilation)
    output = NodeConvolution.apply(images.requires_grad_(), layer.weight, layer.bias, geometry, slots)
    slots.open()
    output.backward(upstream)
    slots.close()
    torch.testing.assert_close(rows - (0 if overwrite else 1), torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_parameters_without_a_gradient_and_layers_used_twice() -> None:
    """What no image reaches has gradient zero, whatever the buffer held; two uses of a layer add up."""

    class Network(nn.Sequential):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            first, _unused, last = self
            return last(nn.functional.relu(first(first(images))).mean((2, 3)))

    network = Network(nn.Conv2d(3, 3, 3, padding=1), nn.Linear(2, 2), nn.Linear(3, 10))
    model, (images, labels) = FlatModel(network), make_batch(8)
    rows = []
    for kind in (NodeLoop, NodeBatched):
        gradients = torch.full((2, model.num_parameters), 7.0)
        kind(model, gradients).compute(images, labels)
        rows.append(gradients)
    torch.testing.assert_close(*rows, rtol=1e-4, atol=1e-5)
    unused = slice(3 * 3 * 9 + 3, 3 * 3 * 9 + 3 + 6)
    assert not rows[1][:, unused].any()


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


def replica_rows(kind: type[NodeLoop | ReplicaBatched], name: str) -> tuple[torch.Tensor, ...]:
    """Return the gradients, losses and buffers after two batches of 4 nodes with parameters of their own.

    In float64: an activation so near to zero that float32's rounding changes its sign changes a gradient.
    """
    module = MODELS[name]()
    initialise(module, 0)
    model, nodes = FlatModel(module.double().train()), 4
    own = model.parameters.repeat(nodes, 1)
    own += 0.01 * torch.randn(own.shape, generator=torch.Generator().manual_seed(3))
    engine = kind(model, torch.zeros_like(own), replicas=own, accumulate=False)
    images, labels = make_batch(16)
    for _ in range(2):
        losses = engine.compute(images.double(), labels)
    return engine.gradients, losses, *(b.double() for b in model.module.buffers())


@pytest.mark.parametrize("name", ["alexnet-quarter", "resnet20"])
def test_nodes_with_parameters_of_their_own_are_computed_batched(name: str) -> None:
    """Groups of one convolution give what the loop gives node by node, in all that a BatchNorm keeps, too."""
    loop, batched = (replica_rows(kind, name) for kind in (NodeLoop, ReplicaBatched))
    for node in range(4):
        assert float((loop[0][node] - batched[0][node]).norm() / loop[0][node].norm()) < 1e-7
    for one, other in zip(loop[1:], batched[1:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_batched_replicas_without_bias_and_in_bfloat16() -> None:
    """A layer without bias, and the working precision of autocast."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Flatten(), nn.Linear(4 * 900, 10, bias=False))
    images, labels = make_batch(4)
    for precision, tolerance in (("float32", 1e-5), ("bfloat16", 3e-2)):
        rows = []
        for kind in (NodeLoop, ReplicaBatched):
            model = FlatModel(network)
            own = model.parameters.repeat(2, 1)
            gradients = torch.zeros(own.shape)
            kind(model, gradients, replicas=own, precision=Precision(precision)).compute(images, labels)
            rows.append(gradients)
        assert float((rows[0] - rows[1]).norm() / rows[0].norm()) < tolerance


def test_the_engine_of_replicas_is_the_faster_one() -> None:
    """Small networks without BatchNorm are computed batched; others, and on request, in a loop."""
    for name, engine, kind in (
        ("alexnet-quarter", "auto", ReplicaBatched),
        ("alexnet-quarter", "loop", NodeLoop),
        ("resnet20", "auto", NodeLoop),
        ("resnet20", "batched", ReplicaBatched),
    ):
        model = make_model(name)
        own = model.parameters.repeat(2, 1)
        made = make_engine(
            model, torch.zeros(own.shape), 4, inputs=Inputs((3, 32, 32), 10), engine=engine, replicas=own
        )
        assert type(made) is kind

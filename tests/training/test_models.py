"""Networks: their sizes, which their names promise, and their first parameters."""

import hashlib
import math

import pytest
import torch
from torch import nn

from qsgd_lab.data.registry import DATASETS
from qsgd_lab.inputs import Inputs
from qsgd_lab.models import MODELS, blank_input, cifar_resnet, make_model
from qsgd_lab.models.initialisation import initialise
from qsgd_lab.models.resnet import PaddedShortcut
from qsgd_lab.training.flat_model import FlatModel
from qsgd_lab.training.preset_table import MODEL_VERSIONS


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("alexnet", 2_472_266),
        ("alexnet-quarter", 159_578),
        ("alexnet-quarter-bn-dropout", 160_154),
        ("alexnet-227", 58_325_066),
        ("resnet20", 269_722),
        ("resnet50-cifar6n2", 755_802),
        ("resnet18-224", 11_181_642),
        ("resnet50-224", 23_528_522),
        ("resnet110", 1_727_962),
        ("resnet18", 11_173_962),
        ("resnet50", 23_520_842),
    ],
)
def test_parameter_counts(name: str, count: int) -> None:
    """A model has as many parameters as the documentation says."""
    with torch.device("meta"):  # shapes without memory
        assert sum(p.numel() for p in MODELS[name]().parameters()) == count


IMAGES = Inputs((3, 32, 32), 10)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "lstm-128"])
def test_models_classify_32_pixel_images(name: str) -> None:
    """Every network for images maps (batch, 3, 32, 32) to (batch, 10)."""
    assert make_model(name, IMAGES).eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "inputs", "count"),
    [
        ("conv28", DATASETS["fashion-mnist"].inputs, 98_442),
        ("alexnet", DATASETS["fashion-mnist"].inputs, 2_472_266 - 2 * 64 * 121),
        ("lstm-128", DATASETS["brackets"].inputs, 101_513),
        ("mlp", Inputs((20,), 3), 128 * 21 + 129 * 3),
        ("conv28", Inputs((3, 17, 30), 4), 3 * 9 * 16 + 16 + 4640 + 18496 + 64 * 2 * 4 * 128 + 128 + 129 * 4),
    ],
)
def test_networks_take_the_shape_of_the_data(name: str, inputs: Inputs, count: int) -> None:
    """Images of other sizes, vectors, sequences: as many parameters as layers of these sizes have."""
    network = make_model(name, inputs)
    assert sum(p.numel() for p in network.parameters()) == count
    assert network.eval()(blank_input(inputs)).shape == (1, *inputs.output_shape)


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("lstm-128", IMAGES),
        ("conv28", Inputs((20,), 3)),
        ("resnet20", Inputs((1, 28, 28), 10)),
        ("alexnet", Inputs((1, 64, 64), 10)),
        ("mlp", DATASETS["brackets"].inputs),
    ],
)
def test_a_network_that_does_not_fit_is_one_line(name: str, inputs: Inputs) -> None:
    """The model and the inputs are named."""
    with pytest.raises(ValueError, match=name) as caught:
        make_model(name, inputs)
    assert "\n" not in str(caught.value)


def test_recurrent_layers_are_drawn_within_their_bounds() -> None:
    """Uniform within 1 / sqrt(last dimension), to 5 standard errors; biases 0, the forget gate's 1."""
    network = make_model("lstm-128", DATASETS["brackets"].inputs)
    initialise(network, 0)
    lstm = network.lstm
    for weight in (network.embedding.weight, lstm.weight_ih_l0, lstm.weight_hh_l0):
        scaled = weight.detach().double() * math.sqrt(weight.shape[-1])
        assert scaled.abs().max() <= 1
        assert abs(float((scaled**2).mean()) - 1 / 3) < 5 * math.sqrt(4 / 45 / weight.numel())
    gates = (lstm.bias_ih_l0 + lstm.bias_hh_l0).view(4, 128)
    assert gates.detach().mean(1).tolist() == [0, 1, 0, 0]


#: Digest of each network's layers and parameter shapes. If one changes: raise its MODEL_VERSIONS, too.
STRUCTURES = {
    ("conv28", 1): "0978567883d3a0de",
    ("mlp", 1): "928a094cf929b5aa",
    ("lstm-128", 1): "633f0f58540352e0",
}


@pytest.mark.parametrize("name", list(MODEL_VERSIONS))
def test_a_changed_network_gets_another_version(name: str) -> None:
    """A run's key has the version, so that runs of another network are not taken for this one's."""
    assert structure_digest(name) == STRUCTURES[name, MODEL_VERSIONS[name]]


def structure_digest(name: str) -> str:
    """Return a digest of the layers, and of the first parameters that seed 0 gives."""
    inputs = DATASETS["brackets"].inputs if name == "lstm-128" else Inputs((1, 28, 28), 10)
    network = make_model(name, inputs)
    initialise(network, 0)
    digest = hashlib.sha256(repr(network).encode())
    for parameter in network.parameters():
        digest.update(parameter.detach().numpy().tobytes())
    return digest.hexdigest()[:16]


def test_initialisation_is_a_function_of_the_seed() -> None:
    """The same seed gives the same parameters whatever torch's global generator did; another seed others."""
    networks = []
    for seed in (3, 3, 4):
        network = MODELS["alexnet-quarter"]()  # its constructor advances torch's generator
        initialise(network, seed)
        networks.append(network)
    first, again, other = (torch.cat([p.reshape(-1) for p in n.parameters()]) for n in networks)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_weights_have_variance_two_over_fan_in() -> None:
    """He's law: weights have mean 0 and variance 2 / fan in, within 5 standard errors; biases 0."""
    network = MODELS["alexnet"]()
    initialise(network, 0)
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            scaled = layer.weight.detach().double() * math.sqrt(layer.weight[0].numel() / 2)
            m = scaled.numel()
            assert abs(float(scaled.mean())) < 5 / math.sqrt(m)
            # A uniform law of variance 1 has fourth moment 9/5.
            assert abs(float((scaled**2).mean()) - 1) < 5 * math.sqrt(0.8 / m)
            assert not layer.bias.any()


def test_unknown_layers_are_refused() -> None:
    """A layer with parameters and no rule is an error, not left to torch's global generator."""
    with pytest.raises(ValueError, match="GroupNorm"):
        initialise(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)), 0)


def test_residual_depths_are_six_n_plus_two() -> None:
    """A depth of another form, such as 18, is refused, not rounded."""
    with pytest.raises(ValueError, match="6n \\+ 2"):
        cifar_resnet(18)


def test_a_zero_body_leaves_the_shortcut() -> None:
    """Option A keeps every second pixel and pads new channels with zeros, half on either side."""
    images = torch.arange(2 * 4 * 4.0).view(1, 2, 4, 4)
    shortcut = PaddedShortcut(2, 6, 2)(images)
    assert shortcut.shape == (1, 6, 2, 2)
    assert torch.equal(shortcut[:, 2:4], images[:, :, ::2, ::2])
    assert not shortcut[:, [0, 1, 4, 5]].any()


def test_flat_parameters_are_the_networks_own() -> None:
    """Writing the flat buffer changes the network, and a snapshot brings it back."""
    model, images = FlatModel(MODELS["alexnet-quarter"]()), torch.ones(4, 3, 32, 32)
    before, snapshot = model.module(images), model.snapshot()
    model.parameters.mul_(2)
    assert not torch.equal(model.module(images), before)
    model.restore(snapshot)
    assert torch.equal(model.module(images), before)

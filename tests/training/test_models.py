"""Networks: their sizes, which their names promise, and their first parameters."""

import math

import pytest
import torch
from torch import nn

from qsgd_lab.models import MODELS, cifar_resnet
from qsgd_lab.models.initialisation import initialise
from qsgd_lab.models.resnet import PaddedShortcut


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


@pytest.mark.parametrize("name", list(MODELS))
def test_models_classify_32_pixel_images(name: str) -> None:
    """Every model maps (batch, 3, 32, 32) to (batch, 10)."""
    assert MODELS[name]().eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


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

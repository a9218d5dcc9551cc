"""Networks: their sizes, which their names promise, and their first parameters."""

import math

import pytest
import torch
from torch import nn

from qsgd_lab.models import MODELS
from qsgd_lab.models.initialisation import initialise


@pytest.mark.parametrize(("name", "count"), [("alexnet", 2_472_266), ("alexnet-quarter", 159_578)])
def test_parameter_counts(name: str, count: int) -> None:
    """A model has as many parameters as the documentation says."""
    assert sum(p.numel() for p in MODELS[name]().parameters()) == count


@pytest.mark.parametrize("name", list(MODELS))
def test_models_classify_32_pixel_images(name: str) -> None:
    """Every model maps (batch, 3, 32, 32) to (batch, 10)."""
    assert MODELS[name]()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


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
    with pytest.raises(ValueError, match="BatchNorm2d"):
        initialise(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), 0)

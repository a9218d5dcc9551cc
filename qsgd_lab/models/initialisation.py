"""First parameters as a function of the seed alone, not of a global generator."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from qsgd_lab.stream import Purpose, generator


def initialise(module: nn.Module, seed: int) -> None:
    """Draw weights from He's uniform law, variance 2 / fan in; biases are zero.

    Without BatchNorm a deep ReLU network needs this variance: smaller weights shrink the signal at every
    layer, and training then spends its first epochs undoing that. Weights of recurrent layers and embeddings
    are uniform within 1 / sqrt(last dimension); an LSTM's forget gate has the bias 1, so that it remembers.

    Parameters
    ----------
    module : nn.Module
        Changed in place.
    seed : int

    References
    ----------
    He, Zhang, Ren, Sun: Delving deep into rectifiers. ICCV 2015. Gers, Schmidhuber, Cummins: Learning to
    forget. Neural Computation 12(10), 2000 (the bias of the forget gate).

    Raises
    ------
    ValueError
        If a layer with parameters is of another kind.
    """
    random = generator(seed, Purpose.INITIALISATION)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in = layer.weight[0].numel()
            _fill_uniform(layer.weight, math.sqrt(6 / fan_in), random)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Embedding | nn.LSTM | nn.GRU):
            for name, parameter in layer.named_parameters(recurse=False):
                if name.startswith("bias"):
                    nn.init.zeros_(parameter)
                else:
                    _fill_uniform(parameter, 1 / math.sqrt(parameter.shape[-1]), random)
                if isinstance(layer, nn.LSTM) and name.startswith("bias_ih"):
                    size = layer.hidden_size  # gates are in the order input, forget, cell, output
                    nn.init.ones_(parameter.detach()[size : 2 * size])
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()  # ones and zeros: nothing is drawn
        elif next(layer.parameters(recurse=False), None) is not None:
            raise ValueError(f"no rule to initialise a {type(layer).__name__}")


def _fill_uniform(parameter: torch.Tensor, bound: float, random: np.random.Generator) -> None:
    values = random.uniform(-bound, bound, tuple(parameter.shape)).astype(np.float32)
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(values))

"""Per-node gradients from one pass over the whole global batch.

Forward and input gradients do not care which node an image belongs to; only weight gradients do. So the
network runs once on the global batch, and the backward of each convolution and linear layer splits the batch
by node when it comes to its weights. At many nodes and small shares this saves most of the overhead of
`NodeLoop`, whose gradients it equals to a few units in the last place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from qsgd_lab.models.dropout import KeyedDropout
from qsgd_lab.models.resize import Resize
from qsgd_lab.models.resnet import PaddedShortcut, Residual
from qsgd_lab.training.devices import FLOAT32, Precision, in_working_precision
from qsgd_lab.training.engines.batch_norm import NodeBatchNorm, Running
from qsgd_lab.training.engines.convolution import NodeConvolution, NodeLinear
from qsgd_lab.training.engines.slots import NodeSlots
from qsgd_lab.training.flat_model import FlatModel

# Layers without parameters whose output for an image depends on that image alone.
_POOLING = nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d
_PER_IMAGE = nn.ReLU | _POOLING | nn.Flatten | nn.Identity | Resize | KeyedDropout


def supports(module: nn.Module) -> bool:
    """Whether a network is made of layers that this engine knows how to split by node.

    A BatchNorm in two places is not: what it keeps depends on the order of nodes and places, which differs.
    """
    places = [id(layer) for layer in _children(module) if isinstance(layer, nn.BatchNorm2d)]
    return len(places) == len(set(places)) and all(_is_known(layer) for layer in module.modules())


def _children(module: nn.Module) -> list[nn.Module]:
    """Return the layers of a network, one as often as it has places."""
    return [layer for parent in module.modules() for layer in parent._modules.values() if layer is not None]


def _is_known(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if isinstance(layer, nn.BatchNorm2d):
        return layer.affine and layer.track_running_stats and layer.momentum is not None
    return isinstance(layer, nn.Linear | nn.Sequential | Residual | PaddedShortcut | _PER_IMAGE)


class NodeBatched:
    """The same contract as `NodeLoop`, computed batched.

    Raises
    ------
    ValueError
        If the network has a layer that `supports` refuses.
    """

    def __init__(
        self,
        model: FlatModel,
        gradients: torch.Tensor,
        *,
        accumulate: bool = False,
        precision: Precision = FLOAT32,
    ) -> None:
        if not supports(model.module):
            raise ValueError("the network has layers that cannot be split by node; use NodeLoop")
        self.model, self.gradients, self.accumulate = model, gradients, accumulate
        self.precision = precision
        self._slots = NodeSlots(model, gradients, accumulate=accumulate)
        layers = [layer for layer in model.module.modules() if isinstance(layer, nn.BatchNorm2d)]
        self._running = {id(layer.running_mean): _running_of(layer) for layer in layers}

    def split_weights(self) -> SplitWeights:
        """Return what replaces layers during a pass."""
        return SplitWeights(self._slots, self._running)

    def compute(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Fill `gradients` and return the nodes' mean losses, shape (N,)."""
        nodes = len(self.gradients)
        self._slots.open()
        with self.precision.forward(images.device), self.split_weights():
            outputs = self.model.module(images)
        losses = functional.cross_entropy(outputs.float(), labels, reduction="none").view(nodes, -1).mean(1)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        self._slots.close()
        return losses.detach()


def _running_of(layer: nn.BatchNorm2d) -> Running:
    mean, variance, batches = layer.running_mean, layer.running_var, layer.num_batches_tracked
    assert mean is not None
    assert variance is not None
    assert batches is not None
    return Running(mean, variance, batches)


class SplitWeights(TorchFunctionMode):
    """Replaces convolutions, linear maps and BatchNorms by ones whose backward splits by node."""

    def __init__(self, slots: NodeSlots, running: dict[int, Running]) -> None:
        super().__init__()
        self.slots, self.running = slots, running

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.conv2d:
            images, weight, bias, stride, padding, dilation = args[:6]
            return self.convolution(in_working_precision(images), weight, bias, (stride, padding, dilation))
        if func is functional.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        if func is functional.linear:
            inputs, weight, bias = args
            return self.linear(in_working_precision(inputs), weight, bias)
        return func(*args, **(kwargs or {}))

    def convolution(self, images: Any, weight: Any, bias: Any, geometry: Any) -> Any:
        """Return the convolution; `geometry` is (stride, padding, dilation)."""
        return NodeConvolution.apply(  # type: ignore[no-untyped-call]
            images, weight, bias, geometry, self.slots
        )

    def linear(self, inputs: Any, weight: Any, bias: Any) -> Any:
        """Return the linear map."""
        return NodeLinear.apply(inputs, weight, bias, self.slots)  # type: ignore[no-untyped-call]

    def affine(self, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weights and biases that BatchNorm has at the nodes, shape (N C,)."""
        nodes = self.slots.nodes
        return weight.detach().repeat(nodes), bias.detach().repeat(nodes)

    def _batch_norm(
        self,
        images: torch.Tensor,
        running_mean: torch.Tensor,
        running_variance: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        training: bool,
        momentum: float,
        eps: float,
    ) -> Any:
        assert training, "gradients are computed in training mode"
        running = self.running[id(running_mean)]
        affine = self.affine(weight, bias)
        return NodeBatchNorm.apply(  # type: ignore[no-untyped-call]
            images, weight, bias, affine, running, (momentum, eps), self.slots
        )

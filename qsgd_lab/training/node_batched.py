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

from qsgd_lab.models.resnet import PaddedShortcut, Residual
from qsgd_lab.training.flat_model import FlatModel
from qsgd_lab.training.node_batch_norm import NodeBatchNorm

# Layers without parameters whose output for an image depends on that image alone.
_PER_IMAGE = nn.ReLU | nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d | nn.Flatten | nn.Identity


def supports(module: nn.Module) -> bool:
    """Whether a network is made of layers that this engine knows how to split by node."""
    return all(_is_known(layer) for layer in module.modules())


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

    def __init__(self, model: FlatModel, gradients: torch.Tensor, *, accumulate: bool = False) -> None:
        if not supports(model.module):
            raise ValueError("the network has layers that cannot be split by node; use NodeLoop")
        self.model, self.gradients, self.accumulate = model, gradients, accumulate
        views = model.views(self.gradients)
        self._slots = {id(tensor): view for tensor, view in zip(model.tensors, views, strict=True)}

    def compute(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Fill `gradients` and return the nodes' mean losses, shape (N,)."""
        nodes = len(self.gradients)
        if not self.accumulate:
            self.gradients.zero_()
        with _SplitWeights(nodes, self._slots):
            outputs = self.model.module(images)
        losses = functional.cross_entropy(outputs, labels, reduction="none").view(nodes, -1).mean(1)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        return losses.detach()


class _SplitWeights(TorchFunctionMode):
    """Replaces convolutions and linear maps by ones whose backward writes weight gradients by node."""

    def __init__(self, nodes: int, slots: dict[int, torch.Tensor]) -> None:
        super().__init__()
        self.nodes, self.slots = nodes, slots

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.conv2d:
            images, weight, bias, stride, padding, dilation = args[:6]
            geometry = (stride, padding, dilation)
            return _Convolution.apply(  # type: ignore[no-untyped-call]
                images, weight, bias, geometry, self.nodes, self.slots
            )
        if func is functional.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        if func is functional.linear:
            return _Linear.apply(*args, self.nodes, self.slots)  # type: ignore[no-untyped-call]
        return func(*args, **(kwargs or {}))

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
        running = (running_mean, running_variance)
        return NodeBatchNorm.apply(  # type: ignore[no-untyped-call]
            images, weight, bias, running, (momentum, eps), self.nodes, self.slots
        )


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Any, weight: Any, bias: Any, geometry: Any, nodes: int, slots: Any) -> Any:
        ctx.save_for_backward(images)
        # Saving the parameters through autograd would hide their identity, by which their slots are found.
        ctx.weight, ctx.bias, ctx.geometry, ctx.nodes, ctx.slots = weight, bias, geometry, nodes, slots
        return torch.conv2d(images, weight, bias, *geometry)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        (images,) = ctx.saved_tensors
        for_images = None
        if ctx.needs_input_grad[0]:
            for_images = _convolution_backward(ctx, gradient, images, (True, False, False))[0]
        slot = ctx.slots[id(ctx.weight)]
        shares = zip(gradient.chunk(ctx.nodes), images.chunk(ctx.nodes), strict=True)
        for node, (node_gradient, node_images) in enumerate(shares):
            slot[node] += _convolution_backward(ctx, node_gradient, node_images, (False, True, False))[1]
        if ctx.bias is not None:
            by_node = gradient.view(ctx.nodes, -1, *gradient.shape[1:])
            ctx.slots[id(ctx.bias)] += by_node.sum((1, 3, 4))
        return for_images, None, None, None, None, None


def _convolution_backward(ctx: Any, gradient: Any, images: Any, wanted: tuple[bool, bool, bool]) -> Any:
    return torch.ops.aten.convolution_backward(
        gradient, images, ctx.weight, None, *ctx.geometry, False, (0, 0), 1, wanted
    )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Any, weight: Any, bias: Any, nodes: int, slots: Any) -> Any:
        ctx.save_for_backward(inputs)
        ctx.weight, ctx.bias, ctx.nodes, ctx.slots = weight, bias, nodes, slots
        return functional.linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        (inputs,) = ctx.saved_tensors
        by_node = gradient.view(ctx.nodes, -1, gradient.shape[1])
        inputs_by_node = inputs.view(ctx.nodes, -1, inputs.shape[1])
        ctx.slots[id(ctx.weight)] += torch.bmm(by_node.transpose(1, 2), inputs_by_node)
        if ctx.bias is not None:
            ctx.slots[id(ctx.bias)] += by_node.sum(1)
        return gradient @ ctx.weight, None, None, None, None

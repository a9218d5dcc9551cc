"""Per-node gradients at parameters of each node's own, from one pass over the whole global batch.

A convolution of N nodes, each with its own weights, is one convolution of N groups, and a linear map is one
batched product. Nodes are folded into channels before and unfolded after, so that everything between sees an
ordinary batch.
"""

from __future__ import annotations

from typing import Any

import torch

from qsgd_lab.training.devices import FLOAT32, Precision, in_working_precision
from qsgd_lab.training.engines.batch_norm import fold, unfold
from qsgd_lab.training.engines.batched import NodeBatched, SplitWeights
from qsgd_lab.training.engines.slots import NodeSlots
from qsgd_lab.training.flat_model import FlatModel


class ReplicaBatched(NodeBatched):
    """The contract of `NodeLoop` with `replicas`, computed batched.

    Parameters
    ----------
    model : FlatModel
    gradients : torch.Tensor
        float32, shape (N, n).
    replicas : torch.Tensor
        float32, shape (N, n): the parameters of each node.
    accumulate : bool
    precision : Precision

    Raises
    ------
    ValueError
        If the network has a layer that cannot be split by node.
    """

    def __init__(
        self,
        model: FlatModel,
        gradients: torch.Tensor,
        replicas: torch.Tensor,
        *,
        accumulate: bool = False,
        precision: Precision = FLOAT32,
    ) -> None:
        super().__init__(model, gradients, accumulate=accumulate, precision=precision)
        views = model.views(replicas)
        self._own = {id(tensor): view for tensor, view in zip(model.tensors, views, strict=True)}

    def split_weights(self) -> SplitWeights:
        """Return what replaces layers during a pass."""
        return _OwnWeights(self._slots, self._running, self._own)


class _OwnWeights(SplitWeights):
    """Replaces layers by ones that take each node's own parameters."""

    def __init__(self, slots: NodeSlots, running: dict[int, Any], own: dict[int, torch.Tensor]) -> None:
        super().__init__(slots, running)
        self.own = own

    def convolution(self, images: Any, weight: Any, bias: Any, geometry: Any) -> Any:
        return ReplicaConvolution.apply(  # type: ignore[no-untyped-call]
            in_working_precision(images), weight, bias, self._of(weight), self._of(bias), geometry, self.slots
        )

    def linear(self, inputs: Any, weight: Any, bias: Any) -> Any:
        return ReplicaLinear.apply(  # type: ignore[no-untyped-call]
            in_working_precision(inputs), weight, bias, self._of(weight), self._of(bias), self.slots
        )

    def affine(self, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._of(weight).flatten(), self._of(bias).flatten()

    def _of(self, parameter: Any) -> Any:
        return None if parameter is None else self.own[id(parameter)]


class ReplicaConvolution(torch.autograd.Function):
    """A convolution with weights of each node's own, as one of N groups."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Any,
        weight: Any,
        bias: Any,
        own_weight: Any,
        own_bias: Any,
        geometry: Any,
        slots: Any,
    ) -> torch.Tensor:
        """Return the convolution of images of shape (N b, C, H, W); own weights have N in front."""
        nodes = slots.nodes
        folded = fold(images, nodes)
        kernel = own_weight.flatten(0, 1).to(images.dtype)
        offsets = None if own_bias is None else own_bias.flatten().to(images.dtype)
        ctx.save_for_backward(folded, kernel)
        ctx.weight, ctx.bias, ctx.geometry, ctx.slots = weight, bias, geometry, slots
        return unfold(torch.conv2d(folded, kernel, offsets, *geometry, nodes), nodes)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        """Return the gradient of the images; those of weight and bias go to their slots."""
        folded, kernel = ctx.saved_tensors
        nodes = ctx.slots.nodes
        wanted = (ctx.needs_input_grad[0], True, ctx.bias is not None)
        sizes = None if ctx.bias is None else [kernel.shape[0]]
        for_images, for_weight, for_bias = torch.ops.aten.convolution_backward(
            fold(gradient, nodes), folded, kernel, sizes, *ctx.geometry, False, (0, 0), nodes, wanted
        )
        ctx.slots.put(ctx.weight, for_weight.view(nodes, *ctx.weight.shape))
        if ctx.bias is not None:
            ctx.slots.put(ctx.bias, for_bias.view(nodes, -1))
        return None if for_images is None else unfold(for_images, nodes), *[None] * 6


class ReplicaLinear(torch.autograd.Function):
    """A linear map with weights of each node's own, as one batched product."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Any, weight: Any, bias: Any, own_weight: Any, own_bias: Any, slots: Any
    ) -> torch.Tensor:
        """Return the linear map of inputs of shape (N b, d); own weights have N in front."""
        by_node = inputs.view(slots.nodes, -1, inputs.shape[1])
        matrix = own_weight.to(inputs.dtype)
        ctx.save_for_backward(by_node, matrix)
        ctx.weight, ctx.bias, ctx.slots = weight, bias, slots
        if own_bias is None:
            return torch.bmm(by_node, matrix.transpose(1, 2)).flatten(0, 1)
        offsets = own_bias.to(inputs.dtype)[:, None]
        return torch.baddbmm(offsets, by_node, matrix.transpose(1, 2)).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        """Return the gradient of the inputs."""
        by_node, matrix = ctx.saved_tensors
        split = gradient.view(ctx.slots.nodes, -1, gradient.shape[1])
        ctx.slots.put(ctx.weight, torch.bmm(split.transpose(1, 2), by_node))
        if ctx.bias is not None:
            ctx.slots.put(ctx.bias, split.sum(1, dtype=torch.float32))
        return torch.bmm(split, matrix).flatten(0, 1), None, None, None, None, None

"""Convolutions and linear maps of a global batch whose weight gradients are split by node.

The gradient of a convolution's weight at one node is a product of two matrices: output gradients (channels
out, positions) and image patches (positions, channels in times kernel), where positions are those of all the
node's images. A library's convolution backward builds neither, but lays out the weights again at every call,
which for large weights and few positions costs more than the product.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from qsgd_lab.training.engines.slots import NodeSlots

#: Output positions an image up to which patches are small enough to be written out.
MAX_PATCH_POSITIONS = 16


def product_is_faster(gradient: torch.Tensor, nodes: int) -> bool:
    """Whether a CPU forms these weight gradients faster as products of matrices.

    So it is while the positions of a share do not outnumber the output channels: then writing out the patches
    costs less than laying out the weights (measured on one core: 256x384 weights of 3x3 on 2x2 positions, a
    share of 16 images, 1.2 ms a node against 2.9; 192x64 of 5x5 on 4x4 positions, 2.3 against 1.0). Residual
    networks for 32x32 images never have so few positions, and keep the bits of an ordinary backward.

    Parameters
    ----------
    gradient : torch.Tensor
        Of the convolution's output, shape (B, channels, height, width).
    nodes : int
    """
    batch, channels, height, width = gradient.shape
    positions = height * width
    return (
        gradient.device.type == "cpu"
        and gradient.dtype == torch.float32
        and positions <= MAX_PATCH_POSITIONS
        and batch // nodes * positions <= channels
    )


class NodeConvolution(torch.autograd.Function):
    """A convolution whose backward writes the gradients of weight and bias by node to their slots."""

    @staticmethod
    def forward(
        ctx: Any, images: Any, weight: torch.Tensor, bias: Any, geometry: Any, slots: NodeSlots
    ) -> torch.Tensor:
        """Return the convolution, in the type of the images; `geometry` is (stride, padding, dilation)."""
        cast = weight.to(images.dtype)
        ctx.save_for_backward(images, cast)
        # The parameters themselves would lose the identity by which their slots are found.
        ctx.weight, ctx.bias, ctx.geometry, ctx.slots = weight, bias, geometry, slots
        return torch.conv2d(images, cast, None if bias is None else bias.to(images.dtype), *geometry)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        """Return the gradient of the images."""
        images, weight = ctx.saved_tensors
        for_images = None
        if ctx.needs_input_grad[0]:
            for_images = _backward(gradient, images, weight, ctx.geometry, (True, False, False))[0]
        nodes = ctx.slots.nodes
        fill = _fill_by_products if product_is_faster(gradient, nodes) else _fill_by_convolutions
        slot, overwrite = ctx.slots.take(ctx.weight)
        fill(slot, overwrite, gradient, images, weight, ctx.geometry)
        if ctx.bias is not None:
            by_node = gradient.reshape(nodes, -1, *gradient.shape[1:])
            ctx.slots.put(ctx.bias, by_node.sum((1, 3, 4), dtype=torch.float32))
        return for_images, None, None, None, None


def _fill_by_convolutions(
    slot: Any, overwrite: bool, gradient: Any, images: Any, weight: Any, geometry: Any
) -> None:
    """Fill the slot by one backward convolution a node."""
    nodes = len(slot)
    shares = zip(slot, gradient.chunk(nodes), images.chunk(nodes), strict=True)
    for row, node_gradient, node_images in shares:
        value = _backward(node_gradient, node_images, weight, geometry, (False, True, False))[1]
        if overwrite:
            row.copy_(value)
        else:
            row += value


def _fill_by_products(
    slot: Any, overwrite: bool, gradient: Any, images: Any, weight: Any, geometry: Any
) -> None:
    """Fill the slot by one product of matrices a node."""
    nodes, channels = len(slot), gradient.shape[1]
    stride, padding, dilation = geometry
    patches = functional.unfold(images, weight.shape[2:], dilation, padding, stride)
    patches = patches.transpose(1, 2).reshape(nodes, -1, patches.shape[1])
    outputs = gradient.reshape(nodes, -1, channels, gradient.shape[2] * gradient.shape[3])
    outputs = outputs.transpose(1, 2).reshape(nodes, channels, -1)
    for row, node_outputs, node_patches in zip(slot, outputs, patches, strict=True):
        matrix = row.view(channels, -1)
        torch.addmm(matrix, node_outputs, node_patches, beta=0 if overwrite else 1, out=matrix)


def _backward(gradient: Any, images: Any, weight: Any, geometry: Any, wanted: tuple[bool, ...]) -> Any:
    return torch.ops.aten.convolution_backward(
        gradient, images, weight, None, *geometry, False, (0, 0), 1, wanted
    )


class NodeLinear(torch.autograd.Function):
    """A linear map whose backward writes the gradients of weight and bias by node to their slots."""

    @staticmethod
    def forward(ctx: Any, inputs: Any, weight: torch.Tensor, bias: Any, slots: NodeSlots) -> torch.Tensor:
        """Return the linear map, in the type of the inputs."""
        cast = weight.to(inputs.dtype)
        ctx.save_for_backward(inputs, cast)
        ctx.weight, ctx.bias, ctx.slots = weight, bias, slots
        return functional.linear(inputs, cast, None if bias is None else bias.to(inputs.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        """Return the gradient of the inputs."""
        inputs, weight = ctx.saved_tensors
        nodes = ctx.slots.nodes
        by_node = gradient.reshape(nodes, -1, gradient.shape[1])
        inputs_by_node = inputs.reshape(nodes, -1, inputs.shape[1])
        ctx.slots.put(ctx.weight, torch.bmm(by_node.transpose(1, 2), inputs_by_node))
        if ctx.bias is not None:
            ctx.slots.put(ctx.bias, by_node.sum(1, dtype=torch.float32))
        return gradient @ weight, None, None, None

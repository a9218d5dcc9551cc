"""BatchNorm over each node's own images, for a global batch that holds all nodes' images in order.

Every node normalises with the statistics of its own share, as it would alone. Folding the node into the
channel axis turns that into one ordinary BatchNorm of N C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from qsgd_lab.training.engines.slots import NodeSlots


def fold(images: torch.Tensor, nodes: int) -> torch.Tensor:
    """Return images of shape (N b, C, H, W) as (b, N C, H, W), in the same memory format."""
    if nodes == 1:
        return images
    share, channels, *rest = images.shape[0] // nodes, *images.shape[1:]
    folded = _empty(images, (share, nodes * channels, *rest))
    by_node = images.view(nodes, share, channels, *rest)
    folded.view(share, nodes, channels, *rest).copy_(by_node.transpose(0, 1))
    return folded


def unfold(images: torch.Tensor, nodes: int) -> torch.Tensor:
    """Return images of shape (b, N C, H, W) as (N b, C, H, W): the inverse of `fold`."""
    if nodes == 1:
        return images
    share, channels, *rest = images.shape[0], images.shape[1] // nodes, *images.shape[2:]
    unfolded = _empty(images, (nodes * share, channels, *rest))
    by_share = images.view(share, nodes, channels, *rest)
    unfolded.view(nodes, share, channels, *rest).copy_(by_share.transpose(0, 1))
    return unfolded


def _empty(like: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    memory_format = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=memory_format)


@dataclass(frozen=True)
class Running:
    """What a BatchNorm keeps of the batches that it has seen; all nodes share it.

    Attributes
    ----------
    mean, variance : torch.Tensor
        float32, shape (C,).
    batches : torch.Tensor
        int64: their number.
    """

    mean: torch.Tensor
    variance: torch.Tensor
    batches: torch.Tensor

    def update(self, images: torch.Tensor, nodes: int, momentum: float) -> None:
        """Take in each node's share, in the order of the nodes, by the arithmetic of N passes in turn.

        The module itself has counted one batch.
        """
        for share in images.chunk(nodes):
            # Torch's own function: how it rounds, and what its compiler contracts, is not ours to repeat.
            torch.batch_norm_update_stats(share, self.mean, self.variance, momentum)
        self.batches.add_(nodes - 1)


class NodeBatchNorm(torch.autograd.Function):
    """BatchNorm by node; its backward adds the gradients of weight and bias by node to their slots."""

    @staticmethod
    def forward(
        ctx: Any,
        images: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        affine: tuple[torch.Tensor, torch.Tensor],
        running: Running,
        settings: tuple[float, float],
        slots: NodeSlots,
    ) -> torch.Tensor:
        """Return the normalised images; `affine` is of all nodes, (N C,); `settings` are (momentum, eps)."""
        momentum, eps = settings
        nodes = slots.nodes
        folded = fold(images, nodes)
        output, mean, inverse_std = torch.native_batch_norm(folded, *affine, None, None, True, momentum, eps)
        running.update(images, nodes, momentum)
        ctx.save_for_backward(folded, affine[0], mean, inverse_std)
        ctx.weight, ctx.bias, ctx.eps, ctx.slots = weight, bias, eps, slots
        return unfold(output, nodes)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        """Return the gradient of the images; those of weight and bias go to their slots."""
        folded, weights, mean, inverse_std = ctx.saved_tensors
        nodes = ctx.slots.nodes
        for_images, for_weight, for_bias = torch.ops.aten.native_batch_norm_backward(
            fold(gradient, nodes),
            folded,
            weights,
            None,
            None,
            mean,
            inverse_std,
            True,
            ctx.eps,
            (True, True, True),
        )
        ctx.slots.put(ctx.weight, for_weight.view(nodes, -1))
        ctx.slots.put(ctx.bias, for_bias.view(nodes, -1))
        return unfold(for_images, nodes), *[None] * 6

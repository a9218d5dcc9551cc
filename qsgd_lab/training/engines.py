"""Which engine computes the nodes' gradients."""

from __future__ import annotations

import torch
from torch import nn

from qsgd_lab.training.flat_model import FlatModel
from qsgd_lab.training.node_batched import NodeBatched, supports
from qsgd_lab.training.node_loop import NodeLoop

Engine = NodeLoop | NodeBatched


def make_engine(model: FlatModel, gradients: torch.Tensor, *, accumulate: bool = False) -> Engine:
    """Return the faster engine on a CPU.

    One pass for all nodes saves the overhead of small shares, which is most of a small network's time. With
    BatchNorm, folding nodes into channels costs as much as it saves, and the loop is as fast (measured on one
    core, global batch 32: ResNet-20 at N = 8 takes 92 ms by the loop and 101 ms batched; the quarter-width
    AlexNet 9.9 and 5.2 ms).
    """
    has_batch_norm = any(isinstance(layer, nn.BatchNorm2d) for layer in model.module.modules())
    batched = len(gradients) > 1 and supports(model.module) and not has_batch_norm
    return (NodeBatched if batched else NodeLoop)(model, gradients, accumulate=accumulate)

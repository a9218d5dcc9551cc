"""Per-node gradients, one node after the other: the reference engine."""

from __future__ import annotations

import torch
from torch.nn import functional

from qsgd_lab.training.flat_model import FlatModel


class NodeLoop:
    """Forward and backward for each node's share of the global batch in turn.

    Parameters
    ----------
    model : FlatModel
    nodes : int
        N; divides the global batch.

    Attributes
    ----------
    gradients : torch.Tensor
        float32, shape (N, n): row i is the gradient of the mean loss of node i's share.
    """

    def __init__(self, model: FlatModel, nodes: int) -> None:
        self.model = model
        self.gradients = torch.zeros(nodes, model.num_parameters)
        self._views = [model.views(row) for row in self.gradients]

    def compute(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Fill `gradients` and return the nodes' mean losses, shape (N,)."""
        self.gradients.zero_()
        losses = []
        shares = zip(self._views, images.chunk(len(self._views)), labels.chunk(len(self._views)), strict=True)
        for views, node_images, node_labels in shares:
            for tensor, view in zip(self.model.tensors, views, strict=True):
                tensor.grad = view
            loss = functional.cross_entropy(self.model.module(node_images), node_labels)
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return torch.stack(losses)

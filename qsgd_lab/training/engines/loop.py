"""Per-node gradients, one node after the other: the reference engine."""

from __future__ import annotations

import torch
from torch.nn import functional

from qsgd_lab.training.devices import FLOAT32, Precision
from qsgd_lab.training.flat_model import FlatModel


class NodeLoop:
    """Forward and backward for each node's share of the global batch in turn.

    Parameters
    ----------
    model : FlatModel
    gradients : torch.Tensor
        float32, shape (N, n), N dividing the global batch: row i receives the gradient of the mean loss of
        node i's share.
    accumulate : bool
        Add to what the rows hold instead of overwriting it: then they may be the residuals of error feedback.
    precision : Precision
        Of the forward and backward pass.
    replicas : torch.Tensor, optional
        float32, shape (N, n): node i computes its gradient at row i, rather than at the model's parameters.
    """

    def __init__(
        self,
        model: FlatModel,
        gradients: torch.Tensor,
        *,
        accumulate: bool = False,
        precision: Precision = FLOAT32,
        replicas: torch.Tensor | None = None,
    ) -> None:
        self.model, self.gradients, self.accumulate = model, gradients, accumulate
        self._replicas = [] if replicas is None else [model.views(row) for row in replicas]
        self.precision = precision
        self._views = [model.views(row) for row in self.gradients]

    def compute(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Fill `gradients` and return the nodes' mean losses, shape (N,)."""
        if not self.accumulate:
            self.gradients.zero_()
        losses = []
        shares = zip(self._views, images.chunk(len(self._views)), labels.chunk(len(self._views)), strict=True)
        for node, (views, node_images, node_labels) in enumerate(shares):
            for tensor, view in zip(self.model.tensors, views, strict=True):
                tensor.grad = view
            if self._replicas:
                for tensor, values in zip(self.model.tensors, self._replicas[node], strict=True):
                    tensor.data = values
            with self.precision.forward(images.device):
                outputs = self.model.module(node_images)
            loss = functional.cross_entropy(outputs.float(), node_labels)
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return torch.stack(losses)

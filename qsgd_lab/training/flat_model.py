"""A network whose parameters are one flat vector."""

from __future__ import annotations

import torch
from torch import nn

from qsgd_lab.compressors.protocol import Layout


class FlatModel:
    """A module with its parameters laid out in one float32 buffer, so that a gradient is one vector too.

    Parameters
    ----------
    module : nn.Module
        Its parameters become views of the buffer.

    Attributes
    ----------
    parameters : torch.Tensor
        float32, shape (n,).
    layout : Layout
        Shapes of the parameter tensors, in order.
    sizes : tuple of int
        Coordinates of each parameter tensor, in order.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._tensors = list(module.parameters())
        self.layout = Layout(tuple(tuple(tensor.shape) for tensor in self._tensors))
        self.sizes = self.layout.sizes
        self.parameters = torch.cat([tensor.detach().reshape(-1) for tensor in self._tensors])
        self.bind(self.parameters)

    def bind(self, flat: torch.Tensor) -> None:
        """Make the module's parameters views of a flat vector, such as one node's replica."""
        for tensor, view in zip(self._tensors, self.views(flat), strict=True):
            tensor.data = view

    @property
    def num_parameters(self) -> int:
        """The number of parameters, n."""
        return self.parameters.numel()

    @property
    def tensors(self) -> list[nn.Parameter]:
        """The module's parameters, in the order of the buffer."""
        return self._tensors

    def views(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """Return views of a flat vector, or of all rows of a matrix, in the shapes of the parameters."""
        pieces = flat.split(self.sizes, dim=-1)  # type: ignore[no-untyped-call]
        lead = flat.shape[:-1]
        return [piece.view(*lead, *t.shape) for piece, t in zip(pieces, self._tensors, strict=True)]

    def snapshot(self) -> list[torch.Tensor]:
        """Return a copy of the parameters and of the module's buffers (such as running statistics)."""
        return [self.parameters.clone(), *(buffer.clone() for buffer in self.module.buffers())]

    def restore(self, snapshot: list[torch.Tensor]) -> None:
        """Write a snapshot back."""
        for target, source in zip([self.parameters, *self.module.buffers()], snapshot, strict=True):
            target.copy_(source)

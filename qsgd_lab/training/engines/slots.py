"""Slots of a parameter's gradient, by node: views of one buffer of shape (N, n)."""

from __future__ import annotations

import torch

from qsgd_lab.training.flat_model import FlatModel


class NodeSlots:
    """The nodes' gradients of each parameter, found by the parameter's identity.

    A step opens the slots, writes each parameter's gradient when the backward pass comes to it, and closes
    them. Without `accumulate` the first gradient of a step overwrites: clearing the buffer before would be
    one more pass over memory, which is what small shares spend their time on.

    Parameters
    ----------
    model : FlatModel
    gradients : torch.Tensor
        float32, shape (N, n).
    accumulate : bool
        Add to what the buffer holds at the start of a step.
    """

    def __init__(self, model: FlatModel, gradients: torch.Tensor, *, accumulate: bool = False) -> None:
        self.nodes = len(gradients)
        views = model.views(gradients)
        self._slots = {id(tensor): view for tensor, view in zip(model.tensors, views, strict=True)}
        self._accumulate = accumulate
        self._unwritten: set[int] = set()

    def open(self) -> None:
        """Begin a step."""
        self._unwritten = set() if self._accumulate else set(self._slots)

    def close(self) -> None:
        """End a step: a parameter that no gradient came to has the gradient zero."""
        for identity in self._unwritten:
            self._slots[identity].zero_()
        self._unwritten = set()

    def take(self, parameter: torch.Tensor) -> tuple[torch.Tensor, bool]:
        """Return the parameter's slot, shape (N, ...), and whether to overwrite it instead of adding."""
        identity = id(parameter)
        overwrite = identity in self._unwritten
        self._unwritten.discard(identity)
        return self._slots[identity], overwrite

    def put(self, parameter: torch.Tensor, by_node: torch.Tensor) -> None:
        """Write, or add, the gradients of all nodes at once, shape (N, ...)."""
        slot, overwrite = self.take(parameter)
        if overwrite:
            slot.copy_(by_node)
        else:
            slot += by_node

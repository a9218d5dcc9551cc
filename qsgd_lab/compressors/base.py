"""What a gradient compressor is: a pure pair, and the same thing fused for training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.arrays import is_torch
from qsgd_lab.coding.tally import Tally
from qsgd_lab.stream import Stream

Gradient = NDArray[np.float32]


class Compressor(ABC):
    """Turns a flat float32 gradient into a message and back.

    State is passed, never hidden: ``compress`` returns what the next call needs. A compressor knows nothing
    of nodes, models or training; the stream names whose gradient it is and of which step.
    """

    @abstractmethod
    def init(self, num_coordinates: int, tensor_sizes: tuple[int, ...] | None = None) -> Any:
        """Return the first state for gradients of `num_coordinates`, made of tensors of these sizes."""

    @abstractmethod
    def compress(self, gradient: Gradient, state: Any, stream: Stream) -> tuple[Any, Any]:
        """Return (message, next state)."""

    @abstractmethod
    def decompress(self, message: Any) -> Gradient:
        """Return the gradient that a receiver reads from a message."""

    @abstractmethod
    def count(self, message: Any, tally: Tally) -> None:
        """Add the size of a message to a tally."""

    @property
    @abstractmethod
    def is_unbiased(self) -> bool:
        """Whether E[decompress(compress(v))] = v for every v."""

    @abstractmethod
    def variance_factor(self, num_coordinates: int) -> float | None:
        """Return the least w with E||Q(v) - v||^2 <= w ||v||^2 for every v; None if none is known."""

    def accumulate(
        self, gradient: Gradient, state: Any, stream: Stream, total: Gradient, tally: Tally
    ) -> Any:
        """Add to `total` what a receiver would decode, count it, and return the next state.

        The same as compress, decompress and add; overridden where one pass does all three.
        """
        message, state = self.compress(gradient, state, stream)
        total += self.decompress(message)
        self.count(message, tally)
        return state

    def accumulate_with_residual(
        self,
        gradient: Gradient,
        residual: Gradient,
        state: Any,
        stream: Stream,
        total: Gradient,
        tally: Tally,
    ) -> Any:
        """Send gradient + residual, and leave in `residual`, in place, what was not sent."""
        residual += gradient
        message, state = self.compress(residual, state, stream)
        sent = self.decompress(message)
        total += sent
        residual -= sent
        self.count(message, tally)
        return state

    def init_nodes(
        self, nodes: int, num_coordinates: int, tensor_sizes: tuple[int, ...] | None = None
    ) -> Any:
        """Return the first states of N nodes, for `average`."""
        return [self.init(num_coordinates, tensor_sizes) for _ in range(nodes)]

    def average(self, gradients: Gradient, states: Any, stream: Stream, mean: Gradient, tally: Tally) -> Any:
        """Write the mean of what a receiver decodes of N nodes, count it, and return the next states.

        The same as `accumulate` for each node and a division; overridden where one pass does all.

        Parameters
        ----------
        gradients : float32, shape (N, n)
        states
            Of all nodes, from `init_nodes` or an earlier call; spent by this one.
        stream : Stream
            Of the first node; node i draws from ``stream.node + i``.
        mean : float32, shape (n,)
            Overwritten.
        tally : Tally
        """
        mean[...] = 0
        after = []
        for node, (gradient, state) in enumerate(zip(gradients, states, strict=True)):
            own = stream._replace(node=stream.node + node)
            after.append(self.accumulate(gradient, state, own, mean, tally))
        return _divided(mean, len(gradients), after)

    def average_with_residuals(
        self,
        gradients: Gradient,
        residuals: Gradient,
        states: Any,
        stream: Stream,
        mean: Gradient,
        tally: Tally,
    ) -> Any:
        """Do the same for gradients + residuals, both of shape (N, n), and leave there what was not sent."""
        mean[...] = 0
        after = []
        rows = zip(gradients, residuals, states, strict=True)
        for node, (gradient, residual, state) in enumerate(rows):
            own = stream._replace(node=stream.node + node)
            after.append(self.accumulate_with_residual(gradient, residual, state, own, mean, tally))
        return _divided(mean, len(gradients), after)

    def average_in_place(
        self, corrected: Gradient, states: Any, stream: Stream, mean: Gradient, tally: Tally
    ) -> Any:
        """Do the same for what `corrected`, of shape (N, n), holds, and leave there what was not sent.

        With error feedback a gradient is added to what the step before left: a buffer that is never cleared
        serves as gradient and residual at once, and saves a pass over memory.
        """
        mean[...] = 0
        after = []
        for node, (row, state) in enumerate(zip(corrected, states, strict=True)):
            message, state = self.compress(row, state, stream._replace(node=stream.node + node))
            sent = self.decompress(message)
            mean += sent
            row -= sent
            self.count(message, tally)
            after.append(state)
        return _divided(mean, len(corrected), after)


def _divided(total: Gradient, nodes: int, states: list[Any]) -> list[Any]:
    if is_torch(total):  # by a tensor: on a device, torch multiplies by the inverse of a number instead
        total /= total.new_full((1,), nodes)  # type: ignore[attr-defined]
    elif nodes > 1:
        total /= np.float32(nodes)
    return states

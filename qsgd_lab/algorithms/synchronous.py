"""Synchronous SGD with compressed gradients: every node sends, everyone receives the mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.tally import Tally
from qsgd_lab.compressors import Compressor, ErrorFeedback
from qsgd_lab.stream import Stream


@dataclass
class SynchronousAverage:
    """N nodes compress their gradients; the agreed gradient is the mean of what a receiver decodes.

    Parameters
    ----------
    compressor : Compressor
        The same at every node.
    nodes : int
        N.
    seed : int
        Of the random words; node and step complete the stream, so that nodes round independently.
    tensor_sizes : tuple of int
        Coordinates of the tensors that make up a gradient.
    """

    compressor: Compressor
    nodes: int
    seed: int
    tensor_sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        size = sum(self.tensor_sizes)
        self.states: Any = self.compressor.init_nodes(self.nodes, size, self.tensor_sizes)
        self._tally = Tally()

    def warm_up(self) -> None:
        """Compile, or load, what `agree` calls, so that the first step takes no longer than the others."""
        one = np.zeros((1, 1), np.float32)
        self.compressor.average(
            one, self.compressor.init_nodes(1, 1), Stream(), np.zeros(1, np.float32), Tally()
        )

    @property
    def tally(self) -> Tally:
        """The counts so far; counts on a device are fetched, which waits for it."""
        return self._tally.settle()

    @tally.setter
    def tally(self, tally: Tally) -> None:
        """Go on from other counts; those still on a device are dropped."""
        self._tally = tally

    def agree(self, gradients: NDArray[np.float32], step: int, mean: NDArray[np.float32]) -> None:
        """Write the agreed gradient of a step to `mean`.

        Parameters
        ----------
        gradients : float32, shape (N, n)
            One row a node.
        step : int
            Counts from 0; part of the random stream.
        mean : float32, shape (n,)
        """
        stream = Stream(self.seed, 0, step)
        self.states = self.compressor.average(gradients, self.states, stream, mean, self._tally)

    @property
    def residuals(self) -> NDArray[np.float32] | None:
        """What the nodes have not sent so far, float32 of shape (N, n); None without error feedback."""
        return self.states.residual if isinstance(self.compressor, ErrorFeedback) else None

    def adopt_residuals(self, residuals: Any) -> None:
        """Keep the residuals from now on in another buffer of shape (N, n), such as one on a device.

        Raises
        ------
        TypeError
            If the compressor has no error feedback.
        """
        if not isinstance(self.compressor, ErrorFeedback):
            raise TypeError("only error feedback keeps residuals")
        self.states = replace(self.states, residual=residuals)

    def agree_on_residuals(self, step: int, mean: NDArray[np.float32]) -> None:
        """Do the same for a step whose gradients have been added to `residuals` in place.

        Raises
        ------
        TypeError
            If the compressor has no error feedback.
        """
        if not isinstance(self.compressor, ErrorFeedback):
            raise TypeError("only error feedback keeps residuals")
        stream = Stream(self.seed, 0, step)
        self.states = self.compressor.average_corrected(self.states, stream, mean, self._tally)

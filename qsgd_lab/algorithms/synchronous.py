"""Synchronous SGD with compressed gradients: every node sends, everyone receives the mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.tally import Tally
from qsgd_lab.compressors import Compressor
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
        self.states: list[Any] = [self.compressor.init(size, self.tensor_sizes) for _ in range(self.nodes)]
        self.tally = Tally()

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
        mean.fill(0)
        for node in range(self.nodes):
            stream = Stream(self.seed, node, step)
            self.states[node] = self.compressor.accumulate(
                gradients[node], self.states[node], stream, mean, self.tally
            )
        if self.nodes > 1:
            mean /= np.float32(self.nodes)

"""Dropout whose random numbers follow from the seed and the step, not from a global generator."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from qsgd_lab.stream import Purpose, generator


class KeyedDropout(nn.Module):
    """Zeroes a share of the activations in training and scales the others, by a stream of its own.

    The stream is keyed by (seed, step, layer) and read row by row, so that image i of a step's global batch
    loses the same activations whether the nodes are computed in turn or at once, and at every number of
    nodes; and a resumed run draws what an undisturbed one would have drawn.

    Parameters
    ----------
    share : float
        Of the activations to be zeroed, in [0, 1).
    """

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        if not 0 <= share < 1:
            raise ValueError(f"the share to drop is {share}; it must be at least 0 and below 1")
        self.share = share
        self._random: np.random.Generator | None = None
        self._rows_before = 0

    def open_stream(self, random: np.random.Generator, rows_before: int = 0) -> None:
        """Draw from a generator from now on, after the rows of so many images before."""
        self._random, self._rows_before = random, rows_before

    def forward(self, activations: torch.Tensor) -> torch.Tensor:
        """Return the activations, thinned in training mode, as they are in evaluation mode.

        Raises
        ------
        RuntimeError
            In training mode, if `open_dropout_streams` was not called before.
        """
        if not self.training or self.share == 0:
            return activations
        if self._random is None:
            raise RuntimeError("dropout has no stream: call open_dropout_streams before each step")
        if self._rows_before:
            self._random.random((self._rows_before, *activations.shape[1:]), dtype=np.float32)
            self._rows_before = 0
        drawn = self._random.random(tuple(activations.shape), dtype=np.float32)
        kept = torch.from_numpy(drawn >= np.float32(self.share)).to(activations.device)
        return activations * kept / (1 - self.share)

    def extra_repr(self) -> str:
        """Return the share, for printing."""
        return f"share={self.share}"


def open_dropout_streams(
    module: nn.Module, seed: int, index: int, purpose: Purpose = Purpose.DROPOUT, rows_before: int = 0
) -> None:
    """Give every dropout layer of a network its stream for one step.

    Parameters
    ----------
    module : nn.Module
    seed : int
    index : int
        The step, 0 to 2**32 - 1.
    purpose : Purpose
    rows_before : int
        Images of the global batch that other processes compute before the first one here.
    """
    layers = (layer for layer in module.modules() if isinstance(layer, KeyedDropout))
    for position, layer in enumerate(layers):
        source = generator(seed, purpose, index).bit_generator
        assert isinstance(source, np.random.Philox)
        layer.open_stream(np.random.Generator(source.jumped(position)), rows_before)

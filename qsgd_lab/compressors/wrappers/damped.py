"""Damping: an unbiased quantizer made a contraction, fit for error feedback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qsgd_lab.coding.tally import Tally
from qsgd_lab.compressors.base import Compressor, Gradient
from qsgd_lab.stream import Stream


@dataclass(frozen=True)
class DampedState:
    """The wrapped compressor's state and the factor 1/(1 + w)."""

    inner: Any
    factor: np.float32


@dataclass(frozen=True)
class DampedMessage:
    """The wrapped compressor's message, and the factor, which its receiver knows too."""

    inner: Any
    factor: np.float32


class Damped(Compressor):
    r"""Wraps an unbiased quantizer of variance factor w: decodes to Q(v) / (1 + w).

    .. math:: E\lVert Q(v)/(1+w) - v \rVert^2 \le \Bigl(1 - \frac{1}{1+w}\Bigr) \lVert v \rVert^2

    Parameters
    ----------
    inner : Compressor

    Raises
    ------
    ValueError
        If the inner compressor is biased.
    """

    def __init__(self, inner: Compressor) -> None:
        if not inner.is_unbiased:
            raise ValueError("only an unbiased quantizer is damped: its variance factor sets the factor")
        self.inner = inner

    def init(self, num_coordinates: int, tensor_sizes: tuple[int, ...] | None = None) -> DampedState:
        """Return the inner state and 1/(1 + w) for this many coordinates."""
        w = self.inner.variance_factor(num_coordinates) or 0.0
        return DampedState(self.inner.init(num_coordinates, tensor_sizes), np.float32(1 / (1 + w)))

    def compress(
        self, gradient: Gradient, state: DampedState, stream: Stream
    ) -> tuple[DampedMessage, DampedState]:
        """Return (inner message with the factor, state)."""
        message, inner = self.inner.compress(gradient, state.inner, stream)
        return DampedMessage(message, state.factor), DampedState(inner, state.factor)

    def decompress(self, message: DampedMessage) -> Gradient:
        """Return the inner gradient times the factor."""
        return self.inner.decompress(message.inner) * message.factor

    def count(self, message: DampedMessage, tally: Tally) -> None:
        """Count the inner message: the factor follows from the configuration."""
        self.inner.count(message.inner, tally)

    @property
    def is_unbiased(self) -> bool:
        """False: it shrinks."""
        return False

    def variance_factor(self, num_coordinates: int) -> float:
        """Return 1 - 1/(1 + w), which is below 1 for every w."""
        return 1 - 1 / (1 + (self.inner.variance_factor(num_coordinates) or 0.0))

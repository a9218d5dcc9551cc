"""Error feedback: what was not sent is added to the next gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qsgd_lab.coding.tally import Tally
from qsgd_lab.compressors.base import Compressor, Gradient
from qsgd_lab.stream import Stream


@dataclass(frozen=True)
class ErrorFeedbackState:
    """The wrapped compressor's state, and the residual: everything not sent so far.

    The residual is float32 of shape (n,), or (N, n) for all nodes together.
    """

    inner: Any
    residual: Gradient


class ErrorFeedback(Compressor):
    r"""Wraps any compressor: sends Q(g + e) and keeps e <- g + e - Q(g + e).

    Parameters
    ----------
    inner : Compressor

    Notes
    -----
    The residual stays bounded if the compressor is a contraction, E||Q(v) - v||^2 <= (1 - delta) ||v||^2 with
    delta > 0 (Karimireddy et al. 2019, Lemma 3). An unbiased quantizer whose `variance_factor` exceeds 1 is
    none, and training with it can diverge; wrap it in `Damped` first, which makes any unbiased quantizer a
    contraction.

    References
    ----------
    Karimireddy, Rebjock, Stich, Jaggi: Error feedback fixes SignSGD and other gradient compression schemes.
    ICML 2019.
    """

    def __init__(self, inner: Compressor) -> None:
        self.inner = inner

    def init(self, num_coordinates: int, tensor_sizes: tuple[int, ...] | None = None) -> ErrorFeedbackState:
        """Return the inner state and a zero residual."""
        return ErrorFeedbackState(
            self.inner.init(num_coordinates, tensor_sizes), np.zeros(num_coordinates, np.float32)
        )

    def compress(
        self, gradient: Gradient, state: ErrorFeedbackState, stream: Stream
    ) -> tuple[Any, ErrorFeedbackState]:
        """Return (message of gradient + residual, state with what it missed); the given state stays."""
        corrected = gradient + state.residual
        message, inner = self.inner.compress(corrected, state.inner, stream)
        return message, ErrorFeedbackState(inner, corrected - self.inner.decompress(message))

    def decompress(self, message: Any) -> Gradient:
        """Return what the inner compressor reads."""
        return self.inner.decompress(message)

    def count(self, message: Any, tally: Tally) -> None:
        """Count the inner message: error feedback sends nothing of its own."""
        self.inner.count(message, tally)

    @property
    def is_unbiased(self) -> bool:
        """False: a message also carries earlier errors."""
        return False

    def variance_factor(self, num_coordinates: int) -> float | None:
        """Return None: the error is that of gradient + residual, not of the gradient."""
        return None

    def accumulate(
        self, gradient: Gradient, state: ErrorFeedbackState, stream: Stream, total: Gradient, tally: Tally
    ) -> ErrorFeedbackState:
        """Fused; the given state's residual is reused, so that the state given is spent."""
        inner = self.inner.accumulate_with_residual(
            gradient, state.residual, state.inner, stream, total, tally
        )
        return ErrorFeedbackState(inner, state.residual)

    def init_nodes(
        self, nodes: int, num_coordinates: int, tensor_sizes: tuple[int, ...] | None = None
    ) -> ErrorFeedbackState:
        """Return the inner states and zero residuals of shape (N, n)."""
        inner = self.inner.init_nodes(nodes, num_coordinates, tensor_sizes)
        return ErrorFeedbackState(inner, np.zeros((nodes, num_coordinates), np.float32))

    def average(
        self, gradients: Gradient, states: ErrorFeedbackState, stream: Stream, mean: Gradient, tally: Tally
    ) -> ErrorFeedbackState:
        """Fused over all nodes; the given residuals are reused, so that the states given are spent."""
        inner = self.inner.average_with_residuals(
            gradients, states.residual, states.inner, stream, mean, tally
        )
        return ErrorFeedbackState(inner, states.residual)

    def average_corrected(
        self, states: ErrorFeedbackState, stream: Stream, mean: Gradient, tally: Tally
    ) -> ErrorFeedbackState:
        """Do the same after the caller has added this step's gradients to ``states.residual`` itself."""
        inner = self.inner.average_in_place(states.residual, states.inner, stream, mean, tally)
        return ErrorFeedbackState(inner, states.residual)

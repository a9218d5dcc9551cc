"""Error feedback: what was not sent is added to the next gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qsgd_lab.compressors.protocol import Agreed, Array, Compressor, Layout, NodeRows, Rounds, Wire, zeros
from qsgd_lab.compressors.registry import Method
from qsgd_lab.ledger import Ledger
from qsgd_lab.stream import Stream


@dataclass(frozen=True)
class ErrorFeedbackState:
    """The wrapped compressor's state, and the residual: everything not sent so far.

    The residual is float32 of shape (n,), or (N, n) for all nodes together; None before the first vector.
    """

    inner: Any
    residual: Array


class ErrorFeedback(Compressor):
    r"""Wraps any compressor: sends Q(g + e) and keeps e <- g + e - Q(g + e).

    The residual is in units of the gradient. It is not rescaled when the learning rate changes.

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
        self.aggregates, self.interactive = inner.aggregates, inner.interactive
        self.takes_device_arrays = inner.takes_device_arrays

    def init(self, layout: Layout) -> ErrorFeedbackState:
        """Return the inner state and a zero residual."""
        return ErrorFeedbackState(self.inner.init(layout), zeros((layout.num_coordinates,), None))

    def compress(
        self, gradient: Array, state: ErrorFeedbackState, stream: Stream
    ) -> tuple[Any, ErrorFeedbackState]:
        """Return (payload of gradient + residual, state with what it missed); the given state is kept."""
        corrected = gradient + state.residual
        payload, inner = self.inner.compress(corrected, state.inner, stream)
        return payload, self._kept(inner, corrected - self.inner.decompress(payload))

    def decompress(self, payload: Any) -> Array:
        """Return what the inner compressor reads."""
        return self.inner.decompress(payload)

    @property
    def wire(self) -> Wire[Any]:
        """The inner compressor's: error feedback sends nothing of its own."""
        return self.inner.wire

    @property
    def is_unbiased(self) -> bool:
        """False: a payload also carries earlier errors."""
        return False

    def variance_factor(self, num_coordinates: int) -> float | None:
        """Return None: the error is that of gradient + residual, not of the gradient."""
        return None

    def buffer(self, states: ErrorFeedbackState) -> Array:
        """Return the residuals of all nodes, shape (N, n): gradients may be added there."""
        return states.residual

    def init_nodes(self, nodes: int, layout: Layout, like: Array | None = None) -> Any:
        """Return the inner states and zero residuals of shape (N, n), where `like` is."""
        if self.interactive:  # each node plays its own rounds, with a state of its own
            return [self.init(layout) for _ in range(nodes)]
        inner = self.inner.init_nodes(nodes, layout, like)
        return ErrorFeedbackState(inner, zeros((nodes, layout.num_coordinates), like))

    def mean(
        self, rows: NodeRows, states: ErrorFeedbackState, stream: Stream, out: Array, ledger: Ledger
    ) -> ErrorFeedbackState:
        """Average gradients + residuals; the residuals are overwritten, so the given states are spent."""
        corrected = NodeRows(rows.gradients, states.residual)
        inner = self.inner.mean(corrected, states.inner, stream, out, ledger)
        return self._kept(inner, states.residual)

    def add_decoded(self, message: bytes, layout: Layout, total: Array) -> None:
        """Add what the inner compressor reads."""
        self.inner.add_decoded(message, layout, total)

    def rounds(self, vector: Array, state: ErrorFeedbackState, stream: Stream) -> Rounds:
        """Agree on gradient + residual by the inner compressor's rounds, and keep what was not sent."""
        corrected = vector + state.residual
        agreed = yield from self.inner.rounds(corrected, state.inner, stream)
        return Agreed(agreed.mean, agreed.sent, self._kept(agreed.state, corrected - agreed.sent))

    def _kept(self, inner: Any, residual: Array) -> ErrorFeedbackState:
        """Return the state after a step that left this residual."""
        return ErrorFeedbackState(inner, residual)


METHOD = Method(
    "ef",
    ErrorFeedback,
    (),
    lambda options: f"{options['inner']} + EF",
    summary="error feedback: what was not sent is added to the next gradient",
    source="Seide et al. 2014; Karimireddy et al., ICML 2019",
    theory="qsgd_lab.theory.error_feedback",
    is_wrapper=True,
)

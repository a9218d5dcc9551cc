"""Error feedback: what was not sent is added to the next gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qsgd_lab.compressors.protocol import Agreed, Array, Compressor, Layout, NodeRows, Rounds, Wire, zeros
from qsgd_lab.compressors.registry import Method, Option
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

    With `beta` below 1 the residual is a moving average, e <- (1 - beta) e + beta (g + e - Q(g + e)); with
    `decay` below 1 either is multiplied by it: old errors fade.

    The residual is in units of the gradient. It is not rescaled when the learning rate changes.

    Parameters
    ----------
    inner : Compressor
    beta : float
        Above 0, at most 1; LoCo's share of the new error.
    decay : float
        Above 0, at most 1.

    Raises
    ------
    ValueError
        If beta or decay is out of its range, or the compressor keeps what was not sent itself.

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
    Xie, Lin, Toh, Zhou: LoCo. TPAMI 2025 (beta).
    """

    def __init__(self, inner: Compressor, beta: float = 1.0, decay: float = 1.0) -> None:
        for name, value in (("beta", beta), ("decay", decay)):
            if not 0 < value <= 1:
                raise ValueError(f"{name} is {value}; it must be above 0 and at most 1")
        if inner.decodes_differences:
            raise ValueError("EF21 and DIANA keep what was not sent themselves: leave out ef(...)")
        self.inner, self.beta, self.decay = inner, beta, decay
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
        missed = corrected - self.inner.decompress(payload)
        return payload, self._kept(inner, self._faded(missed, state.residual))

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

    def buffer(self, states: ErrorFeedbackState) -> Array | None:
        """Return the residuals of all nodes, shape (N, n): gradients may be added there.

        None where the old residuals are still needed afterwards.
        """
        return states.residual if self.beta == 1 else None

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
        old = states.residual if self.beta == 1 else states.residual + 0
        corrected = NodeRows(rows.gradients, states.residual)
        inner = self.inner.mean(corrected, states.inner, stream, out, ledger)
        if self.beta != 1 or self.decay != 1:
            states.residual[...] = self._faded(states.residual, old)
        return self._kept(inner, states.residual)

    def add_decoded(self, message: bytes, layout: Layout, total: Array) -> None:
        """Add what the inner compressor reads."""
        self.inner.add_decoded(message, layout, total)

    def rounds(self, vector: Array, state: ErrorFeedbackState, stream: Stream) -> Rounds:
        """Agree on gradient + residual by the inner compressor's rounds, and keep what was not sent."""
        corrected = vector + state.residual
        agreed = yield from self.inner.rounds(corrected, state.inner, stream)
        missed = self._faded(corrected - agreed.sent, state.residual)
        return Agreed(agreed.mean, agreed.sent, self._kept(agreed.state, missed))

    def _faded(self, missed: Array, old: Array) -> Array:
        """Return what is kept of what was missed and of the residual before; at the defaults, the former."""
        if self.beta != 1:
            missed = old * (1 - self.beta) + missed * self.beta
        return missed if self.decay == 1 else missed * self.decay

    def _kept(self, inner: Any, residual: Array) -> ErrorFeedbackState:
        """Return the state after a step that left this residual."""
        return ErrorFeedbackState(inner, residual)


def _label(options: Mapping[str, Any]) -> str:
    changed = "".join(f", {name} {options[name]:g}" for name in ("beta", "decay") if options[name] != 1)
    return f"{options['inner']} + EF{changed}"


METHOD = Method(
    "ef",
    ErrorFeedback,
    (
        Option("beta", float, 1.0, "share of the new error in the residual; below 1 a moving average (LoCo)"),
        Option("decay", float, 1.0, "factor on the residual each step; below 1 old errors fade"),
    ),
    _label,
    summary="error feedback: what was not sent is added to the next gradient",
    source="Seide et al. 2014; Karimireddy et al., ICML 2019",
    theory="qsgd_lab.theory.error_feedback",
    is_wrapper=True,
)

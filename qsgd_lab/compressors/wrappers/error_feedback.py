"""Error feedback: what was not sent is added to the next gradient."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qsgd_lab.arrays import is_torch
from qsgd_lab.compressors.calls import check_wrapped
from qsgd_lab.compressors.protocol import Agreed, Array, Compressor, Layout, NodeRows, Rounds, Wire, zeros
from qsgd_lab.compressors.registry import Method, Option
from qsgd_lab.ledger import Ledger
from qsgd_lab.stream import Stream

#: What a residual is measured in.
UNITS = ("gradient", "update")


@dataclass(frozen=True)
class ErrorFeedbackState:
    """The wrapped compressor's state, and the residual: everything not sent so far.

    The residual is float32 of shape (n,), or (N, n) for all nodes together; zero before the first vector.
    """

    inner: Any
    residual: Array

    @property
    def num_coordinates(self) -> int:
        """Coordinates of the gradients that are taken."""
        return int(self.residual.shape[-1])


@dataclass(frozen=True)
class RatedState(ErrorFeedbackState):
    """The state of residuals in units of the update: also the learning rate by which they are divided.

    The rate is 0 before the first one is known.
    """

    rate: float = 0.0


class ErrorFeedback(Compressor):
    r"""Wraps any compressor: sends Q(g + e) and keeps e <- g + e - Q(g + e).

    With `beta` below 1 the residual is a moving average, e <- (1 - beta) e + beta (g + e - Q(g + e)); with
    `decay` below 1 either is multiplied by it: old errors fade.

    Parameters
    ----------
    inner : Compressor
    unit : {"gradient", "update"}
        Of the residual. In units of the gradient it is left as it is when the learning rate changes: what was
        left unsent at the old rate is applied at the new one. In units of the update, as in the literature,
        the debt to the parameters stays: at a change from rate a to rate b the residual is multiplied by a/b.
        `at_rate` must then be told the rate of each step; training does so.
    skip_nonfinite : bool
        Whether a step whose vectors or mean hold NaN or an infinity leaves residuals and states as they were
        before it, so that it can be skipped, as torch's ``GradScaler`` skips it. A node whose vector is not
        finite sends NaN throughout, so that everybody sees it. This takes one more array and pass over
        memory, and on a device waits for it. Otherwise such coordinates of a residual become 0, and what was
        unsent there is lost.
    beta : float
        Above 0, at most 1; LoCo's share of the new error.
    decay : float
        Above 0, at most 1.

    Raises
    ------
    TypeError
        If `inner` is no compressor.
    ValueError
        If the unit is unknown, beta or decay is out of its range, error feedback is wrapped already, or the
        compressor keeps what was not sent itself.

    Notes
    -----
    The residual stays bounded if the compressor is a contraction, E||Q(v) - v||^2 <= (1 - delta) ||v||^2 with
    delta > 0 (Karimireddy et al. 2019, Lemma 3). An unbiased quantizer whose `variance_factor` exceeds 1 is
    none, and training with it can diverge; wrap it in `Damped` first, which makes any unbiased quantizer a
    contraction.

    `compress` knows one node alone: with `skip_nonfinite` it keeps the state where that node's vector is not
    finite. The caller that knows the mean of all nodes asks `settled` which state to go on with.

    References
    ----------
    Karimireddy, Rebjock, Stich, Jaggi: Error feedback fixes SignSGD and other gradient compression schemes.
    ICML 2019.
    Xie, Lin, Toh, Zhou: LoCo. TPAMI 2025 (beta).
    """

    keeps_errors = True
    is_unbiased = False  # a payload also carries earlier errors

    def __init__(
        self,
        inner: Compressor,
        *,
        unit: str = "gradient",
        skip_nonfinite: bool = False,
        beta: float = 1.0,
        decay: float = 1.0,
    ) -> None:
        check_wrapped(inner, Compressor, "error feedback")
        if unit not in UNITS:
            raise ValueError(f"unknown unit {unit!r} of the residual; known: {', '.join(UNITS)}")
        for name, value in (("beta", beta), ("decay", decay)):
            if not 0 < value <= 1:
                raise ValueError(f"{name} is {value}; it must be above 0 and at most 1")
        if inner.decodes_differences:
            raise ValueError("EF21 and DIANA keep what was not sent themselves: leave out ef(...)")
        if any(wrapped.keeps_errors for wrapped in inner.chain()):
            raise ValueError("error feedback wraps no other error feedback: what was not sent is kept once")
        self.inner, self.unit, self.skip_nonfinite = inner, unit, skip_nonfinite
        self.beta, self.decay = beta, decay
        self.aggregates, self.interactive = inner.aggregates, inner.interactive
        self.takes_device_arrays = inner.takes_device_arrays

    def init(self, layout: Layout) -> ErrorFeedbackState:
        """Return the inner state and a zero residual."""
        return self._state(self.inner.init(layout), zeros((layout.num_coordinates,), None))

    def _state(self, inner: Any, residual: Array) -> ErrorFeedbackState:
        return RatedState(inner, residual) if self.unit == "update" else ErrorFeedbackState(inner, residual)

    def at_rate(self, states: Any, rate: float) -> Any:
        """Return the states for a step of this learning rate; a residual in units of the update is rescaled.

        Raises
        ------
        ValueError
            If the unit is "update" and the rate is not positive and finite: nothing can be measured in it.
        """
        inner = self.inner.at_rate(states.inner, rate)
        if not isinstance(states, RatedState):
            return states if inner is states.inner else replace(states, inner=inner)
        if not 0 < rate < float("inf"):
            raise ValueError(f"the learning rate is {rate}; unit=update needs one above 0")
        residual = states.residual
        if states.rate not in (0.0, rate):
            with np.errstate(over="ignore"):
                residual = residual * np.float32(states.rate / rate)
        return replace(states, inner=inner, residual=residual, rate=float(rate))

    def settled(self, before: Any, after: Any, mean: Array) -> Any:
        """Return the state from before the step if it is to be skipped: the mean is not finite."""
        return before if self.skip_nonfinite and not _is_finite(mean) else after

    def compress(
        self, gradient: Array, state: ErrorFeedbackState, stream: Stream
    ) -> tuple[Any, ErrorFeedbackState]:
        """Return (payload of gradient + residual, state with what it missed); the given state is kept."""
        with np.errstate(invalid="ignore", over="ignore"):
            corrected = gradient + state.residual
            if self.skip_nonfinite and not _are_finite(corrected[None]):
                return self.inner.compress(corrected, state.inner, stream)[0], state
            payload, inner = self.inner.compress(corrected, state.inner, stream)
            return payload, self._kept(
                state, inner, self._faded(corrected - self.inner.decompress(payload), state.residual)
            )

    def decompress(self, payload: Any) -> Array:
        """Return what the inner compressor reads."""
        return self.inner.decompress(payload)

    @property
    def wire(self) -> Wire[Any]:
        """The inner compressor's: error feedback sends nothing of its own."""
        return self.inner.wire

    def variance_factor(self, num_coordinates: int) -> float | None:
        """Return None: the error is that of gradient + residual, not of the gradient."""
        return None

    def buffer(self, states: ErrorFeedbackState) -> Array | None:
        """Return the residuals of all nodes, shape (N, n), to which gradients may be added.

        None where residuals must be known apart: to be rescaled, averaged, or kept if the gradients are not
        finite.
        """
        is_apart = self.skip_nonfinite or self.unit == "update" or self.beta != 1
        return None if is_apart else states.residual

    def init_nodes(self, nodes: int, layout: Layout, like: Array | None = None) -> Any:
        """Return the inner states and zero residuals of shape (N, n), where `like` is."""
        if self.interactive:  # each node plays its own rounds, with a state of its own
            return [self.init(layout) for _ in range(nodes)]
        inner = self.inner.init_nodes(nodes, layout, like)
        return self._state(inner, zeros((nodes, layout.num_coordinates), like))

    def mean(
        self, rows: NodeRows, states: ErrorFeedbackState, stream: Stream, out: Array, ledger: Ledger
    ) -> ErrorFeedbackState:
        """Average gradients + residuals; the residuals are overwritten, so the given states are spent."""
        with np.errstate(invalid="ignore", over="ignore"):
            if self.skip_nonfinite and rows.gradients is not None:
                return self._mean_or_skip(rows.gradients, states, stream, out, ledger)
            old = states.residual if self.beta == 1 else states.residual + 0
            corrected = NodeRows(rows.gradients, states.residual)
            inner = self.inner.mean(corrected, states.inner, stream, out, ledger)
            if self.beta != 1 or self.decay != 1:
                states.residual[...] = self._faded(states.residual, old)
            return self._kept(states, inner, states.residual)

    def _mean_or_skip(
        self, gradients: Array, states: ErrorFeedbackState, stream: Stream, out: Array, ledger: Ledger
    ) -> ErrorFeedbackState:
        """Average into an array beside the residuals, and take it in their place if all is finite."""
        own = copy.deepcopy(states.inner)  # a pass over all nodes may overwrite it
        residual = gradients + states.residual
        _are_finite(residual)
        inner = self.inner.mean(NodeRows(None, residual), own, stream, out, ledger)
        if not (_is_finite(out) and _is_finite(residual)):
            return states
        return self._kept(states, inner, self._faded(residual, states.residual))

    def add_decoded(self, message: bytes, layout: Layout, total: Array) -> None:
        """Add what the inner compressor reads."""
        self.inner.add_decoded(message, layout, total)

    def rounds(self, vector: Array, state: ErrorFeedbackState, stream: Stream) -> Rounds:
        """Agree on gradient + residual by the inner compressor's rounds, and keep what was not sent."""
        with np.errstate(invalid="ignore", over="ignore"):
            corrected = vector + state.residual
        if self.skip_nonfinite:
            _are_finite(corrected[None])
        agreed = yield from self.inner.rounds(corrected, state.inner, stream)
        with np.errstate(invalid="ignore", over="ignore"):
            residual = self._faded(corrected - agreed.sent, state.residual)
        if self.skip_nonfinite and not (_is_finite(agreed.mean) and _is_finite(residual)):
            return Agreed(agreed.mean, agreed.sent, state)
        return Agreed(agreed.mean, agreed.sent, self._kept(state, agreed.state, residual))

    def _faded(self, missed: Array, old: Array) -> Array:
        """Return what is kept of what was missed and of the residual before; at the defaults, the former."""
        if self.beta != 1:
            missed = old * (1 - self.beta) + missed * self.beta
        return missed if self.decay == 1 else missed * self.decay

    def _kept(self, state: ErrorFeedbackState, inner: Any, residual: Array) -> ErrorFeedbackState:
        """Return the state after a step that left this residual."""
        _clear_nonfinite(residual)
        return replace(state, inner=inner, residual=residual)


def _are_finite(vectors: Array) -> bool:
    """Whether all vectors are finite; one that is not becomes NaN throughout, so that every part shows it."""
    finite = [_is_finite(vector) for vector in vectors]
    for vector, is_finite in zip(vectors, finite, strict=True):
        if not is_finite:
            vector[...] = float("nan")
    return all(finite)


def _is_finite(values: Array) -> bool:
    """Whether no value is NaN or infinite."""
    if is_torch(values):
        return bool(values.isfinite().all())
    flat = values.reshape(-1)
    with np.errstate(all="ignore"):
        # The sum of squares is the fastest pass there is; where it overflows it says nothing.
        return bool(np.isfinite(np.dot(flat, flat)) or np.isfinite(flat).all())


def _clear_nonfinite(residual: Array) -> None:
    """Set what is not finite to 0: added to every later gradient, it would spoil all of them."""
    if is_torch(residual):  # without looking first, for which a device would be waited for
        residual.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
    elif not _is_finite(residual):
        residual[~np.isfinite(residual)] = 0


def _make(inner: Compressor, unit: str, skip_nonfinite: str, beta: float, decay: float) -> ErrorFeedback:
    return ErrorFeedback(inner, unit=unit, skip_nonfinite=skip_nonfinite == "true", beta=beta, decay=decay)


def _label(options: Mapping[str, Any]) -> str:
    unit = "" if options["unit"] == "gradient" else f" ({options['unit']})"
    changed = "".join(f", {name} {options[name]:g}" for name in ("beta", "decay") if options[name] != 1)
    skips = ", skips" if options["skip_nonfinite"] == "true" else ""
    return f"{options['inner']} + EF{unit}{changed}{skips}"


METHOD = Method(
    "ef",
    _make,
    (
        Option("unit", str, "gradient", "of residuals, when the learning rate changes", choices=UNITS),
        Option(
            "skip_nonfinite",
            str,
            "false",
            "whether a step that is not finite leaves residuals as they were",
            choices=("false", "true"),
        ),
        Option("beta", float, 1.0, "share of the new error in the residual; below 1 a moving average (LoCo)"),
        Option("decay", float, 1.0, "factor on the residual each step; below 1 old errors fade"),
    ),
    _label,
    summary="error feedback: what was not sent is added to the next gradient",
    source="Seide et al. 2014; Karimireddy et al., ICML 2019",
    theory="qsgd_lab.theory.error_feedback",
    is_wrapper=True,
)

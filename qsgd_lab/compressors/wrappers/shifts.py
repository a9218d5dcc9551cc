"""EF21 and DIANA: nodes send the compressed difference between their gradient and a shift that they keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from qsgd_lab.compressors.calls import check_wrapped
from qsgd_lab.compressors.protocol import (
    Agreed,
    Array,
    Compressor,
    Gather,
    Layout,
    NodeRows,
    Rounds,
    Wire,
    divide,
    zeros,
)
from qsgd_lab.compressors.registry import Method, Option
from qsgd_lab.errors import MessageError
from qsgd_lab.ledger import Ledger, Size
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.stream import Stream
from qsgd_lab.wire import message
from qsgd_lab.wire.kinds.raw import Raw

#: How a node's first message is sent.
FIRST = ("compressed", "dense")
#: Coordinates for which a wrapped compressor's factor is asked before any gradient is known.
MANY = 2**20


@dataclass(frozen=True)
class ShiftState:
    """The wrapped compressor's state, the shifts, and the mean of all nodes' shifts.

    Arrays are float32 of shape (n,); for all nodes together, shifts are (N, n) and `inner` a list.
    """

    inner: Any
    shift: Array
    mean: Array

    @property
    def num_coordinates(self) -> int:
        """Coordinates of the gradients that are taken."""
        return int(self.mean.shape[0])


@dataclass(frozen=True)
class DenseStartState(ShiftState):
    """The state of nodes whose first message is dense: also whether it has been sent."""

    started: bool = False


class DenseStartWire(Wire[Any]):
    """The wrapped compressor's messages, and a first one of float32 values: kind "raw" of wire format 2."""

    kind = "raw"

    def __init__(self, inner: Wire[Any]) -> None:
        self.inner = inner

    def size(self, payload: Any) -> Size:
        """Return the wrapped wire's size; of a first message all forms are equal but for the envelope."""
        if not _is_dense_start(payload):
            return self.inner.size(payload)
        forms = {"fixed": FLOAT_BITS * payload.values.size, "message": message.size(payload)}
        return Size(payload.values.size, forms)

    def pack(self, payload: Any) -> bytes:
        """Return the message."""
        return bytes(message.pack(payload)) if _is_dense_start(payload) else self.inner.pack(payload)

    def unpack(self, received: bytes, layout: Layout) -> Any:
        """Read a message of either kind."""
        n = layout.num_coordinates
        try:
            payload = message.unpack(received, max_coordinates=n, kinds=["raw"])
        except MessageError:
            return self.inner.unpack(received, layout)
        if not _is_dense_start(payload):
            return self.inner.unpack(received, layout)
        if payload.values.shape != (n,):
            raise MessageError(f"the message is not of {n} coordinates in float32")
        return payload


def _is_dense_start(payload: Any) -> bool:
    """Whether a payload is a dense first message: of float32, for fp16 and bf16 send kind raw, too."""
    return isinstance(payload, Raw) and payload.values.dtype == np.float32


class Shifted(Compressor):
    r"""Sends m_i = C(g_i - h_i); all take h + mean m_i for the gradient; h_i += a m_i, h += a mean m_i.

    EF21 is a = 1 with a contraction C: h_i follows the gradient, and what C misses is sent later. DIANA is
    a = 1/(1 + w) with an unbiased C of variance factor w: the estimate is unbiased, and its noise falls with
    the shifts' distance from the gradients, so that unlike nodes converge without noise of their own.

    A receiver needs the shifts' mean, so that a payload decodes to a difference. The first messages are
    differences to zero, compressed as all others or, with ``first="dense"``, in float32: then the shifts
    begin at the first gradients. Both are for full gradients: under the noise of batches EF21 needs momentum.

    A step whose differences, as receivers add them up, hold NaN or an infinity gives that for the gradient,
    and leaves all shifts and states as they were before it: a shift would keep it for ever.

    Parameters
    ----------
    inner : Compressor
    biased : bool
        Whether C is a contraction (EF21), or unbiased (DIANA).
    rate : float
        a; 0 takes 1 for EF21 and 1/(1 + w) for DIANA.
    first : {"compressed", "dense"}
        How the first message is sent; either is counted as it is.

    Raises
    ------
    TypeError
        If `inner` is no compressor.
    ValueError
        If the theory forbids what is wrapped: EF21 needs a contraction, DIANA an unbiased compressor, and
        neither can wrap a compressor that keeps errors or shifts itself.

    References
    ----------
    Richtarik, Sokolov, Fatkhullin: EF21. NeurIPS 2021.
    Mishchenko, Gorbunov, Takac, Richtarik: Distributed learning with compressed gradient differences. 2019.
    """

    decodes_differences = True

    def __init__(
        self, inner: Compressor, *, biased: bool, rate: float = 0.0, first: str = "compressed"
    ) -> None:
        name = "EF21" if biased else "DIANA"
        check_wrapped(inner, Compressor, name)
        if inner.interactive:
            raise ValueError(f"{name} does not wrap a compressor of several rounds")
        if inner.keeps_errors or inner.decodes_differences:
            raise ValueError(f"{name} keeps what was not sent itself: wrap the compressor without feedback")
        if not biased and not inner.is_unbiased:
            raise ValueError("DIANA needs an unbiased compressor; for a contraction such as top-k, use ef21")
        if biased and inner.contraction(MANY) is None:
            raise ValueError(
                f"EF21 needs a contraction, which this compressor is not known to be on {MANY} coordinates: "
                "wrap it in damped(...), or use diana for an unbiased compressor"
            )
        if not 0 <= rate <= 1:
            raise ValueError(f"rate is {rate}; it must be from 0 to 1, and 0 takes the theory's")
        if not biased and not rate and inner.variance_factor(MANY) is None:
            raise ValueError(
                "no variance factor of this compressor is known, to set DIANA's rate: give rate="
            )
        if first not in FIRST:
            raise ValueError(f"first is {first!r}; it must be one of: {', '.join(FIRST)}")
        self.inner, self.biased, self.rate, self.first = inner, biased, rate, first

    def rate_for(self, num_coordinates: int) -> np.float32:
        """Return a."""
        if self.rate:
            return np.float32(self.rate)
        factor = self.inner.variance_factor(num_coordinates)
        return np.float32(1 if self.biased else 1 / (1 + (factor or 0.0)))

    def init(self, layout: Layout) -> ShiftState:
        """Return the inner state and shifts of zero."""
        n = layout.num_coordinates
        return self._state(self.inner.init(layout), zeros((n,), None), zeros((n,), None))

    def _state(self, inner: Any, shift: Array, mean: Array, *, started: bool = False) -> ShiftState:
        if self.first == "dense":
            return DenseStartState(inner, shift, mean, started)
        return ShiftState(inner, shift, mean)

    def _send(
        self, difference: Array, state: ShiftState, inner: Any, stream: Stream
    ) -> tuple[Any, Any, Array, np.float32]:
        """Return (payload, inner state, what a receiver decodes, a) of one node's difference."""
        if isinstance(state, DenseStartState) and not state.started:
            return Raw(difference), inner, difference, np.float32(1)
        payload, inner = self.inner.compress(difference, inner, stream)
        return payload, inner, self.inner.decompress(payload), self.rate_for(difference.size)

    def compress(self, gradient: Array, state: ShiftState, stream: Stream) -> tuple[Any, ShiftState]:
        """Return (payload of the difference, state with the node's own shift moved).

        The mean of the shifts moves only in `mean` and `rounds`, where all nodes' payloads are known.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            payload, inner, sent, rate = self._send(gradient - state.shift, state, state.inner, stream)
            if not np.isfinite(sent).all():
                return payload, state
            return payload, self._state(inner, state.shift + rate * sent, state.mean, started=True)

    def decompress(self, payload: Any) -> Array:
        """Return the difference that a payload carries; a receiver adds the mean of the shifts."""
        return payload.values if _is_dense_start(payload) else self.inner.decompress(payload)

    @property
    def wire(self) -> Wire[Any]:
        """The inner compressor's, and that of a dense first message where there is one."""
        return DenseStartWire(self.inner.wire) if self.first == "dense" else self.inner.wire

    @property
    def is_unbiased(self) -> bool:
        """True for DIANA: what is agreed on has the gradients' mean as its expectation."""
        return not self.biased

    def variance_factor(self, num_coordinates: int) -> None:
        """Return None: the error is relative to the gradient's distance from the shift."""
        return

    def init_nodes(self, nodes: int, layout: Layout, like: Array | None = None) -> ShiftState:
        """Return the inner states of N nodes, shifts of shape (N, n) and their mean, all zero."""
        n = layout.num_coordinates
        inner = [self.inner.init(layout) for _ in range(nodes)]
        return self._state(inner, zeros((nodes, n), None), zeros((n,), None))

    def mean(
        self, rows: NodeRows, states: ShiftState, stream: Stream, out: Array, ledger: Ledger
    ) -> ShiftState:
        """Write the shifts' mean plus the mean of the differences; the states given are spent.

        Raises
        ------
        ValueError
            If residuals are given: what was not sent would be kept twice.
        """
        if rows.gradients is None or rows.residuals is not None:
            raise ValueError("EF21 and DIANA keep what was not sent themselves: leave out other feedback")
        rate, total, inner, decoded = np.float32(1), np.zeros_like(out), [], []
        with np.errstate(invalid="ignore", over="ignore"):
            for node, (gradient, state) in enumerate(zip(rows.gradients, states.inner, strict=True)):
                own = stream._replace(node=stream.node + node)
                payload, after, sent, rate = self._send(gradient - states.shift[node], states, state, own)
                total += sent
                ledger.add(self.wire.size(payload))
                inner.append(after)
                decoded.append(sent)
            divide(total, len(inner))
            out[...] = states.mean + total
        if not np.isfinite(total).all():
            return states
        for shift, sent in zip(states.shift, decoded, strict=True):  # only now that all nodes' are known
            shift += rate * sent
        states.mean[...] += rate * total
        return self._state(inner, states.shift, states.mean, started=True)

    def rounds(self, vector: Array, state: ShiftState, stream: Stream) -> Rounds:
        """Exchange differences; every node moves the same mean of the shifts."""
        with np.errstate(invalid="ignore", over="ignore"):
            payload, inner, decoded, rate = self._send(vector - state.shift, state, state.inner, stream)
        payloads = yield Gather(payload)
        total = np.zeros_like(vector)
        with np.errstate(invalid="ignore", over="ignore"):
            for received in payloads:
                total += self.decompress(received)
            divide(total, len(payloads))
            if not np.isfinite(total).all():
                return Agreed(state.mean + total, state.shift + decoded, state)
        after = self._state(inner, state.shift + rate * decoded, state.mean + rate * total, started=True)
        return Agreed(state.mean + total, state.shift + decoded, after)


_FIRST = Option("first", str, "compressed", "how a node's first message is sent", choices=FIRST)


def _label(name: str, options: Mapping[str, Any]) -> str:
    rate = f" {options['rate']:g}" if options.get("rate") else ""
    start = "" if options["first"] == "compressed" else ", dense start"
    return f"{options['inner']} + {name}{rate}{start}"


METHODS = (
    Method(
        "ef21",
        lambda inner, first: Shifted(inner, biased=True, first=first),
        (_FIRST,),
        partial(_label, "EF21"),
        summary="sends what a contraction makes of the gradient's difference to what was sent so far",
        source="Richtarik, Sokolov, Fatkhullin, NeurIPS 2021",
        theory="qsgd_lab.theory.methods.shifts",
        is_wrapper=True,
    ),
    Method(
        "diana",
        lambda inner, rate, first: Shifted(inner, biased=False, rate=rate, first=first),
        (Option("rate", float, 0.0, "a of the shifts, from 0 to 1; 0 takes 1/(1 + w)"), _FIRST),
        partial(_label, "DIANA"),
        summary="sends the gradient's difference to a shift that learns it: unbiased, for unlike nodes",
        source="Mishchenko, Gorbunov, Takac, Richtarik, 2019",
        theory="qsgd_lab.theory.methods.shifts",
        is_wrapper=True,
    ),
)

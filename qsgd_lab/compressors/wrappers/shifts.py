"""EF21 and DIANA: nodes send the compressed difference between their gradient and a shift that they keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

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
from qsgd_lab.compressors.wrappers.error_feedback import ErrorFeedback
from qsgd_lab.ledger import Ledger
from qsgd_lab.stream import Stream

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


class Shifted(Compressor):
    r"""Sends m_i = C(g_i - h_i); all take h + mean m_i for the gradient; h_i += a m_i, h += a mean m_i.

    EF21 is a = 1 with a contraction C: h_i follows the gradient, and what C misses is sent later. DIANA is
    a = 1/(1 + w) with an unbiased C of variance factor w: the estimate is unbiased, and its noise falls with
    the shifts' distance from the gradients, so that unlike nodes converge without noise of their own.

    A receiver needs the shifts' mean, so that a payload decodes to a difference. The first messages are
    differences to zero. Both are for full gradients: under the noise of batches EF21 needs momentum.

    Parameters
    ----------
    inner : Compressor
    biased : bool
        Whether C is a contraction (EF21), or unbiased (DIANA).
    rate : float
        a; 0 takes 1 for EF21 and 1/(1 + w) for DIANA.

    Raises
    ------
    ValueError
        If the theory forbids what is wrapped: EF21 needs a contraction, DIANA an unbiased compressor, and
        neither can wrap a compressor that keeps errors or shifts itself.

    References
    ----------
    Richtarik, Sokolov, Fatkhullin: EF21. NeurIPS 2021.
    Mishchenko, Gorbunov, Takac, Richtarik: Distributed learning with compressed gradient differences. 2019.
    """

    decodes_differences = True

    def __init__(self, inner: Compressor, *, biased: bool, rate: float = 0.0) -> None:
        name = "EF21" if biased else "DIANA"
        if inner.interactive:
            raise ValueError(f"{name} does not wrap a compressor of several rounds")
        if isinstance(inner, ErrorFeedback) or inner.decodes_differences:
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
        self.inner, self.biased, self.rate = inner, biased, rate

    def rate_for(self, num_coordinates: int) -> np.float32:
        """Return a."""
        if self.rate:
            return np.float32(self.rate)
        factor = self.inner.variance_factor(num_coordinates)
        return np.float32(1 if self.biased else 1 / (1 + (factor or 0.0)))

    def init(self, layout: Layout) -> ShiftState:
        """Return the inner state and shifts of zero."""
        n = layout.num_coordinates
        return ShiftState(self.inner.init(layout), zeros((n,), None), zeros((n,), None))

    def compress(self, gradient: Array, state: ShiftState, stream: Stream) -> tuple[Any, ShiftState]:
        """Return (payload of the difference, state with the node's own shift moved).

        The mean of the shifts moves only in `mean` and `rounds`, where all nodes' payloads are known.
        """
        payload, inner = self.inner.compress(gradient - state.shift, state.inner, stream)
        moved = state.shift + self.rate_for(gradient.size) * self.inner.decompress(payload)
        return payload, ShiftState(inner, moved, state.mean)

    def decompress(self, payload: Any) -> Array:
        """Return the difference that a payload carries; a receiver adds the mean of the shifts."""
        return self.inner.decompress(payload)

    @property
    def wire(self) -> Wire[Any]:
        """The inner compressor's."""
        return self.inner.wire

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
        return ShiftState(
            [self.inner.init(layout) for _ in range(nodes)], zeros((nodes, n), None), zeros((n,), None)
        )

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
        rate, total, inner = self.rate_for(out.size), np.zeros_like(out), []
        for node, (gradient, state) in enumerate(zip(rows.gradients, states.inner, strict=True)):
            difference = gradient - states.shift[node]
            payload, after = self.inner.compress(difference, state, stream._replace(node=stream.node + node))
            sent = self.inner.decompress(payload)
            total += sent
            states.shift[node] += rate * sent
            ledger.add(self.inner.wire.size(payload))
            inner.append(after)
        divide(total, len(inner))
        out[...] = states.mean + total
        states.mean[...] += rate * total
        return ShiftState(inner, states.shift, states.mean)

    def rounds(self, vector: Array, state: ShiftState, stream: Stream) -> Rounds:
        """Exchange differences; every node moves the same mean of the shifts."""
        payload, after = self.compress(vector, state, stream)
        payloads = yield Gather(payload)
        total = np.zeros_like(vector)
        for received in payloads:
            total += self.inner.decompress(received)
        divide(total, len(payloads))
        moved = state.mean + self.rate_for(vector.size) * total
        sent = state.shift + self.inner.decompress(payload)
        return Agreed(state.mean + total, sent, ShiftState(after.inner, after.shift, moved))


METHODS = (
    Method(
        "ef21",
        lambda inner: Shifted(inner, biased=True),
        (),
        lambda options: f"{options['inner']} + EF21",
        summary="sends what a contraction makes of the gradient's difference to what was sent so far",
        source="Richtarik, Sokolov, Fatkhullin, NeurIPS 2021",
        theory="qsgd_lab.theory.methods.shifts",
        is_wrapper=True,
    ),
    Method(
        "diana",
        lambda inner, rate: Shifted(inner, biased=False, rate=rate),
        (Option("rate", float, 0.0, "a of the shifts, from 0 to 1; 0 takes 1/(1 + w)"),),
        lambda options: f"{options['inner']} + DIANA" + (f" {options['rate']:g}" if options["rate"] else ""),
        summary="sends the gradient's difference to a shift that learns it: unbiased, for unlike nodes",
        source="Mishchenko, Gorbunov, Takac, Richtarik, 2019",
        theory="qsgd_lab.theory.methods.shifts",
        is_wrapper=True,
    ),
)

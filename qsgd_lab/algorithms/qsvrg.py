"""QSVRG: variance-reduced SGD whose inner updates are compressed; linear convergence under strong convexity.

An epoch begins with the full gradient at y, in float32. Each inner step sends, for a term j of each node's
own choice, the compressed vector grad f_j(x) - grad f_j(y) + grad f(y), which vanishes as x and y approach
the optimum, and with it the compression's error. The next y is the mean of the points at which these were
taken.

`QSVRG` is the algorithm, for networks and for problems that nodes share; `qsvrg` is the theorem's setting,
in which every node draws from all terms.

References
----------
Alistarh, Grubic, Li, Tomioka, Vojnovic: QSGD. NeurIPS 2017, section 3.4 and Theorem 3.6.
Johnson, Zhang: Accelerating stochastic gradient descent using predictive variance reduction. NIPS 2013.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from qsgd_lab.algorithms.protocol import Arrays, Hyperparameters, compressors_view
from qsgd_lab.algorithms.synchronous import Synchronous
from qsgd_lab.compressors import Compressor, FullPrecision, Layout
from qsgd_lab.exchange.protocol import Exchange
from qsgd_lab.exchange.simulated import SimulatedExchange
from qsgd_lab.ledger import Ledger
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.registry import Method, Option
from qsgd_lab.stream import Purpose, generator

Floats = NDArray[np.float64]


class QSVRG(Synchronous):
    """Synchronous SGD along variance-reduced gradients, with momentum and decay as the run has them.

    Node i sends the compressed difference of its examples' gradients at x and at y, plus the full gradient at
    y. Every `interval` steps y moves, and the nodes' full gradients there are averaged in float32.

    Parameters
    ----------
    interval : int
        T, steps between two full gradients.
    anchor : {"mean", "last"}
        The next y: the mean of the points at which gradients were taken, as in the theorem, or the last x.
        Steps go on from there.
    """

    needs_oracle = True

    def __init__(self, interval: int = 100, anchor: str = "mean") -> None:
        if interval < 1:
            raise ValueError(f"interval is {interval}; it must be at least 1")
        self.interval, self.next_anchor = interval, anchor

    def check_compressor(self, compressor: Compressor) -> None:
        """Refuse a biased compressor: its error would not vanish in the mean."""
        if not compressor.is_unbiased:
            raise ValueError("qsvrg needs an unbiased compressor, such as qsgd(bits=4)")

    def begin(self, parameters: torch.Tensor, exchange: Exchange, settings: Hyperparameters) -> None:
        """Take the first parameters, shape (n,): the first y."""
        super().begin(parameters, exchange, settings)
        self.anchor = parameters.clone()
        self.full, self.visited = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self.full_exchange = exchange.fork(FullPrecision())

    @property
    def gradient_buffer(self) -> None:
        """None: what is sent is not a sum of gradients at one point."""
        return

    def step(self, gradients: torch.Tensor, step: int, rate: float) -> None:
        """Take an inner step; at the beginning of a round after the full gradient, at its end move y."""
        if step % self.interval == 0:
            everything = self.oracle.full(self.anchor)
            self.full_exchange.mean(compressors_view(everything), step, compressors_view(self.full))
            self.visited.zero_()
        self.visited += self.parameters
        super().step(gradients - self.oracle.again(self.anchor) + self.full, step, rate)
        if (step + 1) % self.interval == 0:
            self.anchor.copy_(self.visited / self.interval if self.next_anchor == "mean" else self.parameters)
            self.parameters.copy_(self.anchor)

    def arrays(self) -> Arrays:
        """Return y, the full gradient there, and the sum of the points since."""
        own = {"anchor": self.anchor, "full": self.full, "visited": self.visited}
        return {**super().arrays(), **{name: tensor.cpu().numpy() for name, tensor in own.items()}}

    def restore(self, arrays: Arrays) -> None:
        """Continue between two full gradients."""
        super().restore(arrays)
        for name in ("anchor", "full", "visited"):
            getattr(self, name).copy_(torch.from_numpy(np.array(arrays[name])))


class FiniteSum(Protocol):
    """A function f = (1/m) sum of f_j, known by its gradients."""

    @property
    def num_terms(self) -> int:
        """The number of terms, m."""

    def gradient(self, point: Floats) -> Floats:
        """Return grad f(x), float64, shape (n,)."""

    def term_gradients(self, point: Floats, terms: NDArray[np.int64]) -> Floats:
        """Return grad f_j(x) for each of K terms, float64, shape (K, n)."""


@dataclass(frozen=True)
class QSVRGEpoch:
    """Where an epoch ended, and what each node sent in it.

    Attributes
    ----------
    point : ndarray of float64, shape (n,)
        The next y.
    bits_per_node : dict of str to float
        By code of the inner updates; the full gradient's float32 is counted in each.
    """

    point: Floats
    bits_per_node: dict[str, float]


def qsvrg(
    problem: FiniteSum,
    start: Floats,
    compressor: Compressor,
    *,
    step: float,
    num_inner_steps: int,
    num_epochs: int,
    nodes: int = 1,
    seed: int = 0,
) -> Iterator[QSVRGEpoch]:
    """Yield the end of each epoch of QSVRG.

    Parameters
    ----------
    problem : FiniteSum
    start : ndarray of float64, shape (n,)
        The first y.
    compressor : Compressor
        Unbiased; the paper has QSGD with s = sqrt(n) levels and one bucket.
    step : float
        eta.
    num_inner_steps, num_epochs : int
        T and the number of epochs.
    nodes : int
        K; in each step every node draws a term of its own.
    seed : int
        Of the terms and of the compressor's random words.

    Raises
    ------
    ValueError
        If a count is below 1.
    """
    if min(num_inner_steps, num_epochs, nodes) < 1:
        raise ValueError("num_inner_steps, num_epochs and nodes must be at least 1")
    exchange = SimulatedExchange(compressor, nodes, seed, Layout.of(start.size))
    anchor = start.astype(np.float64)
    for epoch in range(num_epochs):
        exchange.ledger = Ledger()
        terms = generator(seed, Purpose.DATA_ORDER, epoch).integers(
            problem.num_terms, size=(num_inner_steps, nodes)
        )
        anchor = _epoch(problem, anchor, exchange, terms, step, first_step=epoch * num_inner_steps)
        yield QSVRGEpoch(anchor, _bits_per_node(exchange.ledger, nodes, start.size))


def _epoch(
    problem: FiniteSum,
    anchor: Floats,
    exchange: SimulatedExchange,
    terms: NDArray[np.int64],
    step: float,
    first_step: int,
) -> Floats:
    """Take one inner step for each row of `terms`; return the mean of the points before the steps."""
    full = problem.gradient(anchor)
    point, visited = anchor.copy(), np.zeros_like(anchor)
    update = np.empty(anchor.size, np.float32)
    for offset, chosen in enumerate(terms):
        visited += point
        reduced = problem.term_gradients(point, chosen) - problem.term_gradients(anchor, chosen) + full
        exchange.mean(reduced.astype(np.float32), first_step + offset, update)
        point -= step * update
    return visited / len(terms)


def _bits_per_node(ledger: Ledger, nodes: int, num_coordinates: int) -> dict[str, float]:
    updates = {
        code: each * (ledger.coordinates + ledger.raw_coordinates) / nodes
        for code, each in ledger.bits_per_coordinate().items()
    }
    return {code: bits + FLOAT_BITS * num_coordinates for code, bits in updates.items()}


def _label(options: Any) -> str:
    last = ", last point" if options["anchor"] == "last" else ""
    return f"QSVRG (T = {options['interval']}{last})"


METHOD = Method(
    "qsvrg",
    QSVRG,
    (
        Option("interval", int, 100, "T, steps between two full gradients"),
        Option("anchor", str, "mean", "the next y: mean of the points since, or the last", ("mean", "last")),
    ),
    _label,
    summary="variance-reduced gradients compressed; every T steps the full gradient in float32",
    source="Alistarh et al. 2017, section 3.4",
    theory="qsgd_lab.theory.qsvrg",
)

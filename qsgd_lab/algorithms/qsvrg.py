"""QSVRG: variance-reduced SGD whose inner updates are compressed; linear convergence under strong convexity.

An epoch begins with the full gradient at y, in float32. Each inner step sends, for a term j of each node's
own choice, the compressed vector grad f_j(x) - grad f_j(y) + grad f(y), which vanishes as x and y approach
the optimum, and with it the compression's error. The next y is the mean of the points at which these were
taken.

References
----------
Alistarh, Grubic, Li, Tomioka, Vojnovic: QSGD. NeurIPS 2017, section 3.4 and Theorem 3.6.
Johnson, Zhang: Accelerating stochastic gradient descent using predictive variance reduction. NIPS 2013.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.compressors import Compressor, Layout
from qsgd_lab.exchange.simulated import SimulatedExchange
from qsgd_lab.ledger import Ledger
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.stream import Purpose, generator

Floats = NDArray[np.float64]


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

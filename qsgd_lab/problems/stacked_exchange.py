"""The exchange of R repetitions at once: float64 outside, float32 messages, every repetition by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.compressors import Compressor, FullPrecision
from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.exchange.simulated import SimulatedExchange
from qsgd_lab.ledger import Ledger, Size
from qsgd_lab.traffic import SERVER, Traffic


class StackedExchange:
    """Implements `qsgd_lab.exchange.Exchange` for vectors of R n coordinates, n a repetition.

    Vectors are float64; what a node sends of them is float32, so that a method may converge as far as its
    messages carry, and no further than float32 would. `qsgd_lab.traffic.flow_of` says what nodes receive.

    Parameters
    ----------
    compressor : Compressor
    nodes, dimension : int
        N and n.
    repeats : range
        Numbers of the repetitions; each has random words of its own.
    seed : int
        Below 2**32.
    traffic : Traffic, optional
        Where to count; by default a count of its own.
    is_server : bool
        Whether this is what a server sends by.
    """

    def __init__(
        self,
        compressor: Compressor,
        nodes: int,
        dimension: int,
        repeats: range,
        seed: int,
        traffic: Traffic | None = None,
        is_server: bool = False,
    ) -> None:
        self.compressor, self.nodes, self.seed = compressor, nodes, seed
        self.dimension, self.repeats = dimension, repeats
        self.local, self.ledger, self.traffic = range(nodes), Ledger(), traffic or Traffic()
        self._forks, self._is_server, self._has_server = 0, is_server, is_server
        # float32 coordinates as they are need no exchange a repetition: their mean is one pass over all.
        self._exchanges = (
            []
            if type(compressor) is FullPrecision
            else [
                SimulatedExchange(compressor, nodes, (seed << 20) + repeat, Layout.of(dimension))
                for repeat in repeats
            ]
        )
        for exchange in self._exchanges:
            exchange.count_in(self.own_ledger)

    @property
    def collective(self) -> str:
        """By which collective the messages travel: one of `qsgd_lab.traffic.COLLECTIVES`."""
        return SERVER if self._has_server else self.compressor.aggregates

    def own_ledger(self) -> Ledger:
        """Return where messages are counted, of all repetitions together."""
        return self.traffic.down if self._is_server else self.traffic.ledger(self.collective)

    @property
    def buffer(self) -> None:
        """None: vectors are passed."""
        return

    def server(self, compressor: Compressor) -> StackedExchange:
        """Return what a server sends by; see `Exchange.server`."""
        self._forks += 1
        self._has_server = True
        seed = self.seed ^ (self._forks << 32)
        return StackedExchange(
            compressor, 1, self.dimension, self.repeats, seed, self.traffic, is_server=True
        )

    def at_rate(self, rate: float) -> None:
        """Tell the compressor the learning rate of the next mean; see `Exchange.at_rate`."""
        for exchange in self._exchanges:
            exchange.at_rate(rate)

    def fork(self, compressor: Compressor) -> StackedExchange:
        """Return a second exchange among the same nodes; see `Exchange.fork`."""
        self._forks += 1
        seed = self.seed ^ (self._forks << 32)
        return StackedExchange(compressor, self.nodes, self.dimension, self.repeats, seed, self.traffic)

    def all_rows(self, rows: Any) -> Any:
        """Return the rows: all nodes are here."""
        return rows

    def mean(self, vectors: Any, step: int, out: Any) -> None:
        """Write the mean of what is decoded; see `Exchange.mean`."""
        self._exchange(vectors, step, out, keeps_rest=False)

    def partial_mean(self, rows: Any, step: int, out: Any) -> None:
        """Write the mean, and leave in `rows` what was not sent; see `Exchange.partial_mean`."""
        self._exchange(rows, step, out, keeps_rest=True)

    def _exchange(
        self, rows: NDArray[np.float64], step: int, out: NDArray[np.float64], *, keeps_rest: bool
    ) -> None:
        self.traffic.exchanged(self.collective, step)
        if not self._exchanges:
            sent = rows.astype(np.float32)
            out[...] = sent.mean(axis=0, dtype=np.float64)
            if keeps_rest:
                rows -= sent
            self.own_ledger().add(Size(0, {}, sent.size))
            return
        mean = np.empty(self.dimension, np.float32)
        for index, exchange in enumerate(self._exchanges):
            own = slice(index * self.dimension, (index + 1) * self.dimension)
            vectors = rows[:, own].astype(np.float32)
            if keeps_rest:
                rest = vectors.copy()
                exchange.partial_mean(rest, step, mean)
                # What float32 cannot hold of the row stays with what the compressor did not send.
                rows[:, own] -= vectors.astype(np.float64) - rest
            else:
                exchange.mean(vectors, step, mean)
            out[own] = mean

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the states of all repetitions."""
        return {
            f"{index}.{name}": array
            for index, exchange in enumerate(self._exchanges)
            for name, array in exchange.arrays().items()
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Continue from the states of `arrays`."""
        for index, exchange in enumerate(self._exchanges):
            prefix = f"{index}."
            own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
            exchange.restore(own)

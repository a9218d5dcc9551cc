"""The two-phase exchange: codes are reduced at the owners of shards, requantized, and gathered.

A node sends 2 (N - 1) / N messages a step, where an all-gather sends N - 1. The second rounding is one more
error, which the owner of a shard keeps and adds to the next mean, where there is error feedback.

References
----------
Zhao et al.: SDP4Bit. NeurIPS 2024. Wang et al.: ZeRO++. ICLR 2024. Tang et al.: DoubleSqueeze. ICML 2019
(residuals on both sides).
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from qsgd_lab.compressors.protocol import Array, Compressor, Layout, zeros
from qsgd_lab.exchange.counting import CountingExchange
from qsgd_lab.exchange.shards import shards_of
from qsgd_lab.exchange.simulated import SimulatedExchange
from qsgd_lab.traffic import TWO_PHASE


def check_two_phase(compressor: Compressor) -> None:
    """Refuse a compressor whose messages cannot be cut into shards and requantized.

    Raises
    ------
    ValueError
        If it takes several rounds, or sends differences to what receivers keep.
    """
    if compressor.interactive:
        raise ValueError("two-phase takes methods of one message; this one has rounds, or sums, of its own")
    if compressor.decodes_differences:
        raise ValueError("two-phase takes methods whose message is a gradient; this one sends differences")


def up_node(nodes: int, owner: int) -> int:
    """Return the number of node 0 in the random words of what is sent to a shard's owner."""
    return nodes * owner


def down_node(nodes: int, owner: int) -> int:
    """Return the number under which an owner draws the words of its second rounding."""
    return nodes * nodes + owner


class TwoPhaseExchange(CountingExchange):
    """Implements `qsgd_lab.exchange.Exchange` with all nodes local, in two phases.

    Each shard has an exchange of N nodes up, and one of its owner down, by the same compressor with states of
    their own. All draw different random words.

    Parameters
    ----------
    compressor, nodes, seed, layout, like
        As in `SimulatedExchange`.
    parent : TwoPhaseExchange, optional
        Whose traffic counts; by default a count of its own.

    Raises
    ------
    ValueError
        If the compressor cannot: see `check_two_phase`.

    Attributes
    ----------
    down_ledger : Ledger
        What the owners have sent in the second phase; each message once.
    """

    def __init__(
        self,
        compressor: Compressor,
        nodes: int,
        seed: int,
        layout: Layout,
        like: Array | None = None,
        parent: TwoPhaseExchange | None = None,
    ) -> None:
        check_two_phase(compressor)
        super().__init__(compressor, seed, parent)
        self.nodes, self.layout = nodes, layout
        self.local, self._like = range(nodes), like
        self._shards = [
            (
                owner,
                shard,
                self._exchange(nodes, shard.layout, up_node(nodes, owner)),
                self._exchange(1, shard.layout, down_node(nodes, owner)),
            )
            for owner, shard in enumerate(shards_of(layout, nodes))
            if shard.pieces
        ]
        for _, _, up, down in self._shards:
            up.count_in(lambda: self.own_ledger)
            down.count_in(lambda: self.traffic.down)

    @property
    def collective(self) -> str:
        """Two phases, whatever is sent."""
        return TWO_PHASE

    def _exchange(self, nodes: int, layout: Layout, first_node: int) -> SimulatedExchange:
        return SimulatedExchange(self.compressor, nodes, self.seed, layout, self._like, first_node=first_node)

    def fork(self, compressor: Compressor) -> TwoPhaseExchange:
        """Return a second exchange among the same nodes; see `Exchange.fork`."""
        seed = self._fork_seed()
        return self._forked(TwoPhaseExchange(compressor, self.nodes, seed, self.layout, self._like, self))

    def server(self, compressor: Compressor) -> SimulatedExchange:
        """Refuse: the owners of shards are the servers.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError("a server and two phases exclude each other: leave out the two-phase collective")

    @property
    def buffer(self) -> Array | None:
        """None: vectors are passed."""
        return None

    def at_rate(self, rate: float) -> None:
        """Tell the compressors the learning rate of the next mean; see `Exchange.at_rate`."""
        for _, _, up, down in self._shards:
            up.at_rate(rate)
            down.at_rate(rate)

    def mean(self, vectors: Array | None, step: int, out: Array) -> None:
        """Write the requantized mean of what all nodes' payloads decode to; see `Exchange.mean`."""
        assert vectors is not None
        for _, shard, up, down in self._shards:
            part = shard.take(vectors)
            mean, sent = zeros((1, part.shape[1]), part), zeros((part.shape[1],), part)
            up.mean(part, step, mean[0])
            down.mean(mean, step, sent)
            shard.put(sent, out)
        self._agreed(step)

    def partial_mean(self, rows: Array, step: int, out: Array) -> None:
        """Write the mean, and leave in `rows` what was not sent; see `Exchange.partial_mean`.

        What the second rounding loses of the mean, N times, stays in the owner's row: the rows and N times
        the mean together are what the rows were before.

        Raises
        ------
        ValueError
            If the compressor has residuals of its own.
        """
        if self.compressor.keeps_errors:
            raise ValueError("the algorithm keeps what was not sent itself; leave out ef(...)")
        for owner, shard, up, down in self._shards:
            part = shard.take(rows)
            mean, sent = zeros((1, part.shape[1]), part), zeros((part.shape[1],), part)
            up.partial_mean(part, step, mean[0])
            down.partial_mean(mean, step, sent)
            part[owner] += mean[0] * self.nodes
            shard.put(part, rows)
            shard.put(sent, out)
        self._agreed(step)

    def all_rows(self, rows: Array) -> Array:
        """Return the rows: all nodes are here."""
        return rows

    def warm_up(self) -> None:
        """Compile, or load, what `mean` calls, so that the first step takes no longer than the others."""
        SimulatedExchange(self.compressor, 1, 0, Layout.of(1)).warm_up()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the states of both phases as arrays, for a checkpoint."""
        found: dict[str, NDArray[Any]] = {}
        for owner, _, up, down in self._shards:
            for name, exchange in (("up", up), ("down", down)):
                found |= {f"{owner}.{name}.{key}": array for key, array in exchange.arrays().items()}
        return found

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Continue from the states of `arrays`."""
        for owner, _, up, down in self._shards:
            for name, exchange in (("up", up), ("down", down)):
                prefix = f"{owner}.{name}."
                own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
                exchange.restore(own)

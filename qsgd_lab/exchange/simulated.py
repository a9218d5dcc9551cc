"""N nodes simulated in one process: fused where the compressor is, round by round where it needs rounds."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.arrays import is_torch
from qsgd_lab.compressors.protocol import Agreed, Array, Compressor, Gather, Layout, NodeRows, divide, zeros
from qsgd_lab.exchange.counting import CountingExchange
from qsgd_lab.exchange.state import flatten, restored
from qsgd_lab.ledger import Size
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.stream import Stream


class SimulatedExchange(CountingExchange):
    """Implements `qsgd_lab.exchange.Exchange` with all nodes local.

    Parameters
    ----------
    compressor : Compressor
        The same at every node.
    nodes : int
        N.
    seed : int
        Of the random words; node and step complete the stream, so that nodes round independently.
    layout : Layout
        The tensors of a vector.
    like : array, optional
        Where large states are kept; host memory by default.
    parent : SimulatedExchange, optional
        Whose traffic counts; by default a count of its own.
    first_node : int
        Number of the first node in the random words.
    """

    def __init__(
        self,
        compressor: Compressor,
        nodes: int,
        seed: int,
        layout: Layout,
        like: Array | None = None,
        parent: SimulatedExchange | None = None,
        first_node: int = 0,
    ) -> None:
        super().__init__(compressor, seed, parent)
        self.nodes, self.layout, self._like = nodes, layout, like
        self.local, self.first_node = range(nodes), first_node
        self._on_host = is_torch(like) and not compressor.takes_device_arrays
        if self._on_host and like is not None and like.device.type != "cpu":
            warn_of_copies(compressor, like.device.type)
        self.states: Any = compressor.init_nodes(nodes, layout, None if self._on_host else like)

    def fork(self, compressor: Compressor) -> SimulatedExchange:
        """Return a second exchange among the same nodes; see `Exchange.fork`."""
        seed = self._fork_seed()
        return self._forked(SimulatedExchange(compressor, self.nodes, seed, self.layout, self._like, self))

    def server(self, compressor: Compressor) -> SimulatedExchange:
        """Return what a server sends by; see `Exchange.server`. It counts in `down_ledger`."""
        sender = SimulatedExchange(compressor, 1, self._fork_seed(), self.layout, self._like)
        return self._served(sender)

    def warm_up(self) -> None:
        """Compile, or load, what `mean` calls, so that the first step takes no longer than the others."""
        one, layout = np.zeros((1, 1), np.float32), Layout.of(1)
        small = SimulatedExchange(self.compressor, 1, 0, layout)
        small.mean(one, 0, np.zeros(1, np.float32))

    @property
    def buffer(self) -> Array | None:
        """The residuals, float32, shape (N, n); None without error feedback, or for methods of rounds."""
        if self.compressor.interactive or self._on_host:
            return None
        return self.compressor.buffer(self.states)

    def at_rate(self, rate: float) -> None:
        """Tell the compressor the learning rate of the next mean; see `Exchange.at_rate`."""
        if self.compressor.interactive:
            self.states = [self.compressor.at_rate(state, rate) for state in self.states]
        else:
            self.states = self.compressor.at_rate(self.states, rate)

    def mean(self, vectors: Array | None, step: int, out: Array) -> None:
        """Write the mean of what all nodes' payloads decode to; see `Exchange.mean`."""
        if self._on_host:
            assert vectors is not None
            mean = np.empty(self.layout.num_coordinates, np.float32)
            self._mean(vectors.cpu().numpy(), step, mean)
            out.copy_(out.new_tensor(mean))
        else:
            self._mean(vectors, step, out)
        self._agreed(step)

    def partial_mean(self, rows: Array, step: int, out: Array) -> None:
        """Write the mean, and leave in `rows` what was not sent; see `Exchange.partial_mean`.

        Raises
        ------
        ValueError
            If the compressor has residuals of its own.
        """
        if self.compressor.keeps_errors:
            raise ValueError("the algorithm keeps what was not sent itself; leave out ef(...)")
        if self._on_host:
            mean, host = np.empty(self.layout.num_coordinates, np.float32), rows.cpu().numpy()
            self._partial_mean(host, step, mean)
            rows.copy_(rows.new_tensor(host))
            out.copy_(out.new_tensor(mean))
        else:
            self._partial_mean(rows, step, out)
        self._agreed(step)

    def all_rows(self, rows: Array) -> Array:
        """Return the rows: all nodes are here."""
        return rows

    def _partial_mean(self, rows: Array, step: int, out: Array) -> None:
        stream = Stream(self.seed, self.first_node, step)
        if self.compressor.interactive:
            for row, end in zip(rows, self._play_rounds(rows, stream, out), strict=True):
                row -= end.sent
        else:
            self.states = self.compressor.mean(
                NodeRows(None, rows), self.states, stream, out, self.own_ledger
            )

    def _mean(self, vectors: Array | None, step: int, out: Array) -> None:
        stream = Stream(self.seed, self.first_node, step)
        if self.compressor.interactive:
            assert vectors is not None
            self._play_rounds(vectors, stream, out)
        else:
            self.states = self.compressor.mean(NodeRows(vectors), self.states, stream, out, self.own_ledger)

    def _play_rounds(self, vectors: Array, stream: Stream, out: Array) -> list[Agreed]:
        """Advance all nodes' generators side by side, answer each round, and return the nodes' ends."""
        players = [
            self.compressor.rounds(row, state, stream._replace(node=stream.node + node))
            for node, (row, state) in enumerate(zip(vectors, self.states, strict=True))
        ]
        answer: Any = None
        bits = 0
        while True:
            moves, ends = [], []
            for player in players:
                try:
                    moves.append(player.send(answer))
                except StopIteration as end:
                    ends.append(end.value)
            if ends:
                break
            answer, sent = self._answer(moves)
            bits += sent
        if moves:
            raise RuntimeError("the nodes do not agree on the number of rounds")
        self._finish(ends, bits, out)
        return ends

    def _answer(self, moves: list[Any]) -> tuple[Any, int]:
        """Return what every node receives in a round, and the bits that the nodes sent for it."""
        if len({type(move) for move in moves}) > 1:
            raise RuntimeError("the nodes do not agree on the kind of a round")
        if isinstance(moves[0], Gather):
            payloads = [move.payload for move in moves]
            sizes = [self.compressor.wire.size(payload) for payload in payloads]
            return payloads, sum(_message_bits(size) for size in sizes)
        total = zeros(tuple(moves[0].array.shape), moves[0].array)
        for move in moves:
            total += move.array
        divide(total, len(moves))
        return total, FLOAT_BITS * int(np.prod(total.shape)) * len(moves)

    def _finish(self, ends: list[Agreed], bits: int, out: Array) -> None:
        out[...] = ends[0].mean
        self.states = [end.state for end in ends]
        self.own_ledger.add(Size(self.nodes * self.layout.num_coordinates, {"message": bits}))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the compressors' states as arrays, for a checkpoint."""
        return flatten(self.states)

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Continue from the states of `arrays`."""
        self.states = restored(self.states, arrays, None if self._on_host else self._like)


def _message_bits(size: Size) -> int:
    return size.bits.get("message", 0) + FLOAT_BITS * size.raw_coordinates


def warn_of_copies(compressor: Compressor, device: str) -> None:
    """Say that gradients of a device go through host memory; one text a method, which Python prints once."""
    name = compressor.method_text or repr(compressor)
    warnings.warn(
        f"{name} works in host memory: gradients on {device} are copied there and back each step",
        stacklevel=3,
    )

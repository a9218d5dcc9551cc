"""An exchange among processes that share nothing: each has some of the nodes, and they send bytes.

A process asks its parent for one thing at a time: its nodes' gradients, and what all nodes have sent. The
parent answers when every process has asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qsgd_lab.compressors import Compressor, FullPrecision
from qsgd_lab.compressors.protocol import Agreed, Gather, Layout, Reduce, divide
from qsgd_lab.ledger import Ledger, Size
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.stream import Stream


@dataclass
class Line:
    """The line from a process to the parent.

    Attributes
    ----------
    local : tuple of int
        The process's nodes, in ascending order.
    nodes : int
        How many there are in all, N.
    ask : callable
        Given the kind of a question and what belongs to it, returns the answer.
    bits : int
        What the process's nodes sent, in whole messages.
    claimed : int
        What their wires said that it is.
    has_ended : bool
        Whether all steps are over, so that only evaluation is left.
    """

    local: tuple[int, ...]
    nodes: int
    ask: Callable[[str, Any], Any]
    bits: int = 0
    claimed: int = 0
    has_ended: bool = False

    def send(self, messages: Sequence[bytes], claimed: int) -> list[bytes]:
        """Count the local nodes' messages, and return those of all nodes in their order."""
        self.bits += 8 * sum(map(len, messages))
        self.claimed += claimed
        return list(self.ask("send", messages))


class NodeExchange:
    """Implements `qsgd_lab.exchange.Exchange` for some nodes; counts and words as `StackedExchange`.

    Parameters
    ----------
    line : Line
    compressor : Compressor
    dimension : int
    seed : int
        Of the words, as of a repetition's exchange.
    """

    def __init__(self, line: Line, compressor: Compressor, dimension: int, seed: int) -> None:
        self.line, self.compressor, self.seed = line, compressor, seed
        self.nodes, self.local, self.ledger = line.nodes, line.local, Ledger()
        self.layout = Layout.of(dimension)
        self.states = [compressor.init(self.layout) for _ in line.local]
        self._forks = 0

    @property
    def buffer(self) -> None:
        """None: vectors are passed."""
        return

    def at_rate(self, rate: float) -> None:
        """Tell the compressor the learning rate of the next mean."""
        self.states = [self.compressor.at_rate(state, rate) for state in self.states]

    def fork(self, compressor: Compressor) -> NodeExchange:
        """Return a second exchange among the same nodes, with words of its own."""
        self._forks += 1
        return NodeExchange(
            self.line, compressor, self.layout.num_coordinates, self.seed ^ (self._forks << 52)
        )

    def server(self, compressor: Compressor) -> Any:
        """Refuse: audits are for methods without a server.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError("a method with a server cannot be audited yet")

    def all_rows(self, rows: Any) -> Any:
        """Return the rows of all nodes, for the evaluation at the end; not counted.

        Raises
        ------
        RuntimeError
            Before: what nodes learn in a step must be sent and counted.
        """
        if not self.line.has_ended:
            raise RuntimeError(
                "all_rows is for evaluation; in a step, nodes learn of others by messages alone"
            )
        rows = self.line.ask("send", [row.tobytes() for row in rows.numpy()])
        return torch.from_numpy(np.array([np.frombuffer(row) for row in rows]))

    def mean(self, vectors: NDArray[np.float64], step: int, out: NDArray[np.float64]) -> None:
        """Write the mean of what all nodes' messages decode to."""
        out[...] = self._agree(vectors.astype(np.float32), step)[0]

    def partial_mean(self, rows: NDArray[np.float64], step: int, out: NDArray[np.float64]) -> None:
        """Write the mean, and leave in the rows what was not sent."""
        vectors = rows.astype(np.float32)
        mean, sent = self._agree(vectors, step)
        # As in the simulation: the rest in float32, and what float32 cannot hold of the row.
        rows -= vectors.astype(np.float64) - (vectors - sent)
        out[...] = mean

    def _agree(self, vectors: NDArray[np.float32], step: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Return the mean of all nodes, and what each local one contributed."""
        streams = [Stream(self.seed, node, step) for node in self.line.local]
        if type(self.compressor) is FullPrecision:
            rows = self.line.send([row.tobytes() for row in vectors], FLOAT_BITS * vectors.size)
            return np.array([np.frombuffer(row, np.float32) for row in rows]).mean(0, np.float64), vectors
        if self.compressor.interactive or self.compressor.decodes_differences:
            ends = self._play_rounds(vectors, streams)
            self.states = [end.state for end in ends]
            return ends[0].mean, np.array([end.sent for end in ends])
        made = [self.compressor.compress(*each) for each in zip(vectors, self.states, streams, strict=True)]
        mean = np.zeros(self.layout.num_coordinates, np.float32)
        for message in self._sent([payload for payload, _ in made]):
            self.compressor.add_decoded(message, self.layout, mean)
        divide(mean, self.nodes)
        afters = zip(self.states, made, strict=True)
        self.states = [self.compressor.settled(state, after, mean) for state, (_, after) in afters]
        return mean, np.array([self.compressor.decompress(payload) for payload, _ in made])

    def _play_rounds(self, vectors: NDArray[np.float32], streams: Sequence[Stream]) -> list[Agreed]:
        rows = zip(vectors, self.states, streams, strict=True)
        players = [self.compressor.rounds(*row) for row in rows]
        answer: Any = None
        while True:
            moves, ends = [], []
            for player in players:
                try:
                    moves.append(player.send(answer))
                except StopIteration as end:
                    ends.append(end.value)
            if ends and moves:
                raise RuntimeError("the nodes do not agree on the number of rounds")
            if ends:
                return ends
            payloads = [move.payload for move in moves if isinstance(move, Gather)]
            if payloads:
                messages = self._sent(payloads)
                answer = [self.compressor.wire.unpack(message, self.layout) for message in messages]
            else:
                answer = self._reduced(
                    [
                        np.ascontiguousarray(move.array, np.float32)
                        for move in moves
                        if isinstance(move, Reduce)
                    ]
                )

    def _sent(self, payloads: Sequence[Any]) -> list[bytes]:
        """Send the local nodes' payloads, and return all nodes' messages."""
        sizes = [self.compressor.wire.size(payload) for payload in payloads]
        return self.line.send(
            [bytes(self.compressor.wire.pack(payload)) for payload in payloads], sum(map(_bits, sizes))
        )

    def _reduced(self, arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the mean of all nodes' arrays."""
        rows = self.line.send([array.tobytes() for array in arrays], FLOAT_BITS * sum(a.size for a in arrays))
        total = np.zeros_like(arrays[0])
        for row in rows:
            total += np.frombuffer(row, np.float32).reshape(total.shape)
        divide(total, self.nodes)
        return total

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return nothing: an audit has no checkpoints."""
        return {}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Do nothing: an audit has no checkpoints."""


def _bits(size: Size) -> int:
    return size.bits.get("message", 0) + FLOAT_BITS * size.raw_coordinates

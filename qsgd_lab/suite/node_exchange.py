"""An exchange of nodes that share nothing: bytes alone pass between them, in an order that is drawn.

Each node is a thread with an algorithm and a compressor of its own. One thread runs at a time, in the order
drawn, until its next message; then all read all messages.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qsgd_lab.compressors import Compressor, FullPrecision
from qsgd_lab.compressors.protocol import Gather, Layout
from qsgd_lab.ledger import Ledger
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.stream import Stream

#: Seconds after which a node that does not take part in a round is given up.
_PATIENCE = 120.0


@dataclass
class Hub:
    """Where N nodes meet.

    Attributes
    ----------
    order : sequence of int
        The nodes in the order in which they run.
    bits : int
        What all nodes sent, in whole messages.
    claimed : int
        What their wires said that it is.
    messages : list of (int, bytes, bytes)
        Which compressor's, the message, and the bytes of what its sender decoded; one of `every`.
    """

    order: Sequence[int]
    every: int = 1
    bits: int = 0
    claimed: int = 0
    messages: list[tuple[int, bytes, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._turn = threading.Condition()
        self._place, self._posts, self._answers = 0, {}, {}  # type: ignore[var-annotated]
        self._sent = 0
        self._failed: BaseException | None = None

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        """Return what `work` returns at each node, in node order.

        Raises
        ------
        Exception
            The first that a node raised.
        """
        results: dict[int, Any] = {}

        def node(number: int) -> None:
            try:
                self._wait(number)
                results[number] = work(number)
            except BaseException as error:
                self._failed = self._failed or error
            self._pass_on()

        threads = [threading.Thread(target=node, args=(number,), daemon=True) for number in self.order]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_PATIENCE)
        if self._failed is not None:
            raise self._failed
        if len(results) < len(self.order):
            raise RuntimeError("the nodes do not agree on the number of rounds")
        return [results[number] for number in sorted(results)]

    def post(self, number: int, what: Any) -> list[Any]:
        """Leave something, let the others run, and return what all left, in node order."""
        self._posts[number] = what
        if len(self._posts) == len(self.order):
            left = [self._posts[each] for each in sorted(self._posts)]
            self._answers, self._posts = dict.fromkeys(self.order, left), {}
        self._pass_on()
        self._wait(number)
        answer: list[Any] = self._answers.pop(number, None)
        if answer is None:
            raise RuntimeError("the nodes do not agree on the number of rounds")
        return answer

    def is_kept(self) -> bool:
        """Count a message, and return whether it is one of those that are kept."""
        self._sent += 1
        return self._sent % self.every == 0

    def _wait(self, number: int) -> None:
        with self._turn:
            mine = self._turn.wait_for(
                lambda: self._failed is not None or self.order[self._place] == number, _PATIENCE
            )
            if not mine or self._failed is not None:
                raise RuntimeError("another node failed")

    def _pass_on(self) -> None:
        with self._turn:
            self._place = (self._place + 1) % len(self.order)
            self._turn.notify_all()


class NodeExchange:
    """Implements `qsgd_lab.exchange.Exchange` for one node of a hub; counts and words as `StackedExchange`.

    Parameters
    ----------
    hub : Hub
    node : int
    compressor : Compressor
        Copied, so that nodes share no object.
    dimension : int
    seed : int
        Of the words, as of a repetition's exchange.
    """

    def __init__(self, hub: Hub, node: int, compressor: Compressor, dimension: int, seed: int) -> None:
        self.hub, self.node, self.seed = hub, node, seed
        self.nodes, self.local, self.ledger = len(hub.order), range(1), Ledger()
        self.compressor, self.receiver = copy.deepcopy(compressor), copy.deepcopy(compressor)
        self.layout = Layout.of(dimension)
        self.state = self.compressor.init(self.layout)
        self._forks = 0

    @property
    def buffer(self) -> None:
        """None: vectors are passed."""
        return

    def at_rate(self, rate: float) -> None:
        """Tell the compressor the learning rate of the next mean."""
        self.state = self.compressor.at_rate(self.state, rate)

    def fork(self, compressor: Compressor) -> NodeExchange:
        """Return a second exchange among the same nodes, with words of its own."""
        self._forks += 1
        seed = self.seed ^ (self._forks << 52)
        return NodeExchange(self.hub, self.node, compressor, self.layout.num_coordinates, seed)

    def server(self, compressor: Compressor) -> Any:
        """Refuse: audits are for methods without a server.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError("a method with a server cannot be audited yet")

    def all_rows(self, rows: Any) -> Any:
        """Return the rows of all nodes, for evaluation; not counted."""
        return torch.from_numpy(np.concatenate(self.hub.post(self.node, rows.numpy().copy())))

    def mean(self, vectors: NDArray[np.float64], step: int, out: NDArray[np.float64]) -> None:
        """Write the mean of what all nodes' messages decode to."""
        out[...] = self._agree(vectors[0].astype(np.float32), step)[0]

    def partial_mean(self, rows: NDArray[np.float64], step: int, out: NDArray[np.float64]) -> None:
        """Write the mean, and leave in the row what was not sent."""
        vector = rows[0].astype(np.float32)
        mean, sent = self._agree(vector, step)
        # As in the simulation: the rest in float32, and what float32 cannot hold of the row.
        rows[0] -= vector.astype(np.float64) - (vector - sent)
        out[...] = mean

    def _agree(self, vector: NDArray[np.float32], step: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
        if type(self.compressor) is FullPrecision:
            self._count(FLOAT_BITS * vector.size, FLOAT_BITS * vector.size)
            posted = [np.frombuffer(b, np.float32) for b in self.hub.post(self.node, vector.tobytes())]
            return np.array(posted).mean(axis=0, dtype=np.float64), vector
        rounds = self.compressor.rounds(vector, self.state, Stream(self.seed, self.node, step))
        answer: Any = None
        while True:
            try:
                move = rounds.send(answer)
            except StopIteration as end:
                self.state = end.value.state
                return end.value.mean, end.value.sent
            answer = self._gather(move.payload) if isinstance(move, Gather) else self._reduce(move.array)

    def _gather(self, payload: Any) -> list[Any]:
        size, message = self.compressor.wire.size(payload), bytes(self.compressor.wire.pack(payload))
        self._count(8 * len(message), size.bits.get("message", 0) + FLOAT_BITS * size.raw_coordinates)
        if self.hub.is_kept():
            decoded = np.asarray(self.compressor.decompress(payload), np.float32).tobytes()
            self.hub.messages.append((self._forks, message, decoded))
        return [self.receiver.wire.unpack(each, self.layout) for each in self.hub.post(self.node, message)]

    def _reduce(self, array: Any) -> Any:
        own = np.ascontiguousarray(array, np.float32)
        self._count(FLOAT_BITS * own.size, FLOAT_BITS * own.size)
        parts = self.hub.post(self.node, own.tobytes())
        total = np.zeros_like(own)
        for part in parts:
            total += np.frombuffer(part, np.float32).reshape(own.shape)
        if len(parts) > 1:
            total /= np.float32(len(parts))
        return total

    def _count(self, bits: int, claimed: int) -> None:
        self.hub.bits += bits
        self.hub.claimed += claimed

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return nothing: an audit has no checkpoints."""
        return {}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Do nothing: an audit has no checkpoints."""

"""The two-phase exchange of real nodes: each rank owns a shard, adds it up, requantizes and sends it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.compressors.protocol import Array, Compressor, Layout, divide
from qsgd_lab.distributed.exchange import DistributedExchange, message_of, on_host, write
from qsgd_lab.distributed.lane import Lane
from qsgd_lab.exchange.shards import shards_of
from qsgd_lab.exchange.simulated import SimulatedExchange
from qsgd_lab.exchange.two_phase import check_two_phase, down_node, up_node
from qsgd_lab.stream import Stream
from qsgd_lab.traffic import TWO_PHASE

Vector = NDArray[np.float32]


class DistributedTwoPhase(DistributedExchange):
    """Has the results of `qsgd_lab.exchange.TwoPhaseExchange`, bit for bit.

    Raises
    ------
    ValueError
        If the compressor cannot: see `qsgd_lab.exchange.two_phase.check_two_phase`.
    """

    def __init__(
        self,
        compressor: Compressor,
        seed: int,
        layout: Layout,
        lane: Lane,
        parent: DistributedExchange | None = None,
    ) -> None:
        check_two_phase(compressor)
        super().__init__(compressor, seed, layout, lane, parent)
        self.shards = shards_of(layout, self.nodes)
        self.state = {
            "up": [compressor.init(shard.layout) for shard in self.shards],
            "down": compressor.init(self.shards[self.rank].layout),
        }

    @property
    def collective(self) -> str:
        """Two phases, whatever is sent."""
        return TWO_PHASE

    def server(self, compressor: Compressor) -> SimulatedExchange:
        """Refuse: the owners of shards are the servers.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError("a server and two phases exclude each other: leave out the two-phase collective")

    def at_rate(self, rate: float) -> None:
        """Tell the compressor the learning rate of the next mean; see `Exchange.at_rate`."""
        at_rate, state = self.compressor.at_rate, self.state
        self.state = {
            "up": [at_rate(part, rate) for part in state["up"]],
            "down": at_rate(state["down"], rate),
        }

    def _agree(self, vector: Vector, step: int, out: Array) -> Vector:
        sent, after = self._up(vector, step)
        mean, after_down = np.zeros(vector.size, np.float32), None
        message = np.empty(0, np.uint8)
        own = self.shards[self.rank]
        if own.pieces:
            part = self._own_mean(step)
            stream = Stream(self.seed, down_node(self.nodes, self.rank), step)
            payload, after_down = self.compressor.compress(part, self.state["down"], stream)
            self.traffic.down.add(self.compressor.wire.size(payload))
            message = np.frombuffer(self.compressor.wire.pack(payload), np.uint8)
            self._lost = part - self.compressor.decompress(payload)
        for owner, (shard, received) in enumerate(zip(self.shards, self.lane.gather(message), strict=True)):
            if shard.pieces:
                part = np.zeros(shard.layout.num_coordinates, np.float32)
                with message_of(owner, step):
                    self.compressor.add_decoded(bytes(received), shard.layout, part)
                shard.put(part, mean)
                before = self.state["up"][owner]
                self.state["up"][owner] = self.compressor.settled(before, after[owner], part)
                if owner == self.rank:
                    self.state["down"] = self.compressor.settled(self.state["down"], after_down, part)
        write(mean, out)
        return sent

    def _up(self, vector: Vector, step: int) -> tuple[Vector, list[Any]]:
        """Send every owner its shard; return what they read of it, and the states after it."""
        sent, messages, after = np.zeros_like(vector), [], []
        for owner, (shard, state) in enumerate(zip(self.shards, self.state["up"], strict=True)):
            message, next_state = np.empty(0, np.uint8), state
            if shard.pieces:
                stream = Stream(self.seed, up_node(self.nodes, owner) + self.rank, step)
                payload, next_state = self.compressor.compress(shard.take(vector), state, stream)
                self.own_ledger.add(self.compressor.wire.size(payload))
                message = np.frombuffer(self.compressor.wire.pack(payload), np.uint8)
                shard.put(self.compressor.decompress(payload), sent)
            messages.append(message)
            after.append(next_state)
        self._received = self.lane.scatter(messages)
        return sent, after

    def _own_mean(self, step: int) -> Vector:
        """Return the mean of what all ranks have sent of this rank's shard."""
        layout = self.shards[self.rank].layout
        part = np.zeros(layout.num_coordinates, np.float32)
        for rank, message in enumerate(self._received):
            with message_of(rank, step):
                self.compressor.add_decoded(bytes(message), layout, part)
        divide(part, self.nodes)
        return part

    def partial_mean(self, rows: Array, step: int, out: Array) -> None:
        """Write the mean, and leave in the row what was not sent; see `TwoPhaseExchange.partial_mean`."""
        super().partial_mean(rows, step, out)
        shard = self.shards[self.rank]
        if shard.pieces:
            row = on_host(rows)[0]
            part = shard.take(row)
            part += self._lost * self.nodes
            shard.put(part, row)
            if not isinstance(rows, np.ndarray):
                rows[0].copy_(rows.new_tensor(row))

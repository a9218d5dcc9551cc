"""The exchange of real nodes: one rank a node, real messages, and the bits of the simulation."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.arrays import is_torch
from qsgd_lab.compressors import FullPrecision
from qsgd_lab.compressors.protocol import Array, Compressor, Gather, Layout, divide
from qsgd_lab.distributed.lane import Lane
from qsgd_lab.errors import MessageError, PeerError
from qsgd_lab.exchange.counting import CountingExchange
from qsgd_lab.exchange.simulated import SimulatedExchange, warn_of_copies
from qsgd_lab.exchange.state import flatten, restored
from qsgd_lab.ledger import Size
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.stream import Stream
from qsgd_lab.traffic import Traffic


class DistributedExchange(CountingExchange):
    """Implements `qsgd_lab.exchange.Exchange` with one local node.

    Every rank adds the values of all messages in the order of ranks, its own too, so that all have the same
    mean to the bit, and the simulation's.

    Parameters
    ----------
    compressor : Compressor
        The same at every node.
    seed : int
        Of the random words; rank and step complete the stream.
    layout : Layout
        The tensors of a vector.
    lane : Lane
        What sends.
    parent : DistributedExchange, optional
        Whose traffic counts; by default a count of its own.
    """

    def __init__(
        self,
        compressor: Compressor,
        seed: int,
        layout: Layout,
        lane: Lane,
        parent: DistributedExchange | None = None,
    ) -> None:
        super().__init__(compressor, seed, parent)
        self.layout, self.lane = layout, lane
        self.nodes, self.rank = lane.size, lane.rank
        self.local = range(lane.rank, lane.rank + 1)
        self.state: Any = compressor.init(layout)

    def fork(self, compressor: Compressor) -> DistributedExchange:
        """Return a second exchange among the same nodes; see `Exchange.fork`."""
        return self._forked(type(self)(compressor, self._fork_seed(), self.layout, self.lane, self))

    def server(self, compressor: Compressor) -> SimulatedExchange:
        """Return what a server sends by; see `Exchange.server`.

        Every rank has the server's vector, and compresses it by the same words to the same bits; rank 0
        counts the message.
        """
        sender = SimulatedExchange(compressor, 1, self._fork_seed(), self.layout)
        return self._served(sender, counts=self.rank == 0)

    def total_traffic(self) -> Traffic:
        """Return the traffic of all ranks together; every rank must call it."""
        own = json.dumps(self.traffic.to_dict()).encode()
        total = Traffic()
        for text in self.lane.gather(np.frombuffer(own, np.uint8)):
            total.add(Traffic.from_dict(json.loads(bytes(text))))
        return total

    @property
    def buffer(self) -> Array | None:
        """None: vectors are passed."""
        return None

    def at_rate(self, rate: float) -> None:
        """Tell the compressor the learning rate of the next mean; see `Exchange.at_rate`."""
        self.state = self.compressor.at_rate(self.state, rate)

    def mean(self, vectors: Array | None, step: int, out: Array) -> None:
        """Write the mean of what all nodes' payloads decode to; see `Exchange.mean`."""
        assert vectors is not None
        self._agree(on_host(vectors)[0], step, out)
        self._agreed(step)

    def partial_mean(self, rows: Array, step: int, out: Array) -> None:
        """Write the mean, and leave in the row what was not sent; see `Exchange.partial_mean`.

        Raises
        ------
        ValueError
            If the compressor has residuals of its own.
        """
        if self.compressor.keeps_errors:
            raise ValueError("the algorithm keeps what was not sent itself; leave out ef(...)")
        row = on_host(rows)[0]
        row -= self._agree(row, step, out)
        if row.base is not rows and not isinstance(rows, np.ndarray):
            rows[0].copy_(rows.new_tensor(row))
        self._agreed(step)

    def all_rows(self, rows: Array) -> Array:
        """Return every node's row, shape (N, n), sent as it is and not counted: to evaluate, not to train."""
        own = np.ascontiguousarray(on_host(rows)[0])
        parts = self.lane.gather(own.view(np.uint8), own.nbytes)
        stacked = np.stack([part.view(np.float32) for part in parts])
        return stacked if isinstance(rows, np.ndarray) else rows.new_tensor(stacked)

    def _agree(self, vector: NDArray[np.float32], step: int, out: Array) -> NDArray[np.float32]:
        """Write the mean of all nodes to `out`, and return what this node's own vector contributed."""
        if is_torch(out) and out.device.type != "cpu":  # messages between ranks are made in host memory
            warn_of_copies(self.compressor, out.device.type)
        stream = Stream(self.seed, self.rank, step)
        mean = np.zeros(self.layout.num_coordinates, np.float32)
        if self.compressor.interactive or self.compressor.decodes_differences:
            # Of differences, the receivers' mean moves as well.
            sent = self._play_rounds(vector, stream, mean)
        else:
            payload, after = self.compressor.compress(vector, self.state, stream)
            self.own_ledger.add(self.compressor.wire.size(payload))
            if type(self.compressor) is FullPrecision:
                mean = self.lane.add_up(vector)
            else:
                for rank, message in enumerate(self._gather_messages(payload)):
                    with message_of(rank, step):
                        self.compressor.add_decoded(bytes(message), self.layout, mean)
            divide(mean, self.nodes)
            self.state = self.compressor.settled(self.state, after, mean)
            sent = self.compressor.decompress(payload)
        write(mean, out)
        return sent

    def _gather_messages(self, payload: Any) -> list[NDArray[np.uint8]]:
        message = np.frombuffer(self.compressor.wire.pack(payload), np.uint8)
        return self.lane.gather(message)

    def _play_rounds(
        self, vector: NDArray[np.float32], stream: Stream, mean: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        player = self.compressor.rounds(vector, self.state, stream)
        answer: Any = None
        bits = 0
        while True:
            try:
                move = player.send(answer)
            except StopIteration as end:
                agreed = end.value
                break
            if isinstance(move, Gather):
                size = self.compressor.wire.size(move.payload)
                if not self.compressor.interactive:  # one message, counted in all its forms
                    self.own_ledger.add(size)
                bits += size.bits.get("message", 0) + FLOAT_BITS * size.raw_coordinates
                answer = []
                for rank, message in enumerate(self._gather_messages(move.payload)):
                    with message_of(rank, stream.step):
                        answer.append(self.compressor.wire.unpack(bytes(message), self.layout))
            else:
                answer = self._reduced(move.array)
                bits += FLOAT_BITS * move.array.size
        mean[...] = agreed.mean
        self.state = agreed.state
        if self.compressor.interactive:
            self.own_ledger.add(Size(self.layout.num_coordinates, {"message": bits}))
        sent: NDArray[np.float32] = agreed.sent
        return sent

    def _reduced(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean of an array over the ranks."""
        own = np.ascontiguousarray(array, np.float32)
        total = self.lane.add_up(own.reshape(-1)).reshape(own.shape)
        divide(total, self.nodes)
        return total

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return this node's state as arrays, for a checkpoint of this rank."""
        return flatten(self.state)

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Continue from this node's state."""
        self.state = restored(self.state, arrays)

    def warm_up(self) -> None:
        """Compile, or load, what `mean` calls, so that the first step takes no longer than the others."""
        one = np.zeros(1, np.float32)
        layout = Layout.of(1)
        if not self.compressor.interactive:
            payload, _ = self.compressor.compress(one, self.compressor.init(layout), Stream(0))
            self.compressor.add_decoded(self.compressor.wire.pack(payload), layout, one)


class message_of:  # noqa: N801 (reads as a phrase)
    """Tell whose message was damaged."""

    def __init__(self, rank: int, step: int) -> None:
        self.rank, self.step = rank, step

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Name rank and step in the error."""
        if isinstance(error, MessageError):
            raise PeerError(
                f"the message of rank {self.rank} at step {self.step} is damaged: {error}"
            ) from error


def write(values: NDArray[np.float32], out: Array) -> None:
    """Copy values to an array of either library."""
    if isinstance(out, np.ndarray):
        out[...] = values
    else:
        out.copy_(out.new_tensor(values))


def on_host(vectors: Array) -> NDArray[np.float32]:
    """Return vectors as a NumPy array; a view where they are in host memory."""
    found: NDArray[np.float32] = (
        vectors if isinstance(vectors, np.ndarray) else vectors.detach().cpu().numpy()
    )
    return found

"""The exchange of one of DDP's buckets: every message to every rank, or shards in two phases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.encode import encode
from qsgd_lab.compressors import FullPrecision
from qsgd_lab.compressors.protocol import Compressor, Layout, divide
from qsgd_lab.distributed.exchange import message_of
from qsgd_lab.distributed.gradient_layout import Run, message_length
from qsgd_lab.distributed.lane import Bytes, Lane
from qsgd_lab.exchange.shards import Shard, shards_of
from qsgd_lab.exchange.two_phase import down_node, up_node
from qsgd_lab.quantization import QuantizedGradient
from qsgd_lab.stream import Stream

Vector = NDArray[np.float32]
Mask = NDArray[np.uint8]

#: What small tensors are sent by.
_RAW = FullPrecision()


class Gathered:
    """Every rank receives every rank's message, and adds their values in the order of ranks.

    Parameters
    ----------
    compressor : Compressor
    layout : {"fixed", "auto"}
        Of QSGD's messages.
    seed : int
    shapes : sequence of tuple of int
        Of all parameters.
    lane : Lane
    """

    def __init__(
        self,
        compressor: Compressor,
        layout: str,
        seed: int,
        shapes: Sequence[tuple[int, ...]],
        lane: Lane,
    ) -> None:
        self.compressor, self.layout, self.seed, self.shapes, self.lane = (
            compressor,
            layout,
            seed,
            shapes,
            lane,
        )
        self._states: dict[tuple[int, ...], Any] = {}

    def mean(
        self, runs: Sequence[Run], owns: Sequence[Vector], step: int, mask: Mask
    ) -> tuple[list[Vector], list[Vector], Mask]:
        """Agree on a bucket.

        Parameters
        ----------
        runs : sequence of Run
        owns : sequence of float32 vectors
            What this rank wants to send of each run.
        step : int
        mask : uint8
            Which parameters had a gradient here; empty where all had.

        Returns
        -------
        (list, list, uint8)
            Each run's mean, what receivers read of this rank's own, and which parameters had a gradient
            at any rank.

        Raises
        ------
        PeerError
            If a rank is lost, or its message damaged.
        """
        parts = [self._message(run, own, step) for run, own in zip(runs, owns, strict=True)]
        whole = _joined([mask, *(message for message, _ in parts)])
        is_known = all(run.is_raw for run in runs) or (
            self.layout == "fixed" and type(self.compressor).__name__ == "QSGD"
        )
        received = self.lane.gather(whole, whole.size if is_known else None)
        used = np.bitwise_or.reduce([data[: mask.size] for data in received])
        readers = [_Reader(data[mask.size :], self.compressor) for data in received]
        means = []
        for run, (_, sent) in zip(runs, parts, strict=True):
            total = np.zeros(sent.size, np.float32)
            for rank, reader in enumerate(readers):
                with message_of(rank, step):
                    # Its own message a rank has decoded already.
                    own = sent if rank == self.lane.rank else None
                    reader.add(run.is_raw, self._layout(run), total, own)
            divide(total, self.lane.size)
            means.append(total)
        return means, [sent for _, sent in parts], used

    def _layout(self, run: Run) -> Layout:
        return Layout(tuple(self.shapes[run.first : run.first + len(run.places)]))

    def _message(self, run: Run, own: Vector, step: int) -> tuple[Bytes, Vector]:
        stream = Stream(self.seed, self.lane.rank, step, run.first)
        return self._pack(own, self._layout(run), stream, (run.first, len(run.places)), is_raw=run.is_raw)

    def _pack(
        self, own: Vector, layout: Layout, stream: Stream, at: tuple[int, ...], *, is_raw: bool
    ) -> tuple[Bytes, Vector]:
        """Return a message, and what receivers read of it."""
        if is_raw:
            return np.frombuffer(_RAW.wire.pack(own), np.uint8), own
        if at not in self._states:
            self._states[at] = self.compressor.init(layout)
        payload, self._states[at] = self.compressor.compress(own, self._states[at], stream)
        if isinstance(payload, QuantizedGradient) and self.layout == "fixed":
            message = bytes(encode(payload, layout="fixed"))
        else:
            message = self.compressor.wire.pack(payload)
        return np.frombuffer(message, np.uint8), self.compressor.decompress(payload)


class Sharded(Gathered):
    """Ranks add up a shard each, requantize its mean, and send it to all; see `qsgd_lab.exchange.shards`.

    Attributes
    ----------
    residual : float32, shape (n,), or None
        What this rank, as an owner, has not sent of the means: overwritten. None: it is not kept.
    """

    residual: Vector | None = None

    def mean(
        self, runs: Sequence[Run], owns: Sequence[Vector], step: int, mask: Mask
    ) -> tuple[list[Vector], list[Vector], Mask]:
        """Agree on a bucket; see `Gathered.mean`."""
        rank, size = self.lane.rank, self.lane.size
        sents = [np.zeros_like(own) for own in owns]
        shards = [shards_of(self._layout(run), size, run.first) for run in runs]
        messages = [
            _joined([mask, *self._up(runs, owns, shards, owner, step, sents)]) for owner in range(size)
        ]
        received = self.lane.scatter(messages)
        used = np.bitwise_or.reduce([data[: mask.size] for data in received])
        readers = [_Reader(data[mask.size :], self.compressor) for data in received]
        down = []
        for run, own_shards in zip(runs, shards, strict=True):
            shard = own_shards[rank]
            if not shard.pieces:
                continue
            total = np.zeros(shard.layout.num_coordinates, np.float32)
            for sender, reader in enumerate(readers):
                with message_of(sender, step):
                    reader.add(run.is_raw, shard.layout, total, None)
            divide(total, size)
            down.append(self._down(run, shard, total, step))
        means = [np.zeros_like(own) for own in owns]
        for owner, data in enumerate(self.lane.gather(_joined(down))):
            reader = _Reader(data, self.compressor)
            for run, own_shards, mean in zip(runs, shards, means, strict=True):
                shard = own_shards[owner]
                if shard.pieces:
                    part = np.zeros(shard.layout.num_coordinates, np.float32)
                    with message_of(owner, step):
                        reader.add(run.is_raw, shard.layout, part, None)
                    shard.put(part, mean)
        return means, sents, used

    def _up(
        self,
        runs: Sequence[Run],
        owns: Sequence[Vector],
        shards: Sequence[tuple[Shard, ...]],
        owner: int,
        step: int,
        sents: Sequence[Vector],
    ) -> Iterator[Bytes]:
        """Yield what goes to an owner, and write what it reads of that to `sents`."""
        node = up_node(self.lane.size, owner) + self.lane.rank
        for run, own, own_shards, sent in zip(runs, owns, shards, sents, strict=True):
            shard = own_shards[owner]
            if shard.pieces:
                at = (run.first, len(run.places), owner)
                stream = Stream(self.seed, node, step, run.first)
                part = shard.take(own)
                message, read = self._pack(part, shard.layout, stream, at, is_raw=run.is_raw)
                shard.put(read, sent)
                yield message

    def _down(self, run: Run, shard: Shard, mean: Vector, step: int) -> Bytes:
        """Return the message of a shard's mean, with what was not sent before."""
        kept = None if self.residual is None or run.is_raw else self.residual[run.kept]
        if kept is not None:
            mean = mean + shard.take(kept)
        stream = Stream(self.seed, down_node(self.lane.size, self.lane.rank), step, run.first)
        at = (run.first, len(run.places), -1)
        message, read = self._pack(mean, shard.layout, stream, at, is_raw=run.is_raw)
        if kept is not None:
            shard.put(mean - read, kept)
        return message


class _Reader:
    """Reads a rank's messages one after the other."""

    def __init__(self, data: Bytes, compressor: Compressor) -> None:
        self.data, self.compressor, self.at = data, compressor, 0

    def add(self, is_raw: bool, layout: Layout, total: Vector, known: Vector | None) -> None:
        """Add the next message's values, or what is known of them, to a sum."""
        rest = self.data[self.at :]
        length = message_length(rest)
        self.at += length
        if known is not None:
            total += known
        else:
            reader = _RAW if is_raw else self.compressor
            reader.add_decoded(bytes(rest[:length]), layout, total)


def _joined(parts: Sequence[Bytes]) -> Bytes:
    return np.concatenate([np.empty(0, np.uint8), *parts])

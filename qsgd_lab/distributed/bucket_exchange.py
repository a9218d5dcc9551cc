"""The exchange of one of DDP's buckets: every message to every rank, or shards in two phases.

Vectors are large, and their memory is kept: pages of fresh memory cost as much as what is written to them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.encode import encode
from qsgd_lab.compressors.protocol import Compressor, Layout, divide
from qsgd_lab.distributed.costs import MessageCosts, measure_messages
from qsgd_lab.distributed.exchange import message_of
from qsgd_lab.distributed.gradient_layout import Run, message_length
from qsgd_lab.distributed.lane import Bytes, Lane
from qsgd_lab.distributed.residual import Residual
from qsgd_lab.exchange.shards import Shard, shards_of
from qsgd_lab.exchange.two_phase import down_node, up_node
from qsgd_lab.quantization import QuantizedGradient
from qsgd_lab.stream import Stream

Vector = NDArray[np.float32]
Mask = NDArray[np.uint8]

#: Coordinates of the gradient whose messages are timed.
_SAMPLE = 1 << 18


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
    keeps_errors : bool
        Whether what was not sent is left to the caller.
    """

    name = "all-gather"

    def __init__(
        self,
        compressor: Compressor,
        layout: str,
        seed: int,
        shapes: Sequence[tuple[int, ...]],
        lane: Lane,
        *,
        keeps_errors: bool,
    ) -> None:
        self.compressor, self.layout, self.seed, self.shapes = compressor, layout, seed, shapes
        self.lane, self.keeps_errors = lane, keeps_errors
        self._states: dict[tuple[int, ...], Any] = {}
        #: Whether the length of a message follows from its tensors.
        self._is_known = layout == "fixed" and type(compressor).__name__ == "QSGD"
        self._read: Vector = np.empty(sum(map(math.prod, shapes)), np.float32)

    def mean(
        self, runs: Sequence[Run], owns: Sequence[Vector], outs: Sequence[Vector], step: int, mask: Mask
    ) -> Mask:
        """Agree on a bucket.

        Parameters
        ----------
        runs : sequence of Run
        owns : sequence of float32 vectors
            What this rank wants to send of each run. With `keeps_errors`, that which receivers read of it is
            taken off, but for runs in float32.
        outs : sequence of float32 vectors
            Each run's mean is written to them. They may be the memory of `owns` where no error is kept.
        step : int
        mask : uint8
            Which parameters had a gradient here; empty where all had.

        Returns
        -------
        uint8
            Which parameters had a gradient at any rank.

        Raises
        ------
        PeerError
            If a rank is lost, or its message damaged.
        """
        if not mask.size and all(run.is_raw for run in runs):
            self._add_up(owns, outs)
            return mask
        messages = [self._message(run, own, step) for run, own in zip(runs, owns, strict=True)]
        whole = _joined([mask, *messages])
        is_known = self._is_known or all(run.is_raw for run in runs)
        received = self.lane.gather(whole, whole.size if is_known else None)
        readers = [_Reader(data[mask.size :], self.compressor) for data in received]
        for run, out in zip(runs, outs, strict=True):
            out[...] = 0
            for rank, reader in enumerate(readers):
                with message_of(rank, step):
                    # Its own message a rank has decoded already.
                    is_own = rank == self.lane.rank and not run.is_raw
                    reader.add(run.is_raw, self._layout(run), out, self._read[run.kept] if is_own else None)
            divide(out, self.lane.size)
        return np.bitwise_or.reduce([data[: mask.size] for data in received])

    def costs(self) -> MessageCosts:
        """Return what a message of all parameters takes; every rank calls this."""
        n = self._read.size
        own = np.random.default_rng(0).normal(size=min(n, _SAMPLE)).astype(np.float32)
        layout, total, at = Layout.of(own.size), np.zeros_like(own), (-1,)

        def make() -> bytes:
            self._states.pop(at, None)
            return bytes(self._pack(own, layout, Stream(self.seed), at, self._read[: own.size]))

        def read(message: bytes) -> None:
            self.compressor.add_decoded(message, layout, total)

        found = measure_messages(self.lane, make, read, n / own.size)
        self._states.pop(at, None)
        return found

    def _add_up(self, owns: Sequence[Vector], outs: Sequence[Vector]) -> None:
        """Write the means of vectors that go in float32: sums, which have the same bits however they go."""
        total = self.lane.add_up(np.concatenate(owns))
        divide(total, self.lane.size)
        at = 0
        for out in outs:
            out[...] = total[at : at + out.size]
            at += out.size

    def _layout(self, run: Run) -> Layout:
        return Layout(tuple(self.shapes[run.first : run.first + len(run.places)]))

    def _message(self, run: Run, own: Vector, step: int) -> Bytes:
        if run.is_raw:
            return own.view(np.uint8)
        stream = Stream(self.seed, self.lane.rank, step, run.first)
        at = (run.first, len(run.places))
        return self._pack(own, self._layout(run), stream, at, self._read[run.kept])

    def _pack(
        self, own: Vector, layout: Layout, stream: Stream, at: tuple[int, ...], values: Vector
    ) -> Bytes:
        """Return a message, and write to `values` what receivers read of it."""
        if at not in self._states:
            self._states[at] = self.compressor.init(layout)
        payload, self._states[at] = self.compressor.compress(own, self._states[at], stream)
        is_fixed = isinstance(payload, QuantizedGradient) and self.layout == "fixed"
        message = encode(payload, layout="fixed") if is_fixed else self.compressor.wire.pack(payload)
        if self.keeps_errors:
            self.compressor.split(payload, own, values)
        else:
            values[...] = self.compressor.decompress(payload)
        return np.frombuffer(message, np.uint8)


class Sharded(Gathered):
    """Ranks add up a shard each, requantize its mean, and send it to all; see `qsgd_lab.exchange.shards`.

    Attributes
    ----------
    owned : Residual
        What this rank, as an owner, has not sent of the means.
    """

    name = "two-phase"
    owned: Residual

    def mean(
        self, runs: Sequence[Run], owns: Sequence[Vector], outs: Sequence[Vector], step: int, mask: Mask
    ) -> Mask:
        """Agree on a bucket; see `Gathered.mean`."""
        rank, size = self.lane.rank, self.lane.size
        if not mask.size and all(run.is_raw for run in runs):
            self._add_up(owns, outs)
            return mask
        shards = [shards_of(self._layout(run), size, run.first) for run in runs]
        received = self.lane.scatter(
            [_joined([mask, *self._up(runs, owns, shards, owner, step)]) for owner in range(size)]
        )
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
        for owner, data in enumerate(self.lane.gather(_joined(down))):
            reader = _Reader(data, self.compressor)
            for run, own_shards, out in zip(runs, shards, outs, strict=True):
                shard = own_shards[owner]
                if shard.pieces:
                    part = _part_of(shard, out)
                    part[...] = 0
                    with message_of(owner, step):
                        reader.add(run.is_raw, shard.layout, part, None)
                    _put_back(shard, part, out)
        return used

    def _up(
        self,
        runs: Sequence[Run],
        owns: Sequence[Vector],
        shards: Sequence[tuple[Shard, ...]],
        owner: int,
        step: int,
    ) -> Iterator[Bytes]:
        """Yield what goes to an owner; with `keeps_errors`, what it reads of that is taken off."""
        node = up_node(self.lane.size, owner) + self.lane.rank
        for run, own, own_shards in zip(runs, owns, shards, strict=True):
            shard = own_shards[owner]
            if shard.pieces:
                part = _part_of(shard, own)
                if run.is_raw:
                    yield part.view(np.uint8)
                    continue
                at = (run.first, len(run.places), owner)
                stream = Stream(self.seed, node, step, run.first)
                yield self._pack(part, shard.layout, stream, at, self._read[: part.size])
                if self.keeps_errors:
                    _put_back(shard, part, own)

    def _down(self, run: Run, shard: Shard, mean: Vector, step: int) -> Bytes:
        """Return the message of a shard's mean, with what was not sent before."""
        if run.is_raw:
            return mean.view(np.uint8)
        if self.keeps_errors:
            mean += _part_of(shard, self.owned.now[run.kept])
        stream = Stream(self.seed, down_node(self.lane.size, self.lane.rank), step, run.first)
        at = (run.first, len(run.places), -1)
        message = self._pack(mean, shard.layout, stream, at, self._read[: mean.size])
        if self.keeps_errors:
            shard.put(mean, self.owned.after[run.kept])
        return message


def _part_of(shard: Shard, vector: Vector) -> Vector:
    """Return a shard's coordinates: a view where they are one piece, else a copy."""
    taken: Vector = vector[shard.pieces[0]] if len(shard.pieces) == 1 else shard.take(vector)
    return taken


def _put_back(shard: Shard, part: Vector, vector: Vector) -> None:
    """Write a shard's coordinates, unless they are a view of the vector."""
    if len(shard.pieces) > 1:
        shard.put(part, vector)


class _Reader:
    """Reads a rank's messages one after the other."""

    def __init__(self, data: Bytes, compressor: Compressor) -> None:
        self.data, self.compressor, self.at = data, compressor, 0

    def add(self, is_raw: bool, layout: Layout, total: Vector, known: Vector | None) -> None:
        """Add the next message's values, or what is known of them, to a sum."""
        rest = self.data[self.at :]
        length = total.nbytes if is_raw else message_length(rest)
        self.at += length
        if known is not None:
            total += known
        elif is_raw:
            total += np.frombuffer(rest[:length].tobytes(), np.float32)
        else:
            self.compressor.add_decoded(bytes(rest[:length]), layout, total)


def _joined(parts: Sequence[Bytes]) -> Bytes:
    return np.concatenate([np.empty(0, np.uint8), *parts])

"""The exchange of one of DDP's buckets: every message to every rank, or shards in two phases.

Vectors are large, and their memory is kept: pages of fresh memory cost as much as what is written to them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.encode import encode
from qsgd_lab.coding.host import send_rest
from qsgd_lab.coding.layouts import DEFAULT_CHUNK_SIZE
from qsgd_lab.coding.payload import ChunkScheme
from qsgd_lab.compressors import QSGD, FullPrecision
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

#: What small tensors are sent by, beside others.
_RAW = FullPrecision()
#: Coordinates of the gradient whose messages are timed.
_SAMPLE = 1 << 18


class Agreed(NamedTuple):
    """What is known of a mean: which parameters had a gradient at any rank, and whether all is finite."""

    used: Mask
    is_finite: bool


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
    residual : Residual or None
        Where what was not sent is kept, or None: it is not. A bucket leaves its runs in float32 as they are.
    """

    name = "all-gather"

    def __init__(
        self,
        compressor: Compressor,
        layout: str,
        seed: int,
        shapes: Sequence[tuple[int, ...]],
        lane: Lane,
        residual: Residual | None,
    ) -> None:
        self.compressor, self.layout, self.seed, self.shapes = compressor, layout, seed, shapes
        self.lane, self.residual = lane, residual
        self._states: dict[tuple[int, ...], Any] = {}
        is_plain = type(compressor) is QSGD and layout == "fixed"
        #: The compressor, where the length of a message follows from its tensors.
        self._fixed: QSGD | None = compressor if is_plain else None  # type: ignore[assignment]
        self._read: Vector = np.empty(sum(map(math.prod, shapes)), np.float32)

    def mean(
        self, runs: Sequence[Run], vectors: Sequence[Vector], outs: Sequence[Vector], step: int, mask: Mask
    ) -> Agreed:
        """Agree on a bucket.

        Parameters
        ----------
        runs : sequence of Run
        vectors : sequence of float32 vectors
            Each run's gradients.
        outs : sequence of float32 vectors
            Each run's mean is written to them. They may be the memory of `vectors`.
        step : int
        mask : uint8
            Which parameters had a gradient here; empty where all had.

        Raises
        ------
        PeerError
            If a rank is lost, or its message damaged.
        """
        if not mask.size and all(run.is_raw for run in runs):
            return Agreed(mask, self._add_up(vectors, outs))
        # Of two ranks' values the order does not matter: the own ones are where the sum is made.
        own_first = self.lane.size == 2
        messages = []
        for run, vector, out in zip(runs, vectors, outs, strict=True):
            read = out if own_first else self._read[run.kept]
            messages.append(self._message(run, vector, read, step))
        whole = _joined([mask, *messages])
        is_known = self._fixed is not None or all(run.is_raw for run in runs)
        received = self.lane.gather(whole, whole.size if is_known else None)
        readers = [_Reader(data[mask.size :], self.compressor) for data in received]
        is_finite = True
        for run, out in zip(runs, outs, strict=True):
            layout, has_own = self._layout(run), own_first and not run.is_raw
            if not has_own:
                out[...] = 0
            for rank, reader in enumerate(readers):
                with message_of(rank, step):
                    # Its own message a rank has decoded already.
                    if rank != self.lane.rank or run.is_raw:
                        reader.add(run.is_raw, layout, out)
                        continue
                    reader.skip()
                    if not has_own:
                        out += self._read[run.kept]
            is_finite &= _divide(out, self.lane.size)
        return Agreed(np.bitwise_or.reduce([data[: mask.size] for data in received]), is_finite)

    def costs(self) -> MessageCosts:
        """Return what a message of all parameters takes; every rank calls this."""
        n = self._read.size
        own = np.random.default_rng(0).normal(size=min(n, _SAMPLE)).astype(np.float32)
        layout, total, at = Layout.of(own.size), np.zeros_like(own), (-1,)
        kept = None if self.residual is None else (np.zeros_like(own), np.empty_like(own))

        def make() -> bytes:
            self._states.pop(at, None)
            return bytes(self._send(own, kept, total, layout, Stream(self.seed), at))

        def read(message: bytes) -> None:
            self.compressor.add_decoded(message, layout, total)

        found = measure_messages(self.lane, make, read, n / own.size)
        self._states.pop(at, None)
        return found

    def _add_up(self, vectors: Sequence[Vector], outs: Sequence[Vector]) -> bool:
        """Write the means of vectors that go in float32: sums, which have the same bits however they go."""
        total = self.lane.add_up(np.concatenate(vectors))
        is_finite, at = _divide(total, self.lane.size), 0
        for out in outs:
            out[...] = total[at : at + out.size]
            at += out.size
        return is_finite

    def _layout(self, run: Run) -> Layout:
        return Layout(tuple(self.shapes[run.first : run.first + len(run.places)]))

    def _message(self, run: Run, vector: Vector, read: Vector, step: int) -> Bytes:
        if run.is_raw:
            return _raw_message(vector)
        kept = None
        if self.residual is not None:
            kept = self.residual.now[run.kept], self.residual.after[run.kept]
        stream = Stream(self.seed, self.lane.rank, step, run.first)
        return self._send(vector, kept, read, self._layout(run), stream, (run.first, len(run.places)))

    def _send(
        self,
        vector: Vector,
        kept: tuple[Vector, Vector] | None,
        read: Vector,
        layout: Layout,
        stream: Stream,
        at: tuple[int, ...],
    ) -> Bytes:
        """Return the message of a vector, and write what receivers read of it.

        Parameters
        ----------
        vector : float32, shape (n,)
        kept : (float32, float32) or None
            What was not sent before, which is added; and where to write what is not sent now.
        read : float32, shape (n,)
            Overwritten, with 0 for -0, as in a sum that begins with 0; may be the memory of the vector.
        layout, stream
        at : tuple of int
            The key of the compressor's state.
        """
        compressor, fixed = self.compressor, self._fixed
        if at not in self._states:
            self._states[at] = compressor.init(layout)
        if kept is not None and fixed is not None and fixed.backend != "reference":
            scheme = ChunkScheme("fixed", "auto", fixed.levels, DEFAULT_CHUNK_SIZE)
            stochastic, key = fixed.rounding == "stochastic", stream.kernel_key(fixed.stream_version)
            return send_rest((vector, *kept, read), self._states[at], scheme, fixed.norm, stochastic, key)
        own = vector if kept is None else np.add(vector, kept[0], out=kept[1])
        payload, self._states[at] = compressor.compress(own, self._states[at], stream)
        is_fixed = isinstance(payload, QuantizedGradient) and self.layout == "fixed"
        message = encode(payload, layout="fixed") if is_fixed else compressor.wire.pack(payload)
        np.add(compressor.decompress(payload), np.float32(0), out=read)
        if kept is not None:
            kept[1][...] -= read
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
        self, runs: Sequence[Run], vectors: Sequence[Vector], outs: Sequence[Vector], step: int, mask: Mask
    ) -> Agreed:
        """Agree on a bucket; see `Gathered.mean`."""
        rank, size = self.lane.rank, self.lane.size
        if not mask.size and all(run.is_raw for run in runs):
            return Agreed(mask, self._add_up(vectors, outs))
        shards = [shards_of(self._layout(run), size, run.first) for run in runs]
        received = self.lane.scatter(
            [_joined([mask, *self._up(runs, vectors, shards, owner, step)]) for owner in range(size)]
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
                    reader.add(run.is_raw, shard.layout, total)
            _divide(total, size)
            down.append(self._down(run, shard, total, step))
        for owner, data in enumerate(self.lane.gather(_joined(down))):
            reader = _Reader(data, self.compressor)
            for run, own_shards, out in zip(runs, shards, outs, strict=True):
                shard = own_shards[owner]
                if shard.pieces:
                    part = _part_of(shard, out)
                    part[...] = 0
                    with message_of(owner, step):
                        reader.add(run.is_raw, shard.layout, part)
                    _put_back(shard, part, out)
        return Agreed(used, all(bool(np.isfinite(out).all()) for out in outs))

    def _up(
        self,
        runs: Sequence[Run],
        vectors: Sequence[Vector],
        shards: Sequence[tuple[Shard, ...]],
        owner: int,
        step: int,
    ) -> Iterator[Bytes]:
        """Yield what goes to an owner."""
        node = up_node(self.lane.size, owner) + self.lane.rank
        for run, vector, own_shards in zip(runs, vectors, shards, strict=True):
            shard = own_shards[owner]
            if shard.pieces and run.is_raw:
                yield _raw_message(_part_of(shard, vector))
            elif shard.pieces:
                at = (run.first, len(run.places), owner)
                stream = Stream(self.seed, node, step, run.first)
                yield self._send_part(shard, _part_of(shard, vector), self.residual, run, stream, at)

    def _down(self, run: Run, shard: Shard, mean: Vector, step: int) -> Bytes:
        """Return the message of a shard's mean, with what was not sent before."""
        if run.is_raw:
            return _raw_message(mean)
        owned = None if self.residual is None else self.owned
        stream = Stream(self.seed, down_node(self.lane.size, self.lane.rank), step, run.first)
        return self._send_part(shard, mean, owned, run, stream, (run.first, len(run.places), -1))

    def _send_part(
        self,
        shard: Shard,
        part: Vector,
        residual: Residual | None,
        run: Run,
        stream: Stream,
        at: tuple[int, ...],
    ) -> Bytes:
        """Return the message of a shard, with what is kept of it."""
        read = self._read[: part.size]
        if residual is None:
            return self._send(part, None, read, shard.layout, stream, at)
        after = residual.after[run.kept]
        kept = _part_of(shard, residual.now[run.kept]), _part_of(shard, after)
        message = self._send(part, kept, read, shard.layout, stream, at)
        _put_back(shard, kept[1], after)
        return message


def _divide(total: Vector, nodes: int) -> bool:
    """Divide a sum by the number of nodes, in place; return whether all of the mean is finite."""
    divide(total, nodes)
    return bool(np.isfinite(total).all())


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

    def add(self, is_raw: bool, layout: Layout, total: Vector) -> None:
        """Add the next message's values to a sum."""
        rest = self.data[self.at :]
        length = message_length(rest)
        self.at += length
        reader = _RAW if is_raw else self.compressor
        reader.add_decoded(bytes(rest[:length]), layout, total)

    def skip(self) -> None:
        """Pass over the next message."""
        self.at += message_length(self.data[self.at :])


def _raw_message(vector: Vector) -> Bytes:
    return np.frombuffer(_RAW.wire.pack(vector), np.uint8)


def _joined(parts: Sequence[Bytes]) -> Bytes:
    return np.concatenate([np.empty(0, np.uint8), *parts])

"""The exchange of one of DDP's buckets: every message to every rank, or shards in two phases.

An exchange is a generator: it yields while something of it is on its way, so that others are begun before it
is waited for. Vectors are large, and their memory is kept: pages of fresh memory cost as much as what is
written to them.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.mean import divide_sum
from qsgd_lab.compressors.protocol import Compressor, Layout
from qsgd_lab.distributed.bucket_messages import (
    Group,
    Reader,
    RunMessages,
    add_raw,
    groups_of,
    joined,
    raw_bytes,
)
from qsgd_lab.distributed.costs import MessageCosts, measure_messages
from qsgd_lab.distributed.exchange import message_of
from qsgd_lab.distributed.gradient_layout import Run
from qsgd_lab.distributed.lane import Arriving, Bytes, Lane
from qsgd_lab.distributed.residual import Residual
from qsgd_lab.exchange.shards import Shard, shards_of
from qsgd_lab.exchange.two_phase import down_node, up_node
from qsgd_lab.stream import Stream

Vector = NDArray[np.float32]
Mask = NDArray[np.uint8]

#: Coordinates of the gradient whose messages are timed.
_SAMPLE = 1 << 18


class Agreed(NamedTuple):
    """What is known of a mean: which parameters had a gradient at any rank, and whether all is finite."""

    used: Mask
    is_finite: bool


class Bucket(NamedTuple):
    """A bucket on its way.

    Attributes
    ----------
    runs : sequence of Run
    vectors : sequence of float32 vectors
        Each run's gradients.
    outs : sequence of float32 vectors
        Each run's mean is written to them. They may be the memory of `vectors`.
    step : int
    mask : uint8
        Which parameters had a gradient here; empty where all had.
    """

    runs: Sequence[Run]
    vectors: Sequence[Vector]
    outs: Sequence[Vector]
    step: int
    mask: Mask

    @property
    def is_sum(self) -> bool:
        """Whether all of it goes in float32, and nothing else does."""
        return not self.mask.size and all(run.is_raw for run in self.runs)


class Gathered:
    """Every rank receives every rank's message, and adds their values in the order of ranks.

    Parameters
    ----------
    compressor : Compressor
    layout : {"fixed", "auto", "ranged"}
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
        self.messages = RunMessages(compressor, layout)
        self.seed, self.shapes, self.lane, self.residual = seed, shapes, lane, residual
        self._read: Vector = np.empty(sum(map(math.prod, shapes)), np.float32)
        self._layouts: dict[tuple[int, int], Layout] = {}

    def mean(self, bucket: Bucket) -> Generator[None, None, Agreed]:
        """Agree on a bucket.

        Yields
        ------
        None
            While something is on its way, and before it is waited for.

        Raises
        ------
        PeerError
            If a rank is lost, or its message damaged.
        """
        if bucket.is_sum:
            return Agreed(bucket.mask, (yield from self._add_up(bucket.vectors, bucket.outs)))
        # Of two ranks' values the order does not matter: the own ones are where the sum is made.
        own_first = self.lane.size == 2
        begun = []
        for number, group in enumerate(groups_of(bucket.runs)):
            head = bucket.mask if number == 0 else bucket.mask[:0]
            raw = _raw_of(bucket, group)
            parts = [head]
            for i in group.coded:
                run = bucket.runs[i]
                read = bucket.outs[i] if own_first else self._read[run.kept]
                parts.append(self._message(run, bucket.vectors[i], read, bucket.step))
            if group.raw:
                parts.append(raw_bytes(raw))
            whole = joined(parts)
            lengths = [whole.size] * self.lane.size if self._is_length_known(group) else None
            begun.append((group, raw, head.size, self.lane.start([whole] * self.lane.size, lengths)))
        yield
        used, is_finite = bucket.mask, True
        for group, raw, head_size, arriving in begun:
            received = arriving.wait()
            if head_size:
                used = np.bitwise_or.reduce([data[:head_size] for data in received])
            readers = [self.messages.reader(data[head_size:]) for data in received]
            for i in group.coded:
                is_finite &= self._end_run(bucket, i, readers, own_first)
            if group.raw:
                total = self._raw_sum(raw, readers, bucket.step)
                is_finite &= divide_sum(total, self.lane.size)
                _put_raw(total, bucket, group)
        return Agreed(used, is_finite)

    def _end_run(self, bucket: Bucket, number: int, readers: Sequence[Reader], own_first: bool) -> bool:
        """Add up a run's messages, and divide; its own a rank has read already."""
        own, size, run, out = self.lane.rank, self.lane.size, bucket.runs[number], bucket.outs[number]
        layout = self._layout(run)
        order = [1 - own] if own_first else range(size)
        if not own_first:
            out[...] = 0
        for rank in order:
            if rank == own:
                out += self._read[run.kept]
                continue
            with message_of(rank, bucket.step):
                message = readers[rank].next()
                if rank == order[-1]:
                    return self.messages.end(message, layout, out, size)
                self.messages.add(message, layout, out)
        return divide_sum(out, size)

    def _raw_sum(self, own: Vector, readers: Sequence[Reader], step: int) -> Vector:
        total = np.zeros_like(own)
        for rank, reader in enumerate(readers):
            with message_of(rank, step):
                if rank == self.lane.rank:
                    total += own
                else:
                    add_raw(reader.rest(), total)
        return total

    def costs(self) -> MessageCosts:
        """Return what a message of all parameters takes; every rank calls this."""
        n = self._read.size
        own = np.random.default_rng(0).normal(size=min(n, _SAMPLE)).astype(np.float32)
        layout, total, at = Layout.of(own.size), np.zeros_like(own), (-1,)
        kept = None if self.residual is None else (np.zeros_like(own), np.empty_like(own))

        def make() -> Bytes:
            self.messages.forget(at)
            return self.messages.make(own, kept, total, layout, Stream(self.seed), at)

        def read(message: Bytes) -> None:
            self.messages.end(message, layout, total, 2)

        found = measure_messages(self.lane, make, read, n / own.size)
        self.messages.forget(at)
        return found

    def _add_up(self, vectors: Sequence[Vector], outs: Sequence[Vector]) -> Generator[None, None, bool]:
        """Write the means of vectors that go in float32: sums, which have the same bits however they go."""
        total = yield from self.lane.summing(np.concatenate(vectors))
        is_finite, at = divide_sum(total, self.lane.size), 0
        for out in outs:
            out[...] = total[at : at + out.size]
            at += out.size
        return is_finite

    def _is_length_known(self, group: Group) -> bool:
        return self.messages.is_length_known or not group.coded

    def _layout(self, run: Run) -> Layout:
        key = run.first, len(run.places)
        if key not in self._layouts:
            self._layouts[key] = Layout(tuple(self.shapes[run.first : run.first + len(run.places)]))
        return self._layouts[key]

    def _message(self, run: Run, vector: Vector, read: Vector, step: int) -> Bytes:
        kept = None
        if self.residual is not None:
            kept = self.residual.now[run.kept], self.residual.after[run.kept]
        stream = Stream(self.seed, self.lane.rank, step, run.first)
        at = (run.first, len(run.places))
        return self.messages.make(vector, kept, read, self._layout(run), stream, at)


class _OnTheWay(NamedTuple):
    """A group in two phases: its shards by run and owner, and what is on its way up, then down."""

    group: Group
    shards: dict[int, tuple[Shard, ...]]
    raw: list[Vector]
    head_size: int
    up: Arriving
    lengths: list[int] | None


class Sharded(Gathered):
    """Ranks add up a shard each, requantize its mean, and send it to all; see `qsgd_lab.exchange.shards`.

    Attributes
    ----------
    owned : Residual
        What this rank, as an owner, has not sent of the means.
    """

    name = "two-phase"
    owned: Residual

    def mean(self, bucket: Bucket) -> Generator[None, None, Agreed]:
        """Agree on a bucket; see `Gathered.mean`."""
        if bucket.is_sum:
            return Agreed(bucket.mask, (yield from self._add_up(bucket.vectors, bucket.outs)))
        begun = []
        for number, group in enumerate(groups_of(bucket.runs)):
            begun.append(self._begin(bucket, group, bucket.mask if number == 0 else bucket.mask[:0]))
        yield
        used, going_down = bucket.mask, []
        for way in begun:
            received = way.up.wait()
            if way.head_size:
                used = np.bitwise_or.reduce([data[: way.head_size] for data in received])
            down = self._down(bucket, way, [self.messages.reader(data[way.head_size :]) for data in received])
            going_down.append(self.lane.start([down] * self.lane.size, way.lengths))
        yield
        is_finite = True
        for way, arriving in zip(begun, going_down, strict=True):
            is_finite &= self._end(bucket, way, arriving.wait())
        return Agreed(used, is_finite)

    def _begin(self, bucket: Bucket, group: Group, head: Mask) -> _OnTheWay:
        """Send every owner its shard of a group."""
        size, rank = self.lane.size, self.lane.rank
        numbers = (*group.coded, *group.raw)
        shards = {i: shards_of(self._layout(bucket.runs[i]), size, bucket.runs[i].first) for i in numbers}
        parts, raw = [], []
        for owner in range(size):
            node, messages = up_node(size, owner) + rank, [head]
            for i in group.coded:
                shard, run = shards[i][owner], bucket.runs[i]
                if shard.pieces:
                    stream = Stream(self.seed, node, bucket.step, run.first)
                    at = (run.first, len(run.places), owner)
                    part = _part_of(shard, bucket.vectors[i])
                    messages.append(self._send_part(shard, part, self.residual, run, stream, at))
            own_raw = [_part_of(shards[i][owner], bucket.vectors[i]) for i in group.raw]
            raw.append(np.concatenate([np.empty(0, np.float32), *own_raw]))
            if raw[-1].size:
                messages.append(raw_bytes(raw[-1]))
            parts.append(joined(messages))
        is_known = self._is_length_known(group)
        up = self.lane.start(parts, [parts[rank].size] * size if is_known else None)
        lengths = [part.size - head.size for part in parts] if is_known else None
        return _OnTheWay(group, shards, raw, head.size, up, lengths)

    def _down(self, bucket: Bucket, way: _OnTheWay, readers: Sequence[Reader]) -> Bytes:
        """Return the messages of the mean of this rank's shard, which its own part ends up in as well."""
        rank, size, messages = self.lane.rank, self.lane.size, []
        for i in way.group.coded:
            shard, run = way.shards[i][rank], bucket.runs[i]
            if not shard.pieces:
                continue
            total = np.zeros(shard.layout.num_coordinates, np.float32)
            for sender, reader in enumerate(readers):
                with message_of(sender, bucket.step):
                    message = reader.next()
                    if sender < size - 1:
                        self.messages.add(message, shard.layout, total)
                    else:
                        self.messages.end(message, shard.layout, total, size)
            owned = None if self.residual is None else self.owned
            stream = Stream(self.seed, down_node(size, rank), bucket.step, run.first)
            at = (run.first, len(run.places), -1)
            messages.append(self._send_part(shard, total, owned, run, stream, at))
        if way.raw[rank].size:
            total = self._raw_sum(way.raw[rank], readers, bucket.step)
            divide_sum(total, size)
            way.raw[rank][...] = total
            messages.append(raw_bytes(total))
        return joined(messages)

    def _end(self, bucket: Bucket, way: _OnTheWay, received: Sequence[Bytes]) -> bool:
        """Write the owners' means; its own a rank has read already."""
        is_finite = True
        for owner, data in enumerate(received):
            reader, is_own = self.messages.reader(data), owner == self.lane.rank
            for i in way.group.coded:
                shard, out = way.shards[i][owner], bucket.outs[i]
                if not shard.pieces:
                    continue
                part = _part_of(shard, out)
                if is_own:
                    part[...] = self._read[bucket.runs[i].kept][: part.size]
                    is_finite &= divide_sum(part, 1)
                else:
                    part[...] = 0
                    with message_of(owner, bucket.step):
                        message = reader.next()
                        is_finite &= self.messages.end(message, shard.layout, part, 1)
                _put_back(shard, part, out)
            total = way.raw[owner]
            if not is_own and total.size:
                total[...] = 0
                with message_of(owner, bucket.step):
                    add_raw(reader.rest(), total)
            is_finite &= divide_sum(total, 1)
            at = 0
            for i in way.group.raw:
                shard = way.shards[i][owner]
                size = shard.layout.num_coordinates
                shard.put(total[at : at + size], bucket.outs[i])
                at += size
        return is_finite

    def _send_part(
        self,
        shard: Shard,
        part: Vector,
        residual: Residual | None,
        run: Run,
        stream: Stream,
        at: tuple[int, ...],
    ) -> Bytes:
        """Return the message of a shard, with what is kept of it; what is read of it stays for `_end`."""
        read = self._read[run.kept][: part.size]
        if residual is None:
            return self.messages.make(part, None, read, shard.layout, stream, at)
        after = residual.after[run.kept]
        kept = _part_of(shard, residual.now[run.kept]), _part_of(shard, after)
        message = self.messages.make(part, kept, read, shard.layout, stream, at)
        _put_back(shard, kept[1], after)
        return message


def _part_of(shard: Shard, vector: Vector) -> Vector:
    """Return a shard's coordinates: a view where they are one piece, else a copy."""
    taken: Vector = vector[shard.pieces[0]] if len(shard.pieces) == 1 else shard.take(vector)
    return taken


def _put_back(shard: Shard, part: Vector, vector: Vector) -> None:
    """Write a shard's coordinates, unless they are a view of the vector."""
    if len(shard.pieces) > 1:
        shard.put(part, vector)


def _raw_of(bucket: Bucket, group: Group) -> Vector:
    """Return a copy of the values of a group's runs in float32."""
    return np.concatenate([np.empty(0, np.float32), *(bucket.vectors[i] for i in group.raw)])


def _put_raw(values: Vector, bucket: Bucket, group: Group) -> None:
    """Write the mean of a group's runs in float32."""
    at = 0
    for out in (bucket.outs[i] for i in group.raw):
        out[...] = values[at : at + out.size]
        at += out.size

"""Small tensors sent as they are: biases and BatchNorm's parameters are few, and some systems spare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from qsgd_lab.compressors.calls import check_wrapped
from qsgd_lab.compressors.methods.fp32 import FullPrecision, envelope_bits
from qsgd_lab.compressors.protocol import Array, Compressor, Layout, NodeRows, Wire
from qsgd_lab.compressors.registry import Method, Option
from qsgd_lab.errors import MessageError
from qsgd_lab.ledger import Ledger, Size
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.stream import Stream


class Segments(NamedTuple):
    """The large and the small tensors of a layout: (start, stop) of adjacent coordinates, ascending."""

    large: tuple[tuple[int, int], ...]
    small: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class RawSmallTensorsState:
    """The wrapped compressor's state, and the segments of both kinds of tensors."""

    inner: Any
    segments: Segments

    @cached_property
    def num_coordinates(self) -> int:
        """Coordinates of the gradients that are taken."""
        return sum(stop - start for part in self.segments for start, stop in part)


@dataclass(frozen=True)
class RawSmallTensorsPayload:
    """The wrapped compressor's payload (None if no tensor is large), the raw coordinates, both segments."""

    inner: Any
    raw: Array
    segments: Segments


class RawSmallTensorsWire(Wire[RawSmallTensorsPayload]):
    """The wrapped compressor's message, then one of kind "raw" with the small tensors.

    There is no message of the wrapped compressor where all tensors are small, and no raw one where none is.

    Parameters
    ----------
    compressor : RawSmallTensors
    """

    kind = "raw small tensors"

    def __init__(self, compressor: RawSmallTensors) -> None:
        self.compressor = compressor

    def size(self, payload: RawSmallTensorsPayload) -> Size:
        """Return the wrapped compressor's size and the number of raw coordinates; "message" is both."""
        raw = raw_size(payload.raw.shape[0])
        if payload.inner is None:
            return raw
        inner = self.compressor.inner.wire.size(payload.inner)
        bits = {form: count + raw.bits.get(form, 0) for form, count in inner.bits.items()}
        return Size(inner.coordinates, bits, inner.raw_coordinates + raw.raw_coordinates)

    def pack(self, payload: RawSmallTensorsPayload) -> bytes:
        """Return both messages, one after the other."""
        raw = _RAW.wire.pack(payload.raw) if payload.raw.shape[0] else b""
        return raw if payload.inner is None else self.compressor.inner.wire.pack(payload.inner) + raw

    def unpack(self, message: bytes, layout: Layout) -> RawSmallTensorsPayload:
        """Cut the message where the raw one begins, whose length the layout tells, and read both."""
        large, small, segments = self.compressor.split(layout)
        raw = raw_size(small.num_coordinates)
        cut = len(message) - (raw.bits.get("message", 0) + FLOAT_BITS * raw.raw_coordinates) // 8
        if cut < 0:
            raise MessageError(f"{len(message)} bytes cannot hold {small.num_coordinates} raw coordinates")
        if large.num_coordinates == 0 and cut:
            raise MessageError(f"{cut} bytes before the raw coordinates, which are all there are")
        inner = self.compressor.inner.wire.unpack(message[:cut], large) if large.num_coordinates else None
        values = _RAW.wire.unpack(message[cut:], small) if raw.raw_coordinates else np.empty(0, np.float32)
        return RawSmallTensorsPayload(inner, values, segments)


def raw_size(num_coordinates: int) -> Size:
    """Return the size of the small tensors' message: no bits where there are none."""
    bits = {"message": envelope_bits(num_coordinates)} if num_coordinates else {}
    return Size(0, bits, num_coordinates)


class RawSmallTensors(Compressor):
    """Wraps a compressor: tensors of at most so many coordinates go in float32, the others through it.

    The wrapped compressor sees the large tensors alone, one after the other: a bucket of the whole model is
    one of all large tensors, and the k-th large tensor draws the random words of tensor k.

    Parameters
    ----------
    inner : Compressor
    up_to : int
        Largest tensor that is sent raw.

    Raises
    ------
    TypeError
        If `inner` is no compressor.
    ValueError
        If `up_to` is negative, or the compressor needs several rounds.
    """

    def __init__(self, inner: Compressor, up_to: int) -> None:
        check_wrapped(inner, Compressor, "RawSmallTensors")
        if up_to < 0:
            raise ValueError(f"tensors of up to {up_to} coordinates cannot be sent raw; at least 0")
        if inner.interactive:
            raise ValueError("a compressor of several rounds chooses itself which tensors it sends raw")
        self.inner, self.up_to = inner, up_to
        self.takes_device_arrays, self.needs_feedback = inner.takes_device_arrays, inner.needs_feedback
        self.contracts_by_data = inner.contracts_by_data

    def split(self, layout: Layout) -> tuple[Layout, Layout, Segments]:
        """Return the layout of the large tensors, of the small ones, and the segments of both."""
        segments: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
        shapes: dict[bool, list[tuple[int, ...]]] = {True: [], False: []}
        start = 0
        for is_small, group in groupby(
            zip(layout.shapes, layout.sizes, strict=True), key=lambda pair: pair[1] <= self.up_to
        ):
            members = list(group)
            stop = start + sum(size for _, size in members)
            segments[is_small].append((start, stop))
            shapes[is_small] += [shape for shape, _ in members]
            start = stop
        large, small = (Layout(tuple(shapes[is_small])) for is_small in (False, True))
        return large, small, Segments(tuple(segments[False]), tuple(segments[True]))

    def init(self, layout: Layout) -> RawSmallTensorsState:
        """Return the wrapped compressor's state for the large tensors, and the segments."""
        large, _, segments = self.split(layout)
        return RawSmallTensorsState(self.inner.init(large), segments)

    def init_nodes(self, nodes: int, layout: Layout, like: Array | None = None) -> RawSmallTensorsState:
        """Return the wrapped compressor's states of N nodes, and the segments, which all share."""
        large, _, segments = self.split(layout)
        return RawSmallTensorsState(self.inner.init_nodes(nodes, large, like), segments)

    def at_rate(self, states: RawSmallTensorsState, rate: float) -> RawSmallTensorsState:
        """Return the states with the wrapped compressor's for a step of this learning rate."""
        return RawSmallTensorsState(self.inner.at_rate(states.inner, rate), states.segments)

    def settled(
        self, before: RawSmallTensorsState, after: RawSmallTensorsState, mean: Array
    ) -> RawSmallTensorsState:
        """Return the state with the wrapped compressor's choice."""
        return RawSmallTensorsState(self.inner.settled(before.inner, after.inner, mean), after.segments)

    def compress(
        self, gradient: Array, state: RawSmallTensorsState, stream: Stream
    ) -> tuple[RawSmallTensorsPayload, RawSmallTensorsState]:
        """Return (both parts, next state)."""
        large, small = (_gathered(gradient, part) for part in state.segments)
        if not len(large):
            return RawSmallTensorsPayload(None, small, state.segments), state
        payload, inner = self.inner.compress(large, state.inner, stream)
        after = RawSmallTensorsState(inner, state.segments)
        return RawSmallTensorsPayload(payload, small, state.segments), after

    def decompress(self, payload: RawSmallTensorsPayload) -> Array:
        """Return both parts in their places."""
        if payload.inner is None:
            return payload.raw
        large = self.inner.decompress(payload.inner)
        gradient = _empty(large, (len(large) + len(payload.raw),))
        _scatter(large, gradient, payload.segments.large)
        _scatter(payload.raw, gradient, payload.segments.small)
        return gradient

    @property
    def wire(self) -> RawSmallTensorsWire:
        """Both parts, one after the other."""
        return RawSmallTensorsWire(self)

    @property
    def is_unbiased(self) -> bool:
        """What the wrapped compressor is."""
        return self.inner.is_unbiased

    def variance_factor(self, num_coordinates: int) -> float | None:
        """Return the wrapped compressor's: raw coordinates add to the norm and not to the error."""
        return self.inner.variance_factor(num_coordinates)

    def mean(
        self, rows: NodeRows, states: RawSmallTensorsState, stream: Stream, out: Array, ledger: Ledger
    ) -> RawSmallTensorsState:
        """Average the large tensors in the wrapped compressor's one pass, the small ones as they are."""
        if rows.gradients is not None and rows.residuals is not None:
            rows.residuals[...] += rows.gradients
            rows = NodeRows(None, rows.residuals)
        whole = rows.residuals if rows.gradients is None else rows.gradients
        large, small = (_gathered(whole, part) for part in states.segments)
        large_mean, small_mean = (_empty(out, part.shape[1:]) for part in (large, small))
        own = [NodeRows(None, part) if rows.gradients is None else NodeRows(part) for part in (large, small)]
        inner = states.inner
        if large.shape[-1]:  # else no message of the wrapped compressor is sent
            inner = self.inner.mean(own[0], states.inner, stream, large_mean, ledger)
        _RAW.mean(own[1], [None] * len(small), stream, small_mean, Ledger())
        size = raw_size(small.shape[-1])  # fp32 alone is counted without envelopes
        for _ in small:
            ledger.add(size)
        if rows.gradients is None:
            _scatter(large, whole, states.segments.large)
            _scatter(small, whole, states.segments.small)
        _scatter(large_mean, out, states.segments.large)
        _scatter(small_mean, out, states.segments.small)
        return RawSmallTensorsState(self.inner.settled(states.inner, inner, out), states.segments)


_RAW = FullPrecision()


def _gathered(whole: Array, segments: Sequence[tuple[int, int]]) -> Array:
    """Return a copy of some coordinates of a vector, or of all rows of a matrix, side by side."""
    part = _empty(whole, (*whole.shape[:-1], sum(stop - start for start, stop in segments)))
    position = 0
    for start, stop in segments:
        part[..., position : position + stop - start] = whole[..., start:stop]
        position += stop - start
    return part


def _scatter(part: Array, whole: Array, segments: Sequence[tuple[int, int]]) -> None:
    """Write coordinates that `_gathered` brought together back to their places."""
    position = 0
    for start, stop in segments:
        whole[..., start:stop] = part[..., position : position + stop - start]
        position += stop - start


def _empty(like: Array, shape: tuple[int, ...]) -> Array:
    """Return an array of a shape where `like` lives: in host memory, or a torch tensor on its device."""
    return like.new_empty(shape) if hasattr(like, "new_empty") else np.empty(shape, np.float32)


METHOD = Method(
    "raw-small",
    RawSmallTensors,
    (Option("up_to", int, 1000, "largest tensor that is sent in float32, in coordinates"),),
    lambda options: f"{options['inner']}, raw up to {options['up_to']}",
    summary="small tensors in float32, the others through the wrapped compressor",
    source="Alistarh et al. 2017, section 5",
    theory="qsgd_lab.theory.methods.raw_small",
    is_wrapper=True,
)

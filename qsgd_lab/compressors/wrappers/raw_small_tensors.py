"""Small tensors sent as they are: biases and BatchNorm's parameters are few, and some systems spare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from qsgd_lab.coding.tally import Tally
from qsgd_lab.compressors.base import Compressor, Gradient
from qsgd_lab.compressors.methods.fp32 import FullPrecision
from qsgd_lab.stream import Stream


@dataclass(frozen=True)
class RawSmallTensorsState:
    """The wrapped compressor's state, and where the large and the small tensors lie.

    Segments are (start, stop) of coordinates that follow each other, ascending.
    """

    inner: Any
    large: tuple[tuple[int, int], ...]
    small: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class RawSmallTensorsMessage:
    """The wrapped compressor's message, the raw float32 coordinates, and the layout of both."""

    inner: Any
    raw: Gradient
    layout: RawSmallTensorsState


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
    ValueError
        If `up_to` is negative.
    """

    def __init__(self, inner: Compressor, up_to: int) -> None:
        if up_to < 0:
            raise ValueError(f"tensors of up to {up_to} coordinates cannot be sent raw; at least 0")
        self.inner, self.up_to = inner, up_to
        self._raw = FullPrecision()

    def init(self, num_coordinates: int, tensor_sizes: tuple[int, ...] | None = None) -> RawSmallTensorsState:
        """Return the wrapped compressor's state for the large tensors, and the layout."""
        return self._state(num_coordinates, tensor_sizes, self.inner.init)

    def init_nodes(
        self, nodes: int, num_coordinates: int, tensor_sizes: tuple[int, ...] | None = None
    ) -> RawSmallTensorsState:
        """Return the wrapped compressor's states of N nodes, and the layout, which all share."""
        return self._state(
            num_coordinates, tensor_sizes, lambda n, sizes: self.inner.init_nodes(nodes, n, sizes)
        )

    def _state(
        self, num_coordinates: int, tensor_sizes: tuple[int, ...] | None, init: Any
    ) -> RawSmallTensorsState:
        sizes = (num_coordinates,) if tensor_sizes is None else tensor_sizes
        segments: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
        start = 0
        for is_small, members in groupby(sizes, key=lambda size: size <= self.up_to):
            stop = start + sum(members)
            segments[is_small].append((start, stop))
            start = stop
        large = tuple(size for size in sizes if size > self.up_to)
        return RawSmallTensorsState(init(sum(large), large), tuple(segments[False]), tuple(segments[True]))

    def compress(
        self, gradient: Gradient, state: RawSmallTensorsState, stream: Stream
    ) -> tuple[RawSmallTensorsMessage, RawSmallTensorsState]:
        """Return (both parts, next state)."""
        message, inner = self.inner.compress(_gathered(gradient, state.large), state.inner, stream)
        after = RawSmallTensorsState(inner, state.large, state.small)
        return RawSmallTensorsMessage(message, _gathered(gradient, state.small), after), after

    def decompress(self, message: RawSmallTensorsMessage) -> Gradient:
        """Return both parts in their places."""
        large = self.inner.decompress(message.inner)
        gradient = _empty(large, (len(large) + len(message.raw),))
        _scatter(large, gradient, message.layout.large)
        _scatter(message.raw, gradient, message.layout.small)
        return gradient

    def count(self, message: RawSmallTensorsMessage, tally: Tally) -> None:
        """Count the wrapped compressor's message, and 32 bits for every raw coordinate."""
        self.inner.count(message.inner, tally)
        self._raw.count(message.raw, tally)

    @property
    def is_unbiased(self) -> bool:
        """What the wrapped compressor is."""
        return self.inner.is_unbiased

    def variance_factor(self, num_coordinates: int) -> float | None:
        """Return the wrapped compressor's: raw coordinates add to the norm and not to the error."""
        return self.inner.variance_factor(num_coordinates)

    def average(
        self,
        gradients: Gradient,
        states: RawSmallTensorsState,
        stream: Stream,
        mean: Gradient,
        tally: Tally,
    ) -> RawSmallTensorsState:
        """Average the large tensors in the wrapped compressor's one pass, the small ones as they are."""
        large, small = (_gathered(gradients, part) for part in (states.large, states.small))
        large_mean, small_mean = (_empty(mean, part.shape[1:]) for part in (large, small))
        inner = self.inner.average(large, states.inner, stream, large_mean, tally)
        self._raw.average(small, [None] * len(small), stream, small_mean, tally)
        return _delivered(inner, states, large_mean, small_mean, mean)

    def average_with_residuals(
        self,
        gradients: Gradient,
        residuals: Gradient,
        states: RawSmallTensorsState,
        stream: Stream,
        mean: Gradient,
        tally: Tally,
    ) -> RawSmallTensorsState:
        """Do the same for gradients + residuals, and leave in `residuals` what was not sent."""
        residuals += gradients
        return self.average_in_place(residuals, states, stream, mean, tally)

    def average_in_place(
        self,
        corrected: Gradient,
        states: RawSmallTensorsState,
        stream: Stream,
        mean: Gradient,
        tally: Tally,
    ) -> RawSmallTensorsState:
        """Do the same for gradients that the caller has added to the residuals."""
        large, small = (_gathered(corrected, part) for part in (states.large, states.small))
        large_mean, small_mean = (_empty(mean, part.shape[1:]) for part in (large, small))
        inner = self.inner.average_in_place(large, states.inner, stream, large_mean, tally)
        self._raw.average_in_place(small, [None] * len(small), stream, small_mean, tally)
        _scatter(large, corrected, states.large)
        _scatter(small, corrected, states.small)
        return _delivered(inner, states, large_mean, small_mean, mean)


def _delivered(
    inner: Any, states: RawSmallTensorsState, large_mean: Gradient, small_mean: Gradient, mean: Gradient
) -> RawSmallTensorsState:
    _scatter(large_mean, mean, states.large)
    _scatter(small_mean, mean, states.small)
    return RawSmallTensorsState(inner, states.large, states.small)


def _gathered(whole: Gradient, segments: Sequence[tuple[int, int]]) -> Gradient:
    """Return a copy of some coordinates of a vector, or of all rows of a matrix, side by side."""
    part = _empty(whole, (*whole.shape[:-1], sum(stop - start for start, stop in segments)))
    position = 0
    for start, stop in segments:
        part[..., position : position + stop - start] = whole[..., start:stop]
        position += stop - start
    return part


def _scatter(part: Gradient, whole: Gradient, segments: Sequence[tuple[int, int]]) -> None:
    """Write coordinates that `_gathered` brought together back to their places."""
    position = 0
    for start, stop in segments:
        whole[..., start:stop] = part[..., position : position + stop - start]
        position += stop - start


def _empty(like: Gradient, shape: tuple[int, ...]) -> Gradient:
    """Return an array of a shape where `like` lives: in host memory, or a torch tensor on its device."""
    return like.new_empty(shape) if hasattr(like, "new_empty") else np.empty(shape, np.float32)

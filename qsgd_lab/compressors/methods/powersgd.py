"""PowerSGD: matrices by two factors of low rank, which a network can average, in two rounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.compressors.protocol import Agreed, Array, Compressor, Layout, Reduce, Rounds, Wire
from qsgd_lab.compressors.registry import Method, Option
from qsgd_lab.errors import MessageError
from qsgd_lab.kernels.rotation import LARGEST_FLOAT
from qsgd_lab.ledger import Size
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.stream import Stream
from qsgd_lab.wire import message
from qsgd_lab.wire.key import SHARED_NODE, Key, Purpose, words
from qsgd_lab.wire.kinds.raw import Raw
from qsgd_lab.wire.structure import Structure

Floats = NDArray[np.float32]
_LEAST_SHRINKING = 2
_NODE_BITS = 10


class Part(NamedTuple):
    """One tensor: its place in the gradient, and its matrix (rows, columns) of rank r; r = 0 is sent raw."""

    start: int
    stop: int
    rows: int
    columns: int
    rank: int


@dataclass(frozen=True)
class PowerSGDState:
    """The layout, and for each compressed tensor the vectors Q' of the last step, float32, shape (r, b)."""

    layout: Layout
    vectors: list[Floats]

    @property
    def num_coordinates(self) -> int:
        """Coordinates of the gradients that are taken."""
        return self.layout.num_coordinates


@dataclass(frozen=True, eq=False)
class LowRank:
    """Factors of the compressed tensors, and the others as they are.

    Attributes
    ----------
    layout : Layout
    rank : int
    arrays : list of float32 arrays
        In the order of tensors: P' (r, a) and Q' (r, b) of a compressed one, the coordinates of another.
    """

    layout: Layout
    rank: int
    arrays: list[Floats]


class FactorsWire(Wire[LowRank]):
    """Kind "raw" of wire format 2: the list of factors and raw tensors.

    Parameters
    ----------
    rank : int
    """

    kind = "raw"

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def size(self, payload: LowRank) -> Size:
        """Return "fixed", 32 bits a number, and "message", the whole."""
        count = sum(array.size for array in payload.arrays)
        whole = message.size(Raw(np.empty(count, np.float32)), structure=_structure(payload.arrays))
        return Size(payload.layout.num_coordinates, {"fixed": FLOAT_BITS * count, "message": whole})

    def pack(self, payload: LowRank) -> bytes:
        """Return the message."""
        return bytes(message.pack(Raw(_flat(payload.arrays)), structure=_structure(payload.arrays)))

    def unpack(self, received: bytes, layout: Layout) -> LowRank:
        """Read a message of the factors of gradients of a layout."""
        shapes = list(_array_shapes(layout, self.rank))
        most = sum(math.prod(shape) for shape in shapes)
        content = message.open_content(received, max_coordinates=most, kinds=["raw"])
        values = content.payload.values
        if content.structure != Structure.arrays(shapes) or values.dtype != np.float32:
            raise MessageError("the message does not hold the factors of the receiver's tensors in float32")
        return LowRank(layout, self.rank, _cut(values.reshape(-1), shapes))


class PowerSGD(Compressor):
    """Sends P = M Q and Q = M' P of each matrix M, each averaged over the nodes; P is orthonormal between.

    A tensor of two or more dimensions is the matrix (first, product of the others). It is compressed only if
    that at least halves it; other tensors travel in float32 with the first round. Q starts from random words
    that all nodes share, and goes on from the last step; vectors that became zero or not finite start again.
    A node's own contribution is P Q_i' with its own factor, so that residuals of unlike nodes stay bounded.
    Entries of Q and of the product that exceed float32 count as its largest number, which is still a
    contraction; the sum of several nodes' Q can become infinite, as that of their gradients.
    The method is biased, a projection: the error is (1 - delta) ||v||^2, where delta depends on the data. It
    is meant for error feedback, `ef(powersgd)`.

    Parameters
    ----------
    rank : int
        r, at least 1.

    Raises
    ------
    ValueError
        If the rank is below 1.

    References
    ----------
    Vogels, Karimireddy, Jaggi: PowerSGD. NeurIPS 2019.
    """

    aggregates = "sums"
    interactive = True
    needs_feedback = True
    contracts_by_data = True
    is_unbiased = False

    def __init__(self, rank: int = 2) -> None:
        if rank < 1:
            raise ValueError(f"rank is {rank}; it must be at least 1")
        self.rank = rank

    def init(self, layout: Layout) -> PowerSGDState:
        """Return vectors of zeros, which the first step draws."""
        found = [part for part in parts(layout, self.rank) if part.rank]
        return PowerSGDState(layout, [np.zeros((part.rank, part.columns), np.float32) for part in found])

    def compress(
        self, gradient: Array, state: PowerSGDState, stream: Stream
    ) -> tuple[LowRank, PowerSGDState]:
        """Return (both factors of one node alone, next state)."""
        found = self._tensors(gradient, state, stream)
        with np.errstate(all="ignore"):
            left = [_orthonormal(_times(tensor.matrix, tensor.vectors)) for tensor in found.compressed]
            right = _right_factors(found.compressed, left)
        pairs, raw = iter(zip(left, right, strict=True)), iter(found.raw)
        arrays: list[Floats] = []
        for part in parts(state.layout, self.rank):
            arrays += list(next(pairs)) if part.rank else [next(raw)]
        return LowRank(state.layout, self.rank, arrays), PowerSGDState(state.layout, right)

    def decompress(self, payload: LowRank) -> Array:
        """Return the products of the factors."""
        arrays = iter(payload.arrays)
        values = np.empty(payload.layout.num_coordinates, np.float32)
        for part in parts(payload.layout, payload.rank):
            own = values[part.start : part.stop]
            if part.rank:
                _write_product(next(arrays), next(arrays), part, own)
            else:
                own[:] = next(arrays).reshape(-1)
        return values

    @property
    def wire(self) -> FactorsWire:
        """The factors as a list of arrays."""
        return FactorsWire(self.rank)

    def variance_factor(self, num_coordinates: int) -> float:
        """Return 1: the error of a projection P P' M is at most |M|^2, and less where P meets M at all."""
        return 1.0

    def rounds(self, vector: Array, state: PowerSGDState, stream: Stream) -> Rounds:
        """Average P and the raw tensors, then Q."""
        found = self._tensors(vector, state, stream)
        with np.errstate(all="ignore"):
            left = [_times(tensor.matrix, tensor.vectors) for tensor in found.compressed]
        own_raw = np.array(_flat(found.raw))
        first = yield Reduce(np.concatenate([_flat(left), own_raw]))
        with np.errstate(all="ignore"):
            left = [_orthonormal(factor) for factor in _cut(first, [factor.shape for factor in left])]
            own = _right_factors(found.compressed, left)
        shared_raw = first[first.size - own_raw.size :]
        second = yield Reduce(_flat(own)) if own else Reduce(np.empty(0, np.float32))
        right = _cut(second, [factor.shape for factor in own])
        mean, sent = np.empty((2, vector.size), np.float32)
        for out, factors, raw in ((mean, right, shared_raw), (sent, own, own_raw)):
            self._write(out, state.layout, left, factors, raw)
        return Agreed(mean, sent, PowerSGDState(state.layout, right))

    def _tensors(self, vector: Array, state: PowerSGDState, stream: Stream) -> _Tensors:
        """Return the matrices with the vectors that they are multiplied by, and the raw tensors."""
        compressed, raw, vectors = [], [], iter(state.vectors)
        for number, part in enumerate(parts(state.layout, self.rank)):
            own = vector[part.start : part.stop]
            if part.rank:
                started = _started(next(vectors), stream._replace(tensor=stream.tensor + number))
                compressed.append(_Matrix(own.reshape(part.rows, part.columns), _scaled(started)))
            else:
                raw.append(own)
        return _Tensors(compressed, raw)

    def _write(
        self, out: Floats, layout: Layout, left: list[Floats], right: list[Floats], raw: Floats
    ) -> None:
        pairs, done = iter(zip(left, right, strict=True)), 0
        for part in parts(layout, self.rank):
            own = out[part.start : part.stop]
            if part.rank:
                _write_product(*next(pairs), part, own)
            else:
                own[:] = raw[done : done + own.size]
                done += own.size


class _Matrix(NamedTuple):
    matrix: Floats
    vectors: Floats


class _Tensors(NamedTuple):
    compressed: list[_Matrix]
    raw: list[Floats]


def parts(layout: Layout, rank: int) -> Iterator[Part]:
    """Yield the tensors of a layout, with the rank at which each is sent."""
    start = 0
    for shape, size in zip(layout.shapes, layout.sizes, strict=True):
        rows = shape[0] if len(shape) > 1 else 0
        columns = size // rows if rows else 0
        own = min(rank, rows, columns)
        shrinks = own * (rows + columns) * _LEAST_SHRINKING <= size and own > 0
        yield Part(start, start + size, rows, columns, own if shrinks else 0)
        start += size


def _array_shapes(layout: Layout, rank: int) -> Iterator[tuple[int, ...]]:
    for part, shape in zip(parts(layout, rank), layout.shapes, strict=True):
        if part.rank:
            yield part.rank, part.rows
            yield part.rank, part.columns
        else:
            yield (math.prod(shape),)


def _structure(arrays: list[Floats]) -> Structure:
    return Structure.arrays([array.shape for array in arrays])


def _flat(arrays: list[Floats]) -> Floats:
    return np.concatenate([np.empty(0, np.float32), *(array.reshape(-1) for array in arrays)])


def _cut(values: Floats, shapes: list[tuple[int, ...]]) -> list[Floats]:
    ends = np.cumsum([math.prod(shape) for shape in shapes], dtype=np.int64)
    starts = [0, *ends.tolist()]
    return [
        values[start : start + math.prod(shape)].reshape(shape)
        for start, shape in zip(starts, shapes, strict=False)
    ]


def _started(vectors: Floats, stream: Stream) -> Floats:
    """Return the vectors, with new ones in the place of those that are zero or not finite."""
    fresh = np.logical_not(np.isfinite(vectors).all(axis=1) & np.any(vectors != 0, axis=1))
    if not fresh.any():
        return vectors
    key = Key(stream.seed, SHARED_NODE, stream.step, stream.tensor)
    drawn = words(key, Purpose.START, vectors.size).view(np.int32).reshape(vectors.shape)
    return np.where(fresh[:, None], drawn.astype(np.float32) * np.float32(2.0**-31), vectors)


def _scaled(vectors: Floats) -> Floats:
    """Return each vector times a power of two, by which the sums M q of 1024 nodes stay below float32's end.

    Q' is as long as the matrix, so that M Q' itself leaves float32's range from 1e19 on. P is made
    orthonormal, and no power of two changes what it is then.
    """
    exponents = np.frexp(np.abs(vectors).max(axis=1, keepdims=True, initial=0))[1]
    scaled: Floats = np.ldexp(vectors, -exponents - vectors.shape[1].bit_length() - _NODE_BITS)
    return scaled


def _times(matrix: Floats, vectors: Floats) -> Floats:
    from qsgd_lab.kernels.cpu.methods.low_rank import times_vectors

    out = np.empty((len(vectors), len(matrix)), np.float32)
    times_vectors(matrix, vectors, out)
    return out


def _orthonormal(vectors: Floats) -> Floats:
    from qsgd_lab.kernels.cpu.methods.low_rank import orthonormalize

    out = np.array(vectors)
    orthonormalize(out)
    return out


def _right_factors(found: list[_Matrix], left: list[Floats]) -> list[Floats]:
    from qsgd_lab.kernels.cpu.methods.low_rank import transposed_times_vectors

    right = []
    for (matrix, _), factor in zip(found, left, strict=True):
        right.append(np.empty((len(factor), matrix.shape[1]), np.float32))
        transposed_times_vectors(matrix, factor, right[-1])
        np.clip(right[-1], -LARGEST_FLOAT, LARGEST_FLOAT, out=right[-1])  # a NaN stays
    return right


def _write_product(left: Floats, right: Floats, part: Part, out: Floats) -> None:
    from qsgd_lab.kernels.cpu.methods.low_rank import outer_sum

    outer_sum(left, right, out.reshape(part.rows, part.columns))
    if np.abs(right).max(initial=0) > LARGEST_FLOAT / (2 * len(right)):  # a sum may round to infinity
        np.clip(out, -LARGEST_FLOAT, LARGEST_FLOAT, out=out)


METHOD = Method(
    "powersgd",
    PowerSGD,
    (Option("rank", int, 2, "rank of the factors of a matrix, at least 1"),),
    lambda options: f"PowerSGD rank {options['rank']}",
    summary="matrices by two averaged factors of low rank; meant for error feedback",
    source="Vogels, Karimireddy, Jaggi, NeurIPS 2019",
    theory="qsgd_lab.theory.methods.powersgd",
    settings=tuple(f"powersgd(rank={rank})" for rank in (1, 2, 4, 8, 16)),
)

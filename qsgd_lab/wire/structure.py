"""The structure of a message: one array cut in tensors, or a list of arrays.

Sizes and dimensions are kept as arrays, so that a message makes a reader allocate little for each of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.errors import MessageError
from qsgd_lab.partition import MAX_TENSOR_SIZE
from qsgd_lab.wire.checks import (
    MAX_COORDINATES,
    MAX_DIMENSIONS,
    MAX_TENSORS,
    Bytes,
    check_zeros,
    require,
    up8,
)

FLAT, ARRAY, CUT, LIST = range(4)
_WIDTHS = ("<u1", "<u2", "<u4", "<u8")
_LIMITS = (MAX_COORDINATES, MAX_TENSORS, MAX_DIMENSIONS)
_SMALL = 1024  # bytes of a structure that is remembered
_CUT_OFF = "the message ends inside its structure"
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Structure:
    """What the coordinates of a message are; build it with `flat`, `array` or `arrays`.

    Attributes
    ----------
    sizes : int64, shape (T,)
        Coordinates of each tensor. All arrays are read-only: structures are remembered and shared.
    dimensions : int64
        Of the one array; of a list, those of its arrays one after another.
    ranks : uint8, shape (T,), or None
        The number of dimensions of each array of a list; None for one array.
    """

    sizes: NDArray[np.int64]
    dimensions: NDArray[np.int64]
    ranks: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        for name in ("sizes", "dimensions", "ranks"):
            numbers = getattr(self, name)
            if numbers is not None:
                view = numbers.view()  # the caller's own array stays as it is
                view.flags.writeable = False
                object.__setattr__(self, name, view)

    @classmethod
    def flat(cls, num_coordinates: int) -> Structure:
        """Return the structure of one flat array that is one tensor."""
        return cls.array((num_coordinates,))

    @classmethod
    def array(cls, shape: Iterable[int], tensor_sizes: Iterable[int] | None = None) -> Structure:
        """Return the structure of one array; without `tensor_sizes` it is one tensor.

        Raises
        ------
        ValueError
            If sizes and shape do not agree, or exceed the format's limits.
        """
        shape = tuple(map(index, shape))
        sizes = (math.prod(shape),) if tensor_sizes is None else tuple(map(index, tensor_sizes))
        return _checked_array(shape, sizes)

    @classmethod
    def arrays(cls, shapes: Iterable[Iterable[int]]) -> Structure:
        """Return the structure of a list of arrays of these shapes, such as the gradient of a network.

        Raises
        ------
        ValueError
            If a shape exceeds the format's limits.
        """
        listed = [tuple(map(index, shape)) for shape in shapes]
        if any(len(shape) > MAX_DIMENSIONS for shape in listed):
            raise ValueError(f"an array has more than {MAX_DIMENSIONS} dimensions")
        flat = _numbers([length for shape in listed for length in shape])
        sizes = _numbers([math.prod(shape) for shape in listed])
        return cls(sizes, flat, np.array([len(shape) for shape in listed], np.uint8)).checked()

    def checked(self) -> Structure:
        """Return the structure if it can be written; raise a ValueError otherwise."""
        try:
            check_structure(self)
        except MessageError as error:
            raise ValueError(str(error)) from None
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[int, int, int, int, bytes]:
        """What tells structures apart: what a message has in its head, and the numbers, which are padded."""
        return self.form, self.num_coordinates, self.num_tensors, self.dimensions.size, self.pack()

    @cached_property
    def num_coordinates(self) -> int:
        """The number of coordinates, n."""
        return int(self.sizes.sum())

    @property
    def num_tensors(self) -> int:
        """The number of tensors, T."""
        return self.sizes.size

    @property
    def form(self) -> int:
        """Number of the form: 0 flat, 1 array, 2 cut, 3 list."""
        if self.ranks is not None:
            return LIST
        return CUT if self.sizes.size != 1 else FLAT if self.dimensions.size == 1 else ARRAY

    @property
    def tensor_sizes(self) -> tuple[int, ...]:
        """The sizes of the tensors as Python integers."""
        return tuple(self.sizes.tolist())

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the one array; of a list, (n,)."""
        return (self.num_coordinates,) if self.ranks is not None else tuple(self.dimensions.tolist())

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the arrays of a list; of one array, its shape alone."""
        if self.ranks is None:
            return (self.shape,)
        ends = np.cumsum(self.ranks, dtype=np.int64)
        return tuple(tuple(part.tolist()) for part in np.split(self.dimensions, ends[:-1]))

    def part(self, which: NDArray[np.bool_]) -> Structure:
        """Return the structure of some of the tensors: a list again, or one flat array cut in them."""
        sizes = self.sizes[which]
        if self.ranks is None:
            return Structure(sizes, np.array([sizes.sum()]))
        return Structure(sizes, self.dimensions[np.repeat(which, self.ranks)], self.ranks[which])

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The numbers that are written, in their order."""
        if self.form == CUT and self.dimensions.size != 1:
            return np.concatenate([self.sizes, self.dimensions])
        return {FLAT: _NONE, CUT: self.sizes}.get(self.form, self.dimensions)

    @cached_property
    def width(self) -> int:
        """Log2 of the width of the numbers in bytes."""
        return width_code(self.numbers)

    @property
    def packed_bytes(self) -> int:
        """The length of what `pack` returns."""
        return up8((0 if self.ranks is None else self.num_tensors) + (self.numbers.size << self.width))

    def pack(self) -> bytes:
        """Return the bytes of the structure, padded to a multiple of 8."""
        if self.form == FLAT:
            return b""
        packed = b"" if self.ranks is None else self.ranks.tobytes()
        packed += self.numbers.astype(_WIDTHS[self.width]).tobytes()
        return packed + bytes(-len(packed) % 8)


@lru_cache(maxsize=64)
def _checked_array(shape: tuple[int, ...], sizes: tuple[int, ...]) -> Structure:
    """Return the structure of an array, remembered: steps of a training have the same one."""
    return Structure(_numbers(sizes), _numbers(shape)).checked()


def width_code(numbers: NDArray[np.int64]) -> int:
    """Return log2 of the least width in bytes, 1 to 8, that holds all numbers."""
    largest = int(numbers.max(initial=0))
    return next(code for code in range(4) if largest < 1 << (8 << code))


def check_counts(form: int, tensors: int, dimensions: int, num_coordinates: int) -> None:
    """Check the numbers of tensors, dimensions and coordinates against the form and the limits."""
    counts = (num_coordinates, tensors, dimensions)
    for count, most, what in zip(counts, _LIMITS, ("coordinates", "tensors", "dimensions"), strict=True):
        require(count <= most, "limit", f"{count} {what}; at most {most} are possible")
    one, vector = tensors == 1, dimensions == 1
    fits = (one and vector, one and not vector, not one, dimensions == 0)[form]
    text = f"form {form} does not have {tensors} tensors and {dimensions} dimensions"
    require(fits, "structure", text)


def check_structure(structure: Structure) -> None:
    """Check sizes and shapes against each other and the limits.

    Raises
    ------
    MessageError
        If they do not agree.
    """
    sizes, dimensions, ranks = structure.sizes, structure.dimensions, structure.ranks
    for numbers in (sizes, dimensions):
        in_range = not numbers.size or (numbers.min() >= 0 and numbers.max() <= MAX_COORDINATES)
        require(in_range, "structure", f"sizes and dimensions must be from 0 to {MAX_COORDINATES}")
    text = f"a tensor has more than {MAX_TENSOR_SIZE} coordinates"
    require(sizes.max(initial=0) <= MAX_TENSOR_SIZE, "structure", text)
    most = dimensions.size if ranks is None else int(ranks.max(initial=0))
    require(most <= MAX_DIMENSIONS, "limit", f"{most} dimensions; at most {MAX_DIMENSIONS} are possible")
    n, rank = structure.num_coordinates, 0 if ranks is not None else dimensions.size
    check_counts(structure.form, sizes.size, rank, n)
    found = shape_sizes(dimensions, np.array([rank]) if ranks is None else ranks)
    good = found[0] == n if ranks is None else (found == sizes).all()
    require(good, "structure", f"the shape does not hold the {n} coordinates")


def shape_sizes(dimensions: NDArray[np.int64], ranks: NDArray[Any]) -> NDArray[np.int64]:
    """Return the products of the dimensions of each array, int64, shape (T,).

    Raises
    ------
    MessageError
        If the product of the dimensions of an array that are not 0 exceeds 2^48.
    """
    sizes, shaped = np.ones(ranks.size, np.int64), ranks > 0
    if shaped.any():
        starts = (np.cumsum(ranks, dtype=np.int64) - ranks)[shaped]
        # float64 is exact up to 2^53, and cannot wrap beyond: dimensions are at most 2^48.
        factors = np.maximum(dimensions, 1.0)
        with np.errstate(over="ignore"):
            products = np.multiply.reduceat(factors, starts)
        del factors
        text = f"the product of a shape's dimensions other than 0 exceeds {MAX_COORDINATES}"
        require(products.max() <= MAX_COORDINATES, "structure", text)
        sizes[shaped] = products * (np.minimum.reduceat(dimensions, starts) > 0)
    return sizes


def parse_structure(
    data: Bytes, form: int, code: int, tensors: int, rank: int, n: int
) -> tuple[Structure, int]:
    """Read the structure at the beginning of `data`; return it and its length in bytes.

    Parameters
    ----------
    data : uint8
        What follows the head.
    form, code, tensors, rank, n : int
        As the head claims: form, width code, T, D and number of coordinates.

    Raises
    ------
    MessageError
        If it is cut off, not canonical, or contradicts the head.
    """
    require(form <= LIST, "unknown", f"form {form} of the structure is not known")
    require(code < len(_WIDTHS), "unknown", f"width code {code} of the structure is not known")
    lead = tensors if form == LIST else 0
    require(lead <= data.size, "truncated", _CUT_OFF)
    listed = int(data[:lead].sum(dtype=np.int64)) if lead else 0
    size = lead + ((0, rank, tensors + (rank if rank != 1 else 0), listed)[form] << code)
    taken = up8(size)
    require(taken <= data.size, "truncated", _CUT_OFF)
    if taken <= _SMALL:
        return _remembered(data[:taken].tobytes(), size, form, code, tensors, rank, n), taken
    return _structure(data[:taken], size, form, code, tensors, rank, n), taken


def _structure(data: Any, size: int, form: int, code: int, tensors: int, rank: int, n: int) -> Structure:
    """Return the structure of its bytes, of which `size` mean something."""
    check_counts(form, tensors, rank, n)
    data, whole, lead = np.frombuffer(data, np.uint8), np.array([n], np.int64), tensors if form == LIST else 0
    raw = data[lead:size].view(_WIDTHS[code])
    require(int(raw.max(initial=0)) <= MAX_COORDINATES, "structure", f"a number exceeds {MAX_COORDINATES}")
    check_zeros(data[size:], "the padding after the structure")
    numbers, ranks = raw.astype(np.int64), data[:lead].copy()
    if form == LIST:
        structure = Structure(shape_sizes(numbers, ranks), numbers, ranks)
    elif form == CUT:
        structure = Structure(numbers[:tensors], whole if rank == 1 else numbers[tensors:])
    else:
        structure = Structure(whole, numbers if form == ARRAY else whole)
    require(structure.width == code, "structure", "the numbers of the structure fit a smaller width")
    check_structure(structure)
    require(structure.num_coordinates == n, "structure", f"the tensors do not sum to {n}")
    return structure


_remembered = lru_cache(maxsize=64)(_structure)  # steps of a training have the same one


def _numbers(values: Iterable[int]) -> NDArray[np.int64]:
    """Return integers as int64; a ValueError if one does not fit."""
    try:
        return np.array(tuple(values), np.int64)
    except OverflowError:
        raise ValueError(f"sizes and dimensions must be from 0 to {MAX_COORDINATES}") from None

"""The structure of a message: one array cut in tensors, or a list of arrays.

Sizes and dimensions are kept as arrays, so that a message makes a reader allocate little for each of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import index

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.errors import LimitError, MessageError
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
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Structure:
    """What the coordinates of a message are; build it with `flat`, `array` or `arrays`.

    Attributes
    ----------
    sizes : int64, shape (T,)
        Coordinates of each tensor.
    dimensions : int64
        Of the one array; of a list, those of its arrays one after another.
    ranks : uint8, shape (T,), or None
        The number of dimensions of each array of a list; None for one array.
    """

    sizes: NDArray[np.int64]
    dimensions: NDArray[np.int64]
    ranks: NDArray[np.uint8] | None = None

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
        if self.num_tensors != 1:
            return CUT
        return FLAT if self.dimensions.size == 1 else ARRAY

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
        return tuple(tuple(part.tolist()) for part in np.split(self.dimensions, self.ends[:-1]))

    @property
    def ends(self) -> NDArray[np.int64]:
        """Where the dimensions of each array of a list end in `dimensions`, shape (T,)."""
        assert self.ranks is not None
        return np.cumsum(self.ranks, dtype=np.int64)

    def part(self, which: NDArray[np.bool_]) -> Structure:
        """Return the structure of some of the tensors: a list again, or one flat array cut in them."""
        sizes = self.sizes[which]
        if self.ranks is None:
            return Structure(sizes, np.array([sizes.sum()]))
        return Structure(sizes, self.dimensions[np.repeat(which, self.ranks)], self.ranks[which])

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The numbers that are written, in their order."""
        if self.form == FLAT:
            return _NONE
        if self.form != CUT:
            return self.dimensions
        return self.sizes if self.dimensions.size == 1 else np.concatenate([self.sizes, self.dimensions])

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
    for count, most, what in (
        (num_coordinates, MAX_COORDINATES, "coordinates"),
        (tensors, MAX_TENSORS, "tensors"),
        (dimensions, MAX_DIMENSIONS, "dimensions"),
    ):
        if count > most:
            raise LimitError(f"{count} {what}; at most {most} are possible")
    fits = (
        (tensors, dimensions) == (1, 1),
        tensors == 1 and dimensions != 1,
        tensors != 1,
        dimensions == 0,
    )[form]
    if not fits:
        text = f"form {form} does not have {tensors} tensors and {dimensions} dimensions"
        raise MessageError(text, "structure")


def check_structure(structure: Structure) -> None:
    """Check sizes and shapes against each other and the limits.

    Raises
    ------
    MessageError
        If they do not agree.
    """
    sizes, ranks = structure.sizes, structure.ranks
    dimensions = structure.dimensions
    rank = 0 if ranks is not None else dimensions.size
    check_counts(structure.form, sizes.size, rank, 0)
    for numbers in (sizes, dimensions):
        in_range = not numbers.size or (numbers.min() >= 0 and numbers.max() <= MAX_COORDINATES)
        require(in_range, "structure", f"sizes and dimensions must be from 0 to {MAX_COORDINATES}")
    require(
        sizes.max(initial=0) <= MAX_TENSOR_SIZE,
        "structure",
        f"a tensor has more than {MAX_TENSOR_SIZE} coordinates",
    )
    check_counts(structure.form, sizes.size, rank, structure.num_coordinates)
    if ranks is None:
        n = structure.num_coordinates
        require(shape_size(dimensions) == n, "structure", f"the shape does not hold the {n} coordinates")
    else:
        require(
            ranks.max(initial=0) <= MAX_DIMENSIONS,
            "limit",
            f"at most {MAX_DIMENSIONS} dimensions are possible",
        )
        found = shape_sizes(dimensions, ranks, structure.ends)
        require((found == sizes).all(), "structure", "the shapes do not hold their tensors' coordinates")


def shape_size(dimensions: NDArray[np.int64]) -> int:
    """Return the product of dimensions; -1 if that of those not 0 exceeds 2^48."""
    product = 1
    for length in dimensions.tolist():
        if length and product > MAX_COORDINATES // length:
            return -1
        product *= max(length, 1)
    return product if dimensions.all() else 0


def shape_sizes(
    dimensions: NDArray[np.int64], ranks: NDArray[np.uint8], ends: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the products of the dimensions of each array of a list, int64, shape (T,).

    Raises
    ------
    MessageError
        If the product of the dimensions of an array that are not 0 exceeds 2^48.
    """
    sizes = np.ones(ranks.size, np.int64)
    shaped = ranks > 0
    if shaped.any():
        starts = (ends - ranks)[shaped]
        # float64 is exact up to 2^53, and cannot wrap beyond: dimensions are at most 2^48.
        factors = dimensions.astype(np.float64)
        np.maximum(factors, 1.0, out=factors)
        with np.errstate(over="ignore"):
            products = np.multiply.reduceat(factors, starts)
        del factors
        require(
            products.max() <= MAX_COORDINATES,
            "structure",
            f"the product of a shape's dimensions other than 0 exceeds {MAX_COORDINATES}",
        )
        sizes[shaped] = np.where(np.minimum.reduceat(dimensions, starts) > 0, products, 0.0)
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
        As the head claims: form, width code, T, D and number of coordinates; `check_counts` has been asked.

    Raises
    ------
    MessageError
        If it is cut off, not canonical, or contradicts the head.
    """
    require(form <= LIST, "unknown", f"form {form} of the structure is not known")
    require(code <= 3, "unknown", f"width code {code} of the structure is not known")
    check_counts(form, tensors, rank, n)
    if form == FLAT:
        require(code == 0, "structure", "the numbers of the structure fit a smaller width")
        require(n <= MAX_TENSOR_SIZE, "structure", f"a tensor has more than {MAX_TENSOR_SIZE} coordinates")
        whole = np.array([n], np.int64)
        return Structure(whole, whole), 0
    if form == ARRAY:
        count = rank
    elif form == CUT:
        count = tensors + (rank if rank != 1 else 0)
    else:
        require(tensors <= data.size, "truncated", "the message ends inside its structure")
        count = int(data[:tensors].sum(dtype=np.int64))
    lead = tensors if form == LIST else 0
    size = lead + (count << code)
    require(up8(size) <= data.size, "truncated", "the message ends inside its structure")
    raw = np.frombuffer(data, _WIDTHS[code], count, lead)
    require(int(raw.max(initial=0)) <= MAX_COORDINATES, "structure", f"a number exceeds {MAX_COORDINATES}")
    numbers = raw.astype(np.int64)
    require(width_code(numbers) == code, "structure", "the numbers of the structure fit a smaller width")
    check_zeros(data[size : up8(size)], "the padding after the structure")
    structure = _structure(numbers, form, tensors, rank, n, data)
    check_structure(structure)
    require(structure.num_coordinates == n, "structure", f"the tensors do not sum to {n}")
    return structure, up8(size)


def _structure(
    numbers: NDArray[np.int64], form: int, tensors: int, rank: int, n: int, data: Bytes
) -> Structure:
    whole = np.array([n], np.int64)
    if form == ARRAY:
        return Structure(whole, numbers)
    if form == CUT:
        return Structure(numbers[:tensors], whole if rank == 1 else numbers[tensors:])
    ranks = data[:tensors].copy()
    require(
        ranks.max(initial=0) <= MAX_DIMENSIONS, "limit", f"at most {MAX_DIMENSIONS} dimensions are possible"
    )
    return Structure(shape_sizes(numbers, ranks, np.cumsum(ranks, dtype=np.int64)), numbers, ranks)


def _numbers(values: Iterable[int]) -> NDArray[np.int64]:
    """Return integers as int64; a ValueError if one does not fit."""
    try:
        return np.array(tuple(values), np.int64)
    except OverflowError:
        raise ValueError(f"sizes and dimensions must be from 0 to {MAX_COORDINATES}") from None

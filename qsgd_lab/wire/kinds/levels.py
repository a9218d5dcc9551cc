"""Kind 2: the levels of a quantizer at fixed width, or ternary ones five a byte."""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.errors import MessageError
from qsgd_lab.levels import MAX_LEVELS, magnitude_bits
from qsgd_lab.partition import Partition, excerpt, partition
from qsgd_lab.quantization import QuantizedGradient, dequantize, host_arrays, level_dtype
from qsgd_lab.wire.checks import Bytes, check_dead, check_scales, require, storable_scales
from qsgd_lab.wire.key import Key, check_common_words
from qsgd_lab.wire.kind import Content, Kind, Lengths, Limits, array_of
from qsgd_lab.wire.structure import Structure

LAYOUTS = {"fixed": 0, "base3": 1}
NORMS = ("l2", "max", "shared")
MAX_BUCKET = 2**31
_LAYOUT_NAMES = {number: name for name, number in LAYOUTS.items()}
_DIGITS = 5  # ternary levels a byte
_PLACES = np.array([1, 3, 9, 27, 81], np.uint8)
_BLOCK = 1 << 15  # bytes of base 3 that are worked on at a time


@dataclass(frozen=True, eq=False)
class Levels(QuantizedGradient):
    """A quantized gradient, and the layout in which it is written.

    Attributes
    ----------
    layout : {"fixed", "base3"}
        Base 3 has five ternary levels a byte, and is possible for s = 1 only.
    """

    layout: str = "fixed"

    @classmethod
    def of(cls, quantized: QuantizedGradient, layout: str) -> Levels:
        """Return a quantized gradient to be written in a layout."""
        own = {field.name: getattr(quantized, field.name) for field in fields(QuantizedGradient)}
        return cls(**own, layout=layout)


class Buckets(Protocol):
    """Parameters that have buckets: their size, 0 for a whole unit, and their scope."""

    @property
    def bucket(self) -> int:
        """The bucket size in a message."""

    @property
    def scope(self) -> int:
        """0: a unit is a tensor; 1: all of the message."""

    @property
    def bucket_size(self) -> int | str:
        """The bucket size as a partition has it."""


class LevelOptions(NamedTuple):
    """The parameters of kind 2."""

    layout: int
    num_levels: int
    norm: int
    grid: int
    bucket: int
    scope: int

    @property
    def bucket_size(self) -> int | str:
        """The bucket size as a partition has it."""
        return self.bucket or ("model" if self.scope else "tensor")

    @property
    def width(self) -> int:
        """Bits of a level in the fixed layout."""
        return magnitude_bits(self.num_levels) + 1


class LevelsKind(Kind[QuantizedGradient]):
    """Kind 2."""

    number = 2
    name = "levels"
    payload_types = (QuantizedGradient, Levels)
    fields = struct.Struct("<B3xHBBIB3x")

    def count(self, payload: QuantizedGradient) -> int:
        """Return n."""
        return payload.partition.num_coordinates

    def structure(self, payload: QuantizedGradient) -> Structure:
        """Return the structure of the gradient's shape and tensors."""
        return Structure.array(payload.shape, payload.partition.tensor_sizes)

    def options(self, payload: QuantizedGradient) -> LevelOptions:
        """Return the parameters; a gradient without a layout gets base 3 where s = 1, which is shorter."""
        layout = getattr(payload, "layout", "base3" if payload.num_levels == 1 else "fixed")
        require(layout in LAYOUTS, "unknown", f"unknown layout {layout!r}; known: {', '.join(LAYOUTS)}")
        require(payload.norm in NORMS, "unknown", f"unknown norm {payload.norm!r}; known: {', '.join(NORMS)}")
        buckets = bucket_fields(payload.partition)
        norm = NORMS.index(payload.norm)
        return LevelOptions(LAYOUTS[layout], payload.num_levels, norm, 0, *buckets)

    def unpack_options(self, data: bytes) -> LevelOptions:
        """Return the parameters of 16 bytes."""
        return LevelOptions(*self.fields.unpack(data))

    def check(self, options: LevelOptions, structure: Structure, key: Key | None) -> None:
        """Check the parameters, and the place of a shard."""
        layout, s, norm, grid, bucket, scope = options
        require(layout in _LAYOUT_NAMES, "unknown", f"layout {layout} is not known")
        require(1 <= s <= MAX_LEVELS, "parameters", f"s is {s}; it must be from 1 to {MAX_LEVELS}")
        require(layout != LAYOUTS["base3"] or s == 1, "parameters", f"base 3 is for s = 1, not s = {s}")
        require(norm < len(NORMS), "unknown", f"norm {norm} is not known")
        require(grid == 0, "unknown", f"grid {grid} is not known")
        check_buckets(bucket, scope, structure, key)

    def lengths(self, payload: QuantizedGradient, options: LevelOptions, structure: Structure) -> Lengths:
        """Return the bytes of norms and levels."""
        check_tensors(payload.partition, structure)
        return _lengths(options, structure)

    def claimed(self, options: LevelOptions, structure: Structure, body: Bytes) -> Lengths:
        """Return the bytes of norms and levels."""
        return _lengths(options, structure)

    def write(self, payload: QuantizedGradient, options: LevelOptions, side: Bytes, room: Bytes) -> None:
        """Write norms and levels."""
        try:
            levels, norms = host_arrays(payload)
        except ValueError as error:
            raise MessageError(str(error), "parameters") from None
        norms = storable_scales(norms)
        check_dead(norms, levels, payload.partition)
        side[:] = norms.astype("<f4", copy=False).view(np.uint8)
        s = options.num_levels
        good = _write_base3(levels, room) if options.layout else _write_fixed(levels, options, room)
        require(good, "code", f"a level is outside -{s}..{s}")

    def read(
        self, options: LevelOptions, content: Content, side: Bytes, body: Bytes, limits: Limits
    ) -> Levels:
        """Return levels and norms."""
        structure = content.structure
        levels = read_levels(options, body, structure.num_coordinates, 0, structure.num_coordinates)
        parts = partition_of(options, structure)
        norms = array_of(side, np.float32, side.size // 4)
        check_dead(norms, levels, parts)
        kinds = (NORMS[options.norm], parts, structure.shape, _LAYOUT_NAMES[options.layout])
        return Levels(levels, norms, options.num_levels, *kinds)

    def read_range(self, sections: Any, limits: Limits, low: int, high: int) -> Levels:
        """Return some of the levels, flat; their buckets are the parts of the whole's in the range."""
        _, options, content, side, body, _ = sections
        norms = array_of(side, np.float32, side.size // 4)
        check_scales(norms)
        levels = read_levels(options, body, content.structure.num_coordinates, low, high)
        parts, buckets = excerpt(partition_of(options, content.structure), low, high)
        check_dead(norms[buckets], levels, parts)
        kinds = (NORMS[options.norm], parts, (high - low,), _LAYOUT_NAMES[options.layout])
        return Levels(levels, norms[buckets], options.num_levels, *kinds)

    def fill_values(self, sections: Any, limits: Limits, values: NDArray[np.float32], *, add: bool) -> None:
        """Write or add the values of fixed levels in one pass, without an array of levels."""
        _, options, content, side, body, _ = sections
        if options.layout or not values.size:
            super().fill_values(sections, limits, values, add=add)
            return
        from qsgd_lab.kernels.cpu import level_string

        s, width = options.num_levels, np.uint64(options.width)
        norms = array_of(side, np.float32, side.size // 4)
        check_scales(norms)
        outcome = level_string.level_string_to_values(
            body,
            last_piece(options.width, body, values.size),
            width,
            s,
            norms,
            partition_of(options, content.structure).bucket_offsets,
            np.empty(level_string.PIECE, level_dtype(s)),
            add,
            values,
        )
        require(outcome != level_string.OUT_OF_RANGE, "code", f"a level is outside -{s}..{s}")
        require(
            outcome == level_string.GOOD, "canonical", "a bucket of norm 0 or NaN has levels other than 0"
        )

    def values(self, payload: QuantizedGradient) -> NDArray[np.float32]:
        """Return the dequantized gradient, flat."""
        levels, norms = host_arrays(payload)
        own = (payload.num_levels, payload.norm, payload.partition, (levels.size,))
        dense: NDArray[np.float32] = dequantize(QuantizedGradient(levels, norms, *own))
        return dense


def check_buckets(bucket: int, scope: int, structure: Structure, key: Key | None) -> None:
    """Check size and scope of buckets, and the place of a shard."""
    require(bucket <= MAX_BUCKET, "parameters", f"buckets of {bucket}; 2^31 is the most")
    require(scope <= 1, "unknown", f"scope {scope} of buckets is not known")
    require(not (scope and bucket), "parameters", "one bucket in all has no size")
    if key is not None and scope:
        check_common_words(key, structure.num_coordinates)
    if key is not None and key.first:
        aligned = bucket > 0 and key.first % bucket == 0
        require(aligned, "parameters", "a shard must begin at the beginning of a bucket")


def bucket_fields(parts: Partition) -> tuple[int, int]:
    """Return (bucket size, scope) of a partition as parameters have them, checked."""
    size = parts.bucket_size
    bucket = size if isinstance(size, int) else 0
    require(
        bucket <= MAX_BUCKET,
        "parameters",
        f"buckets of {bucket}; 2^31 is the most: take 'tensor' or 'model'",
    )
    return bucket, int(size == "model")


def check_tensors(parts: Partition, structure: Structure) -> None:
    """Check that a structure has the tensors of a partition."""
    same = np.array_equal(structure.sizes, np.array(parts.tensor_sizes, np.int64))
    require(same, "structure", "the structure has other tensors than the quantized gradient")


def count_buckets(options: Buckets, sizes: NDArray[np.int64]) -> int:
    """Return the number of buckets, B, by arithmetic."""
    if options.scope:
        return int(sizes.any())
    if options.bucket == 0:
        return int(np.count_nonzero(sizes))
    return int(((sizes + (options.bucket - 1)) // options.bucket).sum())


def partition_of(options: Buckets, structure: Structure) -> Partition:
    """Return tensors and buckets; small partitions are remembered, for strangers may send large ones."""
    small = structure.num_tensors <= 1024 and count_buckets(options, structure.sizes) <= 1 << 16
    sizes, bucket_size = structure.tensor_sizes, options.bucket_size
    if small:
        return partition(structure.num_coordinates, bucket_size, sizes)
    return Partition(sizes, bucket_size)


def read_levels(options: LevelOptions, body: Bytes, count: int, start: int, stop: int) -> NDArray[Any]:
    """Return levels start..stop-1 of a string of `count` levels.

    Raises
    ------
    MessageError
        If one is outside -s..s, a byte of base 3 is above 242, or bits after the last level are not 0.
    """
    s = options.num_levels
    if count == 0:
        return np.empty(0, level_dtype(s))
    levels = (_read_base3 if options.layout else _read_fixed)(options, body, count, start, stop)
    require(levels is not None, "code", f"a level is outside -{s}..{s}")
    assert levels is not None
    return levels


def last_piece(width: int, body: Bytes, count: int) -> Bytes:
    """Return the last piece of a string of fixed fields, padded with zeros as kernels take it.

    Raises
    ------
    MessageError
        If bits after the last level are not 0.
    """
    from qsgd_lab.kernels.cpu.level_string import PIECE

    used = count * width
    require(
        not used % 8 or int(body[used // 8]) >> used % 8 == 0,
        "zeros",
        "bits after the last level are not zero",
    )
    at = (count - 1) // PIECE * (PIECE * width // 8)
    return np.concatenate([body[at:], np.zeros(16, np.uint8)])


def _lengths(options: LevelOptions, structure: Structure) -> Lengths:
    n = structure.num_coordinates
    payload = -(-n // _DIGITS) if options.layout else -(-n * options.width // 8)
    return Lengths(4 * count_buckets(options, structure.sizes), payload)


def _write_fixed(levels: NDArray[Any], options: LevelOptions, room: Bytes) -> bool:
    from qsgd_lab.kernels.cpu.level_string import write_level_string

    return bool(write_level_string(levels, options.num_levels, np.uint64(options.width), room))


def _read_fixed(options: LevelOptions, body: Bytes, count: int, start: int, stop: int) -> NDArray[Any] | None:
    from qsgd_lab.kernels.cpu.level_string import PIECE, read_level_string

    first, end = start // PIECE, min(count, -(-stop // PIECE) * PIECE)
    levels = np.empty(max(0, end - first * PIECE), level_dtype(options.num_levels))
    last, width = last_piece(options.width, body, count), np.uint64(options.width)
    good = read_level_string(body, last, width, options.num_levels, first, levels)
    return levels[start - first * PIECE : stop - first * PIECE] if good else None


def _write_base3(levels: NDArray[Any], room: Bytes) -> bool:
    """Write ternary levels; return whether all are."""
    step = _BLOCK * _DIGITS
    for start in range(0, levels.size, step):
        part = levels[start : start + step]
        if part.min() < -1 or part.max() > 1:
            return False
        digits = np.zeros(-(-part.size // _DIGITS) * _DIGITS, np.uint8)
        digits[: part.size] = part.view(np.uint8) & 3  # 0, 1, -1 become 0, 1, 3
        digits -= digits >> 1  # and then 0, 1, 2
        at = start // _DIGITS
        room[at : at + digits.size // _DIGITS] = digits.reshape(-1, _DIGITS) @ _PLACES
    return True


def _read_base3(_: LevelOptions, body: Bytes, count: int, start: int, stop: int) -> NDArray[Any] | None:
    """Return ternary levels start..stop-1; None if a byte is above 242."""
    first, end = start // _DIGITS, -(-stop // _DIGITS)
    used = body[first:end]
    if used.size and used.max() > 242:
        return None
    table = _digit_table()
    beyond = table[min(int(body[(count - 1) // _DIGITS]), 242)][(count - 1) % _DIGITS + 1 :]
    require(not beyond.any(), "zeros", "digits after the last level are not zero")
    levels = np.empty((used.size, _DIGITS), np.int8)
    for at in range(0, used.size, _BLOCK):  # by blocks: the look-up makes eight bytes of each index
        levels[at : at + _BLOCK] = table[used[at : at + _BLOCK]]
    return levels.reshape(-1)[start - first * _DIGITS : stop - first * _DIGITS]


@lru_cache(maxsize=1)
def _digit_table() -> NDArray[np.int8]:
    """Return the five levels of each byte, int8[243, 5]."""
    digits = np.arange(243)[:, None] // _PLACES % 3
    table: NDArray[np.int8] = np.array([0, 1, -1], np.int8)[digits]
    return table


KIND = LevelsKind()

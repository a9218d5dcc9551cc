"""Kind 2: the levels of a quantizer at fixed width, ternary ones five a byte, or near their entropy."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.errors import MessageError
from qsgd_lab.levels import MAX_LEVELS, magnitude_bits
from qsgd_lab.levels import NORMS as BUCKET_NORMS
from qsgd_lab.partition import Partition, excerpt, partition
from qsgd_lab.quantization import QuantizedGradient, dequantize, host_arrays, level_dtype
from qsgd_lab.wire import base3, fixed_fields, ranged, ranged_choice, ranged_chunks
from qsgd_lab.wire.checks import (
    Bytes,
    Limits,
    check_dead,
    check_levels_of_dead,
    check_scales,
    require,
    writable_scales,
)
from qsgd_lab.wire.key import Key, check_common_words
from qsgd_lab.wire.kind import Content, Kind, Lengths, array_of
from qsgd_lab.wire.structure import Structure

LAYOUTS = {"fixed": 0, "base3": 1, "ranged": 4}
NORMS = (*BUCKET_NORMS, "shared")
MAX_BUCKET = 2**31
_LAYOUT_NAMES = {number: name for name, number in LAYOUTS.items()}
_RANGED = LAYOUTS["ranged"]
_CODERS: dict[int, Any] = {0: fixed_fields, 1: base3, _RANGED: ranged_chunks}  # the module of a layout


@dataclass(frozen=True, eq=False)
class Levels(QuantizedGradient):
    """A quantized gradient, and the layout in which it is written.

    Attributes
    ----------
    layout : {"fixed", "base3", "ranged"}
        Base 3 has five ternary levels a byte, and is possible for s = 1 only. Ranged takes about the entropy.
    code : RangedCode or None
        Of the layout ranged: tables and classes, chosen when the levels are written unless they are given.
    """

    layout: str = "fixed"
    code: ranged.RangedCode | None = None

    @classmethod
    def of(cls, quantized: QuantizedGradient, layout: str, effort: int = 1) -> Levels:
        """Return a quantized gradient to be written in a layout; effort 0, 1 or 2 is how ranged chooses."""
        q, code = quantized, choose_code(quantized, effort) if layout == "ranged" else None
        return cls(q.levels, q.norms, q.num_levels, q.norm, q.partition, q.shape, layout, code)

    @cached_property
    def coded(self) -> tuple[ranged.RangedCode, NDArray[np.uint16], list[Bytes]]:
        """The code, the lengths of its chunks, and their bytes in parts: coded once for size and message.

        Raises
        ------
        MessageError
            If a level is outside -s..s, or the code does not fit the levels.
        """
        levels, s = checked_levels(self)[0], self.num_levels
        require(ranged_chunks.are_inside(levels, s), "code", f"a level is outside -{s}..{s}")
        code = self.code or ranged_choice.choose(levels, s, 1)
        sizes = ranged.sizes_of(levels.size, s, code.chunk_bits, code.num_states)
        ranged.check_code(code, sizes)
        return code, *ranged_chunks.write_levels(levels, code, sizes)


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
    state_bits: int
    num_levels: int
    norm: int
    bucket: int
    scope: int
    chunk_bits: int
    num_tables: int

    def sizes(self, count: int) -> ranged.Sizes:
        """Return the chunks and blocks of n coordinates in the layout ranged."""
        return ranged.sizes_of(count, self.num_levels, self.chunk_bits, 1 << self.state_bits)

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
    fields = struct.Struct("<B2xBHBxIBBBx")
    make_options = LevelOptions._make

    def count(self, payload: QuantizedGradient) -> int:
        """Return n."""
        return payload.partition.num_coordinates

    def structure(self, payload: QuantizedGradient) -> Structure:
        """Return the structure of the gradient's shape and tensors."""
        return Structure.array(payload.shape, payload.partition.tensor_sizes)

    def options(self, payload: QuantizedGradient) -> LevelOptions:
        """Return the parameters; a gradient without a layout gets base 3 where s = 1, which is shorter."""
        layout = default_layout(payload)
        require(layout in LAYOUTS, "unknown", f"unknown layout {layout!r}; known: {', '.join(LAYOUTS)}")
        require(payload.norm in NORMS, "unknown", f"unknown norm {payload.norm!r}; known: {', '.join(NORMS)}")
        buckets = bucket_fields(payload.partition)
        norm = NORMS.index(payload.norm)
        state_bits, own = 0, (0, 0)
        if layout == "ranged":
            assert isinstance(payload, Levels)
            code = payload.coded[0]
            state_bits, own = code.num_states.bit_length() - 1, (code.chunk_bits, len(code.shifts))
        return LevelOptions(LAYOUTS[layout], state_bits, payload.num_levels, norm, *buckets, *own)

    def check(self, options: LevelOptions, structure: Structure, key: Key | None) -> None:
        """Check the parameters, and the place of a shard."""
        layout, state_bits, s, norm, bucket, scope, *coding = options
        require(layout in _CODERS, "unknown", f"layout {layout} is not known")
        require(1 <= s <= MAX_LEVELS, "parameters", f"s is {s}; it must be from 1 to {MAX_LEVELS}")
        require(layout != LAYOUTS["base3"] or s == 1, "parameters", f"base 3 is for s = 1, not s = {s}")
        require(norm < len(NORMS), "unknown", f"norm {norm} is not known")
        if layout == _RANGED:
            ranged.check_parameters(s, state_bits, *coding)
        else:
            require(not (state_bits or any(coding)), "zeros", "parameters of the layout ranged are not zero")
        check_buckets(bucket, scope, structure, key)

    def fixed(self, options: LevelOptions, structure: Structure) -> Lengths:
        """Return the bytes of norms and levels of the layouts fixed and base 3."""
        levels = _CODERS[options.layout].size(options, structure.num_coordinates)
        return Lengths(4 * count_buckets(options, structure.sizes), levels)

    def lengths(self, payload: QuantizedGradient, options: LevelOptions, structure: Structure) -> Lengths:
        """Return the bytes of norms and levels."""
        check_tensors(payload.partition, structure)
        if isinstance(payload, Levels) and payload.layout == "ranged":
            code, chunks, parts = payload.coded
            norms = 4 * count_buckets(options, structure.sizes)
            coded = sum(part.size for part in parts)
            return Lengths(norms + 2 * len(chunks) + code.side_bytes, coded, ranged.TAIL_BYTES)
        return self.fixed(options, structure)

    def claimed(self, options: LevelOptions, structure: Structure, body: Bytes) -> Lengths:
        """Return the bytes of norms and levels; of ranged also those of lengths, tables and classes."""
        if options.layout != _RANGED:
            return self.fixed(options, structure)
        norms, sizes = 4 * count_buckets(options, structure.sizes), options.sizes(structure.num_coordinates)
        return Lengths(*ranged.claimed(body, norms, options.num_tables, sizes), ranged.TAIL_BYTES)

    def write(self, payload: QuantizedGradient, options: LevelOptions, side: Bytes, buffer: Bytes) -> None:
        """Write norms and levels."""
        levels, norms = checked_levels(payload)
        norms, has_dead = writable_scales(norms)
        if has_dead:
            check_levels_of_dead(norms, levels, payload.partition)
        packed = norms.astype("<f4", copy=False).view(np.uint8)
        if isinstance(payload, Levels) and payload.layout == "ranged":
            code, chunks, parts = payload.coded
            side[:] = np.frombuffer(
                packed.tobytes() + chunks.astype("<u2").tobytes() + code.pack_tables(), np.uint8
            )
            np.concatenate(parts, out=buffer[: sum(part.size for part in parts)])
            return
        side[:] = packed
        s = options.num_levels
        require(_CODERS[options.layout].write(levels, s, buffer), "code", f"a level is outside -{s}..{s}")

    def read(
        self, options: Any, content: Content, side: Bytes, body: Bytes, limits: Limits, out: Any = None
    ) -> Levels:
        """Return levels, in the memory of `out` if it is given, and norms."""
        structure = content.structure
        norms, levels, code = _read(options, structure, side, body, 0, structure.num_coordinates, out)
        if out is not None and levels is not out:
            out[:], levels = levels, out
        parts = partition_of(options, structure)
        check_dead(norms, levels, parts)
        kinds = (NORMS[options.norm], parts, structure.shape, _LAYOUT_NAMES[options.layout], code)
        return Levels(levels, norms, options.num_levels, *kinds)

    def read_range(self, sections: Any, limits: Limits, low: int, high: int) -> Levels:
        """Return some of the levels, flat; their buckets are the parts of the whole's in the range."""
        _, options, content, side, body, _ = sections
        norms, levels, _ = _read(options, content.structure, side, body, low, high)
        check_scales(norms)
        parts, buckets = excerpt(partition_of(options, content.structure), low, high)
        check_dead(norms[buckets], levels, parts)
        layout = _LAYOUT_NAMES[options.layout]
        # A part has other chunks and classes than the whole: written again, its code is chosen again.
        kinds = (NORMS[options.norm], parts, (high - low,), layout)
        return Levels(levels, norms[buckets], options.num_levels, *kinds)

    def fill_values(self, sections: Any, limits: Limits, values: NDArray[np.float32], *, add: bool) -> None:
        """Write or add the values of fixed levels in one pass, without an array of levels."""
        _, options, content, side, body, _ = sections
        if options.layout or not values.size:
            super().fill_values(sections, limits, values, add=add)
            return
        from qsgd_lab.kernels.cpu.messages import level_string

        s, width = options.num_levels, np.uint64(options.width)
        norms = array_of(side, np.float32, side.size // 4)
        check_scales(norms)
        outcome = level_string.level_string_to_values(
            body,
            fixed_fields.last_piece(options.width, body, values.size),
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

    def put_values(self, payload: QuantizedGradient, values: NDArray[np.float32]) -> None:
        """Write the dequantized gradient, flat."""
        levels, norms = host_arrays(payload)
        own = (payload.num_levels, payload.norm, payload.partition, (levels.size,))
        dequantize(QuantizedGradient(levels, norms, *own), out=values)


def default_layout(quantized: QuantizedGradient) -> str:
    """Return the layout in which levels are written unless another is asked for."""
    own: str = getattr(quantized, "layout", "base3" if quantized.num_levels == 1 else "fixed")
    return own


def check_buckets(bucket: int, scope: int, structure: Structure, key: Key | None) -> None:
    """Check size and scope of buckets, and the place of a shard."""
    require(bucket <= MAX_BUCKET, "parameters", f"buckets of {bucket}; 2^31 is the most")
    require(scope <= 1, "unknown", f"scope {scope} of buckets is not known")
    require(not (scope and bucket), "parameters", "one bucket in all has no size")
    if key is not None and scope:
        check_common_words(key, structure.num_coordinates)
    aligned = key is None or not key.first or (bucket > 0 and key.first % bucket == 0)
    require(aligned, "parameters", "a shard must begin at the beginning of a bucket")


def bucket_fields(parts: Partition) -> tuple[int, int]:
    """Return (bucket size, scope) of a partition as parameters have them, checked."""
    size = parts.bucket_size
    number = isinstance(size, int) and not isinstance(size, bool) and size > 0
    text = f"the bucket size is {size!r}; it must be a positive int, 'tensor' or 'model'"
    require(number or size in ("tensor", "model"), "parameters", text)
    bucket = size if isinstance(size, int) else 0
    require(
        bucket <= MAX_BUCKET,
        "parameters",
        f"buckets of {bucket}; 2^31 is the most: take 'tensor' or 'model'",
    )
    return bucket, int(size == "model")


def check_tensors(parts: Partition, structure: Structure) -> None:
    """Check that a structure has the tensors of a partition."""
    same = structure.tensor_sizes == parts.tensor_sizes
    require(same, "structure", "the structure has other tensors than the quantized gradient")


def count_buckets(options: Buckets, sizes: NDArray[np.int64]) -> int:
    """Return the number of buckets, B, by arithmetic."""
    if sizes.size == 1:  # without NumPy, which takes longer than the rest
        n = int(sizes[0])
        return -(-n // options.bucket) if options.bucket else int(n > 0)
    if options.bucket:
        return int(((sizes + (options.bucket - 1)) // options.bucket).sum())
    return int(sizes.any()) if options.scope else int(np.count_nonzero(sizes))


def partition_of(options: Buckets, structure: Structure) -> Partition:
    """Return tensors and buckets; small partitions are cached, as untrusted messages may have large ones."""
    small = structure.num_tensors <= 1024 and count_buckets(options, structure.sizes) <= 1 << 16
    sizes, bucket_size = structure.tensor_sizes, options.bucket_size
    if small:
        return partition(structure.num_coordinates, bucket_size, sizes)
    return Partition(sizes, bucket_size)


def _read(
    options: LevelOptions,
    structure: Structure,
    side: Bytes,
    body: Bytes,
    low: int,
    high: int,
    out: Any = None,
) -> tuple[NDArray[np.float32], NDArray[Any], ranged.RangedCode | None]:
    """Return norms, levels low..high-1 and, of the layout ranged, the code; raises as the layout does."""
    norms = array_of(side, np.float32, count_buckets(options, structure.sizes))
    own, n = side[4 * norms.size :], structure.num_coordinates
    return norms, *_CODERS[options.layout].read(options, own, body, n, low, high, out)


def checked_levels(payload: QuantizedGradient) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Return levels and norms in host memory; raises a `MessageError` if they do not fit the partition."""
    try:
        return host_arrays(payload)
    except ValueError as error:
        raise MessageError(str(error), "parameters") from None


def choose_code(quantized: QuantizedGradient, effort: int) -> ranged.RangedCode:
    """Return how levels are written in the layout ranged, by effort 0, 1 or 2."""
    return ranged_choice.choose(host_arrays(quantized)[0], quantized.num_levels, effort)


KIND = LevelsKind()

"""Layout `ranged` of levels: its sizes, and tables and classes in a message.

How a writer chooses tables is `qsgd_lab.wire.ranged_choice`; chunks are read and written by `ranged_chunks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.kernels.arguments import RangedFormat, RangedTables
from qsgd_lab.wire.checks import Bytes, require

CLASSES = {1: 0, 4: 2, 8: 3}  #: Numbers of tables, and the bits of a block's class.
TAIL_BYTES = 32  # zeros after the chunks, so that a reader may load sixteen words at any of theirs
MAX_SHIFT = 8
TOTAL = 4096  # of the frequencies of a table
BLOCK = 512  # symbols that share a class
_LEAST_TABLE = 1 + 32 + 3  # shift, bitmap, and two frequencies of 12 bits


def field_bits(num_levels: int) -> int:
    """Return the bits of a level in a symbol."""
    return 2 if num_levels == 1 else 4 if num_levels <= 7 else 8


def chunk_range(num_levels: int, num_states: int) -> tuple[int, int]:
    """Return the least and the largest log2 of the coordinates of a chunk: at most 2^15 or 2^12 symbols."""
    symbols = 15 if num_states == 16 else 12
    return 12, symbols + (8 // field_bits(num_levels)).bit_length() - 1


class Sizes(NamedTuple):
    """What follows from n, s and the parameters.

    Attributes
    ----------
    form : RangedFormat
    num_coordinates : int
    num_chunks, num_blocks : int
    """

    form: RangedFormat
    num_coordinates: int
    num_chunks: int
    num_blocks: int

    def blocks_of(self, chunk: int) -> int:
        """Return the blocks of a chunk."""
        form = self.form
        count = min(1 << form.chunk_bits, self.num_coordinates - (chunk << form.chunk_bits))
        return -(-symbols_of(count, form) // BLOCK)

    def first_block(self, chunk: int) -> int:
        """Return the number of blocks of all chunks before one."""
        return chunk * self.blocks_of(0) if chunk else 0


def symbols_of(count: int, form: RangedFormat) -> int:
    """Return the symbols of a chunk of `count` coordinates, padding included."""
    used = -(-count * form.field_bits // 8)
    return -(-used // form.num_states) * form.num_states


def sizes_of(count: int, num_levels: int, chunk_bits: int, num_states: int) -> Sizes:
    """Return the numbers of chunks and blocks of n coordinates, by arithmetic."""
    form = RangedFormat(num_levels, field_bits(num_levels), chunk_bits, num_states)
    whole, rest = count >> chunk_bits, count & ((1 << chunk_bits) - 1)
    blocks = whole * -(-symbols_of(1 << chunk_bits, form) // BLOCK) + -(-symbols_of(rest, form) // BLOCK)
    return Sizes(form, count, whole + bool(rest), blocks)


@dataclass(frozen=True, eq=False)
class RangedCode:
    """How levels are written: what a reader finds in a message, so that it can be written again.

    Attributes
    ----------
    chunk_bits : int
        log2 of the coordinates of a chunk.
    num_states : {1, 16}
    shifts : uint8, shape (K,)
        Low bits that are not coded, by class; 0 where s <= 127. K is 1, 4 or 8.
    frequencies : uint16, shape (K, 256)
        They sum to 4096; a byte of frequency 0 is an exception.
    classes : uint8
        Of each block of 512 symbols of each chunk.
    """

    chunk_bits: int
    num_states: int
    shifts: NDArray[np.uint8]
    frequencies: NDArray[np.uint16]
    classes: NDArray[np.uint8]

    def pack_tables(self) -> bytes:
        """Return the bytes of tables and classes."""
        parts = []
        for shift, row in zip(self.shifts, self.frequencies, strict=True):
            known = row > 0
            bitmap = np.packbits(known, bitorder="little").tobytes()
            parts += [bytes([int(shift)]), bitmap, pack_fields(row[known], 12)]
        bits = CLASSES[len(self.shifts)]
        return b"".join([*parts, pack_fields(self.classes, bits) if bits else b""])

    @property
    def side_bytes(self) -> int:
        """The bytes of tables and classes."""
        values = np.count_nonzero(self.frequencies, axis=1)
        tables = sum(33 + -(-12 * int(count) // 8) for count in values)
        return tables + -(-len(self.classes) * CLASSES[len(self.shifts)] // 8)


def pack_fields(values: NDArray[Any], bits: int) -> bytes:
    """Return numbers as fields of as many bits, lowest first, zeros up to a byte."""
    spread = (values.astype(np.uint16)[:, None] >> np.arange(bits, dtype=np.uint16)) & 1
    return np.packbits(spread.astype(np.uint8).reshape(-1), bitorder="little").tobytes()


def unpack_fields(data: Bytes, count: int, bits: int) -> NDArray[np.uint16]:
    """Return numbers of as many bits; raises a `MessageError` if bits after them are not 0."""
    spread = np.unpackbits(data, bitorder="little")
    require(not spread[count * bits :].any(), "zeros", "bits after a table or the classes are not zero")
    weights = np.uint16(1) << np.arange(bits, dtype=np.uint16)
    fields: NDArray[np.uint16] = spread[: count * bits].reshape(count, bits) @ weights
    return fields


def parse_code(
    data: Bytes, num_tables: int, sizes: Sizes
) -> tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.uint8], int]:
    """Return (shifts, frequencies, classes) from the beginning of `data`, and the bytes that they take.

    Raises
    ------
    MessageError
        If the data ends before, or a table or class is not allowed.
    """
    shifts = np.zeros(num_tables, np.uint8)
    frequencies = np.zeros((num_tables, 256), np.uint16)
    at = 0
    for kind in range(num_tables):
        require(data.size - at >= _LEAST_TABLE, "truncated", "the message ends inside its tables")
        shifts[kind] = data[at]
        limit = MAX_SHIFT if sizes.form.num_levels > 127 else 0
        require(shifts[kind] <= limit, "parameters", f"shift {shifts[kind]}; {limit} is the most")
        known = np.unpackbits(data[at + 1 : at + 33], bitorder="little").view(bool)
        count = int(np.count_nonzero(known))
        end = at + 33 + -(-12 * count // 8)
        require(data.size >= end, "truncated", "the message ends inside its tables")
        fields = unpack_fields(data[at + 33 : end], count, 12)
        require(fields.all(), "parameters", "a table names a byte whose frequency is 0")
        frequencies[kind, known] = fields
        at = end
    check_frequencies(frequencies)
    bits = CLASSES[num_tables]
    end = at + -(-sizes.num_blocks * bits // 8)
    require(data.size >= end, "truncated", "the message ends inside its classes")
    if bits:
        classes = unpack_fields(data[at:end], sizes.num_blocks, bits).astype(np.uint8)
        require(not classes.size or classes.max() < num_tables, "parameters", "a class has no table")
    else:
        classes = np.zeros(sizes.num_blocks, np.uint8)
    return shifts, frequencies, classes, end


def check_parameters(num_levels: int, state_bits: int, chunk_bits: int, num_tables: int) -> None:
    """Check the parameters of the layout; both sides call it."""
    require(state_bits in (0, 4), "parameters", f"2^{state_bits} states; 1 or 16 are possible")
    require(num_tables in CLASSES, "parameters", f"{num_tables} tables; 1, 4 or 8 are possible")
    low, high = chunk_range(num_levels, 1 << state_bits)
    require(
        low <= chunk_bits <= high, "parameters", f"chunks of 2^{chunk_bits}; 2^{low} to 2^{high} are possible"
    )


def check_code(code: RangedCode, sizes: Sizes) -> None:
    """Check a code that a caller gives against the levels it is for; raises a `MessageError`."""
    tables = len(code.shifts)
    check_parameters(sizes.form.num_levels, code.num_states.bit_length() - 1, code.chunk_bits, tables)
    shapes = code.frequencies.shape == (tables, 256) and code.classes.shape == (sizes.num_blocks,)
    require(shapes, "parameters", f"a code has 256 frequencies a table, and {sizes.num_blocks} classes")
    limit = MAX_SHIFT if sizes.form.num_levels > 127 else 0
    require(code.shifts.max(initial=0) <= limit, "parameters", f"a shift is at most {limit}")
    require(code.classes.max(initial=0) < tables, "parameters", "a class has no table")
    check_frequencies(code.frequencies)


def claimed(body: Bytes, norms: int, num_tables: int, sizes: Sizes) -> tuple[int, int]:
    """Return the bytes of side data and chunks that a message claims, of which `body` is the rest.

    Raises
    ------
    MessageError
        If it ends before. Nothing larger than the message is allocated.
    """
    front = norms + 2 * sizes.num_chunks
    least = 4 * sizes.form.num_states
    enough = front + least * sizes.num_chunks <= body.size
    require(enough, "length", "the message is too short for its coordinates")
    lengths = np.frombuffer(body, "<u2", sizes.num_chunks, norms)
    short = np.flatnonzero(4 * lengths.astype(np.int64) < least)
    require(not short.size, "length", f"chunk {short[:1].sum()} is too short for its coordinates")
    *_, size = parse_code(body[front:], num_tables, sizes)
    return front + size, 4 * int(lengths.sum(dtype=np.int64))


def parse_side(side: Bytes, num_tables: int, sizes: Sizes) -> tuple[RangedCode, NDArray[np.int64]]:
    """Return the code, and where chunks begin, of side data from the lengths on, which `claimed` checked."""
    front = 2 * sizes.num_chunks
    starts = np.zeros(sizes.num_chunks + 1, np.int64)
    np.cumsum(4 * np.frombuffer(side, "<u2", sizes.num_chunks).astype(np.int64), out=starts[1:])
    shifts, frequencies, classes, _ = parse_code(side[front:], num_tables, sizes)
    form = sizes.form
    return RangedCode(form.chunk_bits, form.num_states, shifts, frequencies, classes), starts


def check_frequencies(frequencies: NDArray[np.uint16]) -> None:
    """Check that each table sums to 4096, of at least two bytes; both sides call it."""
    sums = frequencies.sum(axis=1, dtype=np.int64)
    good = (sums == TOTAL).all() and frequencies.max(initial=0) < TOTAL
    require(good, "parameters", f"the frequencies of a table must be at most 4095 and sum to {TOTAL}")


def kernel_tables(
    shifts: NDArray[np.uint8], frequencies: NDArray[np.uint16], form: RangedFormat
) -> RangedTables:
    """Return tables as kernels look them up; `frequencies` were checked."""
    from qsgd_lab.kernels.cpu.messages.ranged_tables import fill_slots

    frequencies = np.ascontiguousarray(frequencies, np.uint16)
    slots = np.empty(len(frequencies) * TOTAL, np.uint32)
    fill_slots(frequencies, slots)
    entries, reciprocals = encode_tables(frequencies, form)
    allowed = allowed_bytes(form.num_levels, form.field_bits)
    known = np.asarray((frequencies > 0).any(axis=0))
    known[escape_byte(form.field_bits)] = False
    doubtful = bool((known & ~allowed).any())
    return RangedTables(shifts.astype(np.uint8), frequencies, entries, reciprocals, slots, allowed, doubtful)


def encode_tables(
    frequencies: NDArray[np.uint16], form: RangedFormat
) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    """Return the entries and reciprocals of `RangedTables`."""
    from qsgd_lab.kernels.cpu.messages.ranged import EXCEPTION

    escape = escape_byte(form.field_bits)
    starts = np.cumsum(frequencies, axis=1, dtype=np.uint32) - frequencies
    entries = frequencies.astype(np.uint32) | starts << np.uint32(20)
    # An exception is coded as the escape: the same stream as if the symbols had been rewritten.
    marked = entries[:, escape : escape + 1] | np.uint32(EXCEPTION)
    coded = np.where(frequencies > 0, entries, marked)
    coded[:, escape] = marked[:, 0]
    divisors = np.maximum(coded & np.uint32(TOTAL - 1), 1)
    pairs = np.stack([coded, float_reciprocals(divisors).view(np.uint32)], axis=2)
    return pairs.view(np.uint64).reshape(-1), ((1 + 2.0**-50) / divisors.astype(np.float64)).reshape(-1)


def float_reciprocals(divisors: NDArray[Any]) -> NDArray[np.float32]:
    """Return 1 / divisor in float32, too small by about 2^-22.

    A quotient below 2^20 is then the product's integer part or one more, whatever rounds on the way.
    """
    return ((1 - 2.0**-22) / divisors).astype(np.float32)


@lru_cache(256)
def allowed_bytes(num_levels: int, width: int) -> NDArray[np.bool_]:
    """Return for each byte whether its fields of `width` bits are all in -s..s, where s <= 127."""
    fields = (np.arange(256)[:, None] >> np.arange(0, 8, width)) & ((1 << width) - 1)
    levels = fields - (fields >> (width - 1) << width)
    return np.asarray((np.abs(levels) <= num_levels).all(axis=1))


def escape_byte(bits: int) -> int:
    """Return the byte whose fields of as many bits are all the most negative number, which no level takes."""
    return {2: 0xAA, 4: 0x88, 8: 0x80}[bits]

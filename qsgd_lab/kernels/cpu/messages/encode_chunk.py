"""Dense chunks: a codeword for every level.

Levels of up to 2, 4 or 8 bits are looked up 8, 4 or 2 at a time: eight bytes of levels are folded into fields
of that width, and 16 bits of fields are the index of a table whose entry is the codewords of all of them,
joined.

Sparse chunks: distance, sign and magnitude of every level that is not 0.

The state of a stream is (byte, filled, pending): `pending` (uint64) holds the `filled` (uint64, 0 to 7) bits
that byte `byte` begins with. Every append stores eight bytes at `byte`, so that no branch asks whether a word
is full; the stream needs eight bytes to spare.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.bits import load64, nonzero64, store64, trailing_zeros
from qsgd_lab.kernels.constants import CODE_MASK, LENGTH_SHIFT
from qsgd_lab.kernels.jit import njit

MAX_APPEND = np.uint64(56)  # bits that one append takes: seven may be pending, and 64 fit a word

_SEVEN = np.uint64(7)
_WHOLE_BYTES = np.uint64(56)
_THREE = np.uint64(3)


@njit(cache=True, fastmath=False, forceinline=True)
def append(stream, byte, filled, pending, code, size):
    """Append the lowest `size` (at most 56) bits of `code`, which has no others; return the new state."""
    pending |= code << filled
    store64(stream, byte, pending)  # always eight bytes: the next append overwrites those not yet filled
    filled += size
    byte += np.int64(filled >> _THREE)
    pending >>= filled & _WHOLE_BYTES  # whole bytes are in the stream; up to seven bits stay
    return byte, filled & _SEVEN, pending


@njit(cache=True, fastmath=False, forceinline=True)
def append_two(stream, byte, filled, pending, first, second):
    """Append two table entries, in one go where they fit."""
    size_1, size_2 = first >> LENGTH_SHIFT, second >> LENGTH_SHIFT
    code_1, code_2 = first & CODE_MASK, second & CODE_MASK
    if size_1 + size_2 <= MAX_APPEND:  # nearly always, so that the branch is predicted
        return append(stream, byte, filled, pending, code_1 | (code_2 << size_1), size_1 + size_2)
    byte, filled, pending = append(stream, byte, filled, pending, code_1, size_1)
    return append(stream, byte, filled, pending, code_2, size_2)


@njit(cache=True, fastmath=False, forceinline=True)
def finish(stream, start, byte, filled, pending):
    """Pad with zeros to a whole number of 32-bit words from byte `start`; return where they end."""
    store64(stream, byte, pending)  # its upper bits are 0, and so are the bytes of the padding
    used = byte - start + np.int64(filled > np.uint64(0))
    return start + ((used + 3) & ~3)


_INDEX = np.uint64(0xFFFF)


@njit(cache=True, fastmath=False, forceinline=True)
def fold_to_2(word):
    """Return the lowest two bits of eight bytes in 16 bits."""
    word &= np.uint64(0x0303030303030303)  # two's complement: the low bits of a small level say all
    word = (word | (word >> np.uint64(6))) & np.uint64(0x000F000F000F000F)
    word = (word | (word >> np.uint64(12))) & np.uint64(0x000000FF000000FF)
    return (word | (word >> np.uint64(24))) & _INDEX


@njit(cache=True, fastmath=False, forceinline=True)
def fold_to_4(word):
    """Return the lowest four bits of eight bytes in two times 16 bits, at bits 0 and 32."""
    word &= np.uint64(0x0F0F0F0F0F0F0F0F)
    word = (word | (word >> np.uint64(4))) & np.uint64(0x00FF00FF00FF00FF)
    return (word | (word >> np.uint64(8))) & np.uint64(0x0000FFFF0000FFFF)


@njit(cache=True, fastmath=False)
def append_2_bit_levels(levels, table, stream, byte, filled, pending):
    """Append levels by eights, two of them at a time; return the state and how many were appended."""
    count = levels.size & ~15  # what is left goes level by level
    for i in range(0, count, 16):
        first = table[fold_to_2(load64(levels, i))]
        second = table[fold_to_2(load64(levels, i + 8))]
        byte, filled, pending = append_two(stream, byte, filled, pending, first, second)
    return byte, filled, pending, count


@njit(cache=True, fastmath=False)
def append_4_bit_levels(levels, table, stream, byte, filled, pending):
    """Append levels by fours, two of them at a time; return the state and how many were appended."""
    count = levels.size & ~7
    for i in range(0, count, 8):
        fields = fold_to_4(load64(levels, i))
        first = table[fields & _INDEX]
        second = table[fields >> np.uint64(32)]
        byte, filled, pending = append_two(stream, byte, filled, pending, first, second)
    return byte, filled, pending, count


@njit(cache=True, fastmath=False)
def append_8_bit_levels(levels, table, stream, byte, filled, pending):
    """Append levels by pairs, two of them at a time; return the state and how many were appended."""
    count = levels.size & ~7
    for i in range(0, count, 8):
        word = load64(levels, i)
        first = table[word & _INDEX]
        second = table[(word >> np.uint64(16)) & _INDEX]
        third = table[(word >> np.uint64(32)) & _INDEX]
        fourth = table[word >> np.uint64(48)]
        byte, filled, pending = append_two(stream, byte, filled, pending, first, second)
        byte, filled, pending = append_two(stream, byte, filled, pending, third, fourth)
    return byte, filled, pending, count


@njit(cache=True, fastmath=False)
def encode_dense_chunk(levels, num_levels, tables, stream, start):
    """Write a chunk's levels from byte `start` on; return where its last word ends.

    Parameters
    ----------
    levels : int8 or int16, each within -s..s
    num_levels : int
        s.
    tables : EncodeTables
        ``field_bits`` is 0 for int16 levels.
    stream : uint8
        With eight bytes to spare.
    start : int
    """
    joined, single = tables.joined, tables.single
    byte, filled, pending, done = start, np.uint64(0), np.uint64(0), 0
    if tables.field_bits == 2:
        byte, filled, pending, done = append_2_bit_levels(levels, joined, stream, byte, filled, pending)
    elif tables.field_bits == 4:
        byte, filled, pending, done = append_4_bit_levels(levels, joined, stream, byte, filled, pending)
    elif tables.field_bits == 8:
        byte, filled, pending, done = append_8_bit_levels(levels, joined, stream, byte, filled, pending)
    for i in range(done, levels.size):
        entry = single[np.int64(levels[i]) + num_levels]
        byte, filled, pending = append(
            stream, byte, filled, pending, entry & CODE_MASK, entry >> LENGTH_SHIFT
        )
    return finish(stream, start, byte, filled, pending)


_ONE = np.uint64(1)


@njit(cache=True, fastmath=False)
def nonzero_positions(levels, positions):
    """Write the positions of non-zero levels into int32 `positions`; return how many there are."""
    count = 0
    start = 0
    if levels.itemsize == 1:
        while start + 64 <= levels.size:
            mask = nonzero64(levels, start)  # one bit a level: most words of a sparse gradient are 0
            while mask != np.uint64(0):
                positions[count] = np.int32(start + np.int64(trailing_zeros(mask)))
                count += 1
                mask &= mask - _ONE  # clears the lowest one
            start += 64
    for i in range(start, levels.size):
        positions[count] = np.int32(i)  # written in any case, and kept if the level counts: no branch
        count += np.int64(levels[i] != 0)
    return count


@njit(cache=True, fastmath=False)
def encode_sparse_chunk(levels, num_levels, tables, positions, stream, start):
    """Write a chunk's levels; return where its last word ends, and the number of non-zeros.

    Parameters
    ----------
    levels : int8 or int16, each within -s..s
    num_levels : int
        s.
    tables : EncodeTables
        ``single`` has sign and magnitude of a level.
    positions : int32
        Scratch, as long as a chunk.
    stream : uint8
        With eight bytes to spare.
    start : int
    """
    gaps, single = tables.gaps, tables.single
    # Positions first, in a loop of their own: codewords of unequal lengths would stall the search for them.
    count = nonzero_positions(levels, positions)
    byte, filled, pending = start, np.uint64(0), np.uint64(0)
    previous = np.int64(-1)  # so that the first distance is at least 1, where the codes begin
    for i in range(count):
        position = np.int64(positions[i])
        gap = gaps[position - previous]
        level = single[np.int64(levels[position]) + num_levels]
        previous = position
        size = gap >> LENGTH_SHIFT
        code = (gap & CODE_MASK) | ((level & CODE_MASK) << size)  # both in one append: at most 25 + 30 bits
        byte, filled, pending = append(stream, byte, filled, pending, code, size + (level >> LENGTH_SHIFT))
    return finish(stream, start, byte, filled, pending), count

"""Dense chunks: a codeword for every level.

Levels of up to 2, 4 or 8 bits are looked up 8, 4 or 2 at a time: eight bytes of levels are folded into fields
of that width, and 16 bits of fields are the index of a table whose entry is the codewords of all of them,
joined.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from qsgd_lab.kernels.append_cpu import CODE_MASK, LENGTH_SHIFT, append, append_two, finish
from qsgd_lab.kernels.bits import load64

_INDEX = np.uint64(0xFFFF)


@njit(cache=True, fastmath=False, forceinline=True)
def fold_to_2(word):
    """Return the lowest two bits of eight bytes in 16 bits."""
    word &= np.uint64(0x0303030303030303)
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
    count = levels.size & ~15
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
def encode_dense_chunk(levels, num_levels, field_bits, joined, single, stream, start):
    """Write a chunk's levels from byte `start` on; return where its last word ends.

    Parameters
    ----------
    levels : int8 or int16, each within -s..s
    num_levels : int
        s.
    field_bits : int
        2, 4 or 8; 0 for int16 levels.
    joined : uint64[65536]
        Entries of joined codewords by 16 bits of fields.
    single : uint64[2 s + 1]
        Entry of level q at q + s.
    stream : uint8
        With eight bytes to spare.
    """
    byte, filled, pending, done = start, np.uint64(0), np.uint64(0), 0
    if field_bits == 2:
        byte, filled, pending, done = append_2_bit_levels(levels, joined, stream, byte, filled, pending)
    elif field_bits == 4:
        byte, filled, pending, done = append_4_bit_levels(levels, joined, stream, byte, filled, pending)
    elif field_bits == 8:
        byte, filled, pending, done = append_8_bit_levels(levels, joined, stream, byte, filled, pending)
    for i in range(done, levels.size):
        entry = single[np.int64(levels[i]) + num_levels]
        byte, filled, pending = append(
            stream, byte, filled, pending, entry & CODE_MASK, entry >> LENGTH_SHIFT
        )
    return finish(stream, start, byte, filled, pending)

"""Fixed width: levels in two's complement, 1 to 16 bits each, lowest bit first.

Eight levels of w bits are w whole bytes. Two and four bits have loops that compilers turn into vector code;
up to 8 bits, eight bytes are squeezed and stretched at once within a 64-bit word; wider levels go one by one.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.bits import load64, store64, window
from qsgd_lab.kernels.cpu.messages.encode_chunk import append, finish
from qsgd_lab.kernels.jit import njit

_ONE = np.uint64(1)
_TOP_BITS = np.uint64(0x8080808080808080)
_SEVEN = np.int64(7)


@njit(cache=True, fastmath=False, forceinline=True)
def lane_mask(lane, width):
    """Return a uint64 with the lowest `width` bits of every `lane` bits set (both uint64, width < 64)."""
    mask = (_ONE << width) - _ONE
    while lane < np.uint64(64):  # doubling the pattern
        mask |= mask << lane
        lane += lane
    return mask


@njit(cache=True, fastmath=False)
def pack_nibbles(levels, stream):
    """Pack int8 levels in four bits each, two a byte."""
    for i in range(levels.size >> 1):
        # A plain loop on bytes, which the compiler turns into vector code.
        stream[i] = (levels[2 * i] & 15) | ((levels[2 * i + 1] & 15) << 4)


@njit(cache=True, fastmath=False)
def unpack_nibbles(stream, levels):
    """Unpack int8 levels of four bits each: the shifts to the top and back extend the sign."""
    for i in range(levels.size >> 1):
        byte = np.int8(stream[i])
        levels[2 * i] = np.int8(np.int8(byte << 4) >> 4)
        levels[2 * i + 1] = np.int8(byte >> 4)


@njit(cache=True, fastmath=False)
def unpack_pairs(stream, levels):
    """Unpack int8 levels of two bits each, four a byte."""
    for i in range(levels.size >> 2):
        byte = np.int8(stream[i])
        levels[4 * i] = np.int8(np.int8(byte << 6) >> 6)
        levels[4 * i + 1] = np.int8(np.int8(byte << 4) >> 6)
        levels[4 * i + 2] = np.int8(np.int8(byte << 2) >> 6)
        levels[4 * i + 3] = np.int8(byte >> 6)


@njit(cache=True, fastmath=False)
def pack_bytes(levels, width, stream, start):
    """Pack int8 levels by eights into `width` (uint64, at most 8) bytes each; return how many were packed."""
    double, four = width + width, np.uint64(4) * width
    even_1, even_2 = lane_mask(np.uint64(16), width), lane_mask(np.uint64(32), double)
    odd_1, odd_2 = even_1 << width, even_2 << double
    shift_1, shift_2 = np.uint64(8) - width, np.uint64(16) - double
    low = lane_mask(np.uint64(64), four)
    count = levels.size & ~_SEVEN
    byte, step = start, np.int64(width)
    for i in range(0, count, 8):
        word = load64(levels, i)  # fields are moved together: pairs of bytes, then of 16, then of 32 bits
        word = (word & even_1) | ((word >> shift_1) & odd_1)
        word = (word & even_2) | ((word >> shift_2) & odd_2)
        store64(stream, byte, (word & low) | ((word >> np.uint64(32)) << four))
        byte += step
    return count


@njit(cache=True, fastmath=False)
def unpack_bytes(stream, start, width, levels):
    """Unpack int8 levels by eights from `width` (uint64, at most 8) bytes each."""
    double, four = width + width, np.uint64(4) * width
    even_1, even_2 = lane_mask(np.uint64(16), width), lane_mask(np.uint64(32), double)
    odd_1, odd_2 = even_1 << width, even_2 << double
    shift_1, shift_2 = np.uint64(8) - width, np.uint64(16) - double
    low = lane_mask(np.uint64(64), four)
    signs = lane_mask(np.uint64(8), _ONE) << (width - _ONE)
    whole = width == np.uint64(8)
    count = levels.size & ~_SEVEN
    byte, step = start, np.int64(width)
    for i in range(0, count, 8):
        word = load64(stream, byte)
        word = (word & low) | (((word >> four) & low) << np.uint64(32))
        word = (word & even_2) | ((word & odd_2) << shift_2)
        word = (word & even_1) | ((word & odd_1) << shift_1)
        # Sign extension in every byte: the top bit is set first, so that no byte takes from its neighbour.
        extended = (((word ^ signs) | _TOP_BITS) - signs) ^ _TOP_BITS
        store64(levels, i, word if whole else extended)  # at eight bits there is nothing to extend
        byte += step
    return count


@njit(cache=True, fastmath=False)
def encode_fixed_chunk(levels, width, stream, start):
    """Write a chunk's levels in `width` (uint64) bits each; return where its last word ends."""
    done = 0  # int16 levels go one by one: rare, and at most 16 bits each
    if levels.itemsize == 1 and width == np.uint64(4):
        done = levels.size & ~_SEVEN
        pack_nibbles(levels[:done], stream[start:])
    elif levels.itemsize == 1 and width <= np.uint64(8):
        done = pack_bytes(levels, width, stream, start)
    byte, filled, pending = start + (done >> 3) * np.int64(width), np.uint64(0), np.uint64(0)
    mask = (_ONE << width) - _ONE
    for i in range(done, levels.size):
        code = np.uint64(np.int64(levels[i])) & mask
        byte, filled, pending = append(stream, byte, filled, pending, code, width)
    return finish(stream, start, byte, filled, pending)


@njit(cache=True, fastmath=False)
def decode_fixed_chunk(stream, start, width, levels):
    """Read a chunk's levels of `width` (uint64) bits each; return the bit position after them."""
    done = 0
    if levels.itemsize == 1 and width <= np.uint64(8):
        done = levels.size & ~_SEVEN
        if width == np.uint64(2):
            unpack_pairs(stream[start:], levels[:done])
        elif width == np.uint64(4):
            unpack_nibbles(stream[start:], levels[:done])
        else:
            unpack_bytes(stream, start, width, levels)
    position, step = (start << 3) + done * np.int64(width), np.int64(width)
    mask, sign = (_ONE << width) - _ONE, _ONE << (width - _ONE)
    for i in range(done, levels.size):
        value = window(stream, position) & mask
        levels[i] = np.int64(value ^ sign) - np.int64(sign)
        position += step
    return position

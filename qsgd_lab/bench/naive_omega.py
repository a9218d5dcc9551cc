"""Dense omega codewords one bit at a time: the plain way, against which the fast one is measured."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, fastmath=False)
def put_bit(stream, position, bit):
    """Write a bit into a zeroed stream; return the position after it."""
    if bit:
        stream[position >> 3] |= np.uint8(1 << (position & 7))
    return position + 1


@njit(cache=True, fastmath=False)
def get_bit(stream, position):
    """Return the bit at a position."""
    return (stream[position >> 3] >> (position & 7)) & 1


@njit(cache=True, fastmath=False)
def bit_length(k):
    """Return the number of binary digits of k >= 1."""
    digits = 0
    while k > 0:
        digits += 1
        k >>= 1
    return digits


@njit(cache=True, fastmath=False)
def put_digits(stream, position, k):
    """Write k >= 1 in binary, highest digit first; return the position after it."""
    for digit in range(bit_length(k) - 1, -1, -1):
        position = put_bit(stream, position, (k >> digit) & 1)
    return position


@njit(cache=True, fastmath=False)
def put_omega(stream, position, k):
    """Write the omega codeword of k, below 2^16; return the position after it."""
    second = bit_length(k) - 1
    third = bit_length(second) - 1
    fourth = bit_length(third) - 1 if third > 0 else 0
    if fourth > 0:
        position = put_digits(stream, position, third)
    if third > 0:
        position = put_digits(stream, position, second)
    if second > 0:
        position = put_digits(stream, position, k)
    return put_bit(stream, position, 0)


@njit(cache=True, fastmath=False, nogil=True)
def write_levels(levels, stream):
    """Write all levels into a zeroed stream; return the number of bits."""
    position = 0
    for i in range(levels.size):
        level = np.int64(levels[i])
        position = put_omega(stream, position, abs(level) + 1)
        if level != 0:
            position = put_bit(stream, position, level < 0)
    return position


@njit(cache=True, fastmath=False, nogil=True)
def read_levels(stream, levels):
    """Read levels; the stream is trusted."""
    position = 0
    for i in range(levels.size):
        k = 1
        while get_bit(stream, position):
            value = 0
            for _ in range(k + 1):
                value = 2 * value + get_bit(stream, position)
                position += 1
            k = value
        position += 1
        level = k - 1
        if level != 0:
            level = -level if get_bit(stream, position) else level
            position += 1
        levels[i] = level

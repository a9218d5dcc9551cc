"""Elias codewords of positive integers: lengths, writing and reading, of one integer and of arrays.

Codes are numbered GAMMA, DELTA, OMEGA. A codeword of 1 to 2^64 - 1 is at most 127 bits; it is written as (at
most) a few short binary numbers, each highest bit first. Streams are LSB-first, as in ``bits``.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.bits import first_bits_reversed, leading_zeros, load64, store64, trailing_zeros, window
from qsgd_lab.kernels.jit import njit

GAMMA, DELTA, OMEGA = 1, 2, 3
BAD = np.int64(-1)  # the position after a codeword that is cut off or exceeds uint64

_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@njit(cache=True, fastmath=False, forceinline=True)
def floor_log2(k):
    """Return floor(log2 k) of a uint64 of at least 1, as uint64."""
    return np.uint64(63) - leading_zeros(k)


@njit(cache=True, fastmath=False)
def codeword_length(k, code):
    """Return the bits of a codeword, int64."""
    exponent = np.int64(floor_log2(k))
    if code == GAMMA:
        return 2 * exponent + 1
    if code == DELTA:
        return exponent + 2 * np.int64(floor_log2(np.uint64(exponent + 1))) + 1
    length = np.int64(1)
    while exponent > 0:
        length += exponent + 1
        exponent = np.int64(floor_log2(np.uint64(exponent)))
    return length


@njit(cache=True, fastmath=False)
def put_number(stream, position, number, count):
    """Write the lowest `count` bits (uint64) of a number, highest first; return the position after them."""
    done = np.uint64(0)
    while done < count:
        size = min(count - done, np.uint64(32))  # with up to seven bits of shift, parts fit one store
        part = first_bits_reversed((number >> (count - done - size)) & ((_ONE << size) - _ONE), size)
        byte = (position + np.int64(done)) >> 3
        shift = np.uint64((position + np.int64(done)) & 7)
        store64(stream, byte, load64(stream, byte) | (part << shift))
        done += size
    return position + np.int64(count)


@njit(cache=True, fastmath=False)
def put_gamma(stream, position, k):
    """Write a gamma codeword into a zeroed stream; return the position after it."""
    exponent = floor_log2(k)  # the stream is zeroed, so that the leading zeros are there
    return put_number(stream, position + np.int64(exponent), k, exponent + _ONE)


@njit(cache=True, fastmath=False)
def put_delta(stream, position, k):
    """Write a delta codeword into a zeroed stream; return the position after it."""
    exponent = floor_log2(k)  # the number's digits but the first, which is always 1
    return put_number(stream, put_gamma(stream, position, exponent + _ONE), k, exponent)


@njit(cache=True, fastmath=False)
def put_omega(stream, position, k):
    """Write an omega codeword into a zeroed stream; return the position after it."""
    end = position + codeword_length(k, OMEGA)
    start = end - 1  # the final zero
    while k > _ONE:  # its groups are found last first
        size = floor_log2(k) + _ONE
        start -= np.int64(size)
        put_number(stream, start, k, size)
        k = size - _ONE
    return end


@njit(cache=True, fastmath=False)
def put_codeword(stream, position, k, code):
    """Write the codeword of a uint64 into a zeroed stream; return the position after it."""
    if code == GAMMA:
        return put_gamma(stream, position, k)
    if code == DELTA:
        return put_delta(stream, position, k)
    return put_omega(stream, position, k)


@njit(cache=True, fastmath=False)
def get_number(stream, position, count):
    """Return the number that `count` bits (int64, 0 to 64) spell, highest first."""
    number = _ZERO
    while count > 0:
        size = min(count, 32)
        part = first_bits_reversed(window(stream, position), np.uint64(size))
        number = (number << np.uint64(size)) | part
        position += size
        count -= size
    return number


@njit(cache=True, fastmath=False)
def count_zeros(stream, position, end):
    """Return the number of zeros before the next one, or `end` - `position` if none comes."""
    start = position
    while position < end:
        zeros = np.int64(trailing_zeros(window(stream, position)))
        if zeros < 57:  # else the window ends first: only 57 of its bits are certain
            return min(position + zeros, end) - start
        position += 57
    return end - start


@njit(cache=True, fastmath=False)
def get_gamma(stream, position, end):
    """Return (k, the position after it), or (0, BAD)."""
    exponent = count_zeros(stream, position, end)
    start = position + exponent
    if exponent > 63 or start + exponent + 1 > end:  # above 2^64 - 1, or cut off
        return _ZERO, BAD
    return get_number(stream, start, exponent + 1), start + exponent + 1


@njit(cache=True, fastmath=False)
def get_delta(stream, position, end):
    """Return (k, the position after it), or (0, BAD)."""
    size, start = get_gamma(stream, position, end)
    if start == BAD or size > np.uint64(64):
        return _ZERO, BAD
    exponent = np.int64(size) - 1
    if start + exponent > end:
        return _ZERO, BAD
    return (_ONE << np.uint64(exponent)) | get_number(stream, start, exponent), start + exponent


@njit(cache=True, fastmath=False)
def get_omega(stream, position, end):
    """Return (k, the position after it), or (0, BAD)."""
    k = _ONE
    while position < end:
        if get_number(stream, position, 1) == _ZERO:
            return k, position + 1
        size = np.int64(k) + 1  # the number read last says how long the next is
        if size > 64 or position + size > end:
            return _ZERO, BAD
        k = get_number(stream, position, size)
        position += size
        # A further group would have 2^63 bits or more, and its length would not fit int64.
        if size == 64 and position < end and get_number(stream, position, 1) != _ZERO:
            return _ZERO, BAD
    return _ZERO, BAD


@njit(cache=True, fastmath=False)
def get_codeword(stream, position, end, code):
    """Return (k, the position after it) of the next codeword, or (0, BAD) if it passes bit `end`.

    The stream must have eight bytes after the one that holds bit ``end - 1``.
    """
    if code == GAMMA:
        return get_gamma(stream, position, end)
    if code == DELTA:
        return get_delta(stream, position, end)
    return get_omega(stream, position, end)


@njit(cache=True, fastmath=False, nogil=True)
def measure_integers(values, code):
    """Return the bits of all codewords of uint64 values, int64."""
    total = np.int64(0)
    for i in range(values.size):
        total += codeword_length(values[i], code)
    return total


@njit(cache=True, fastmath=False, nogil=True)
def write_integers(values, code, stream):
    """Write the codewords of uint64 values into a zeroed stream with eight bytes to spare."""
    position = np.int64(0)
    for i in range(values.size):
        position = put_codeword(stream, position, values[i], code)


@njit(cache=True, fastmath=False, nogil=True)
def read_integers(stream, end, code, values):
    """Fill uint64 values from a stream of `end` bits; return the position after them, or BAD."""
    position = np.int64(0)
    for i in range(values.size):
        values[i], position = get_codeword(stream, position, end, code)
        if position == BAD:
            return BAD
    return position

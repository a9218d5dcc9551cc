"""Single levels read from a stream, where a decoder's tables end or it has none.

Codewords and signs are read by functions of a window: a uint64 whose lowest bits are the next of the stream.
What a legal message has there, a codeword of at most 31 bits and a sign, is inside the first 32. CPU kernels
take their windows from a stream of bytes, CUDA kernels from one of words.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.bits import first_bits_reversed, trailing_zeros, window
from qsgd_lab.kernels.elias import BAD, DELTA, GAMMA
from qsgd_lab.kernels.jit import njit

WINDOW_BITS = 32  # that a window must show
MOST_DIGITS = np.uint64(16)  # of a number that a window can hold: levels are below 2^15, distances 2^12

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_DELTA_ZEROS = np.uint64(4)  # before the number of a number's digits, 16 at most
_NOTHING = np.int64(0)


@njit(cache=True, fastmath=False)
def gamma_number(bits, most_zeros):
    """Return (k, bits of its codeword), both uint64, of the gamma codeword that a window begins with.

    (0, 0) where more than `most_zeros` (uint64) zeros come before its digits.
    """
    zeros = trailing_zeros(bits)  # of a window of zeros 64, which exceeds every limit
    if zeros > most_zeros:
        return _ZERO, _ZERO
    return first_bits_reversed(bits >> zeros, zeros + _ONE), zeros + zeros + _ONE


@njit(cache=True, fastmath=False)
def delta_number(bits):
    """Return (k, bits of its codeword) of the delta codeword that a window begins with, or (0, 0)."""
    digits, size = gamma_number(bits, _DELTA_ZEROS)
    if size == _ZERO or digits > MOST_DIGITS:
        return _ZERO, _ZERO
    more = digits - _ONE  # the first digit is always 1, and not sent
    return (_ONE << more) | first_bits_reversed(bits >> size, more), size + more


@njit(cache=True, fastmath=False)
def omega_number(bits):
    """Return (k, bits of its codeword) of the omega codeword that a window begins with, or (0, 0)."""
    k, size = _ONE, _ZERO
    # Groups begin with 1, the end is a 0. The limit on digits ends the loop on any bits.
    while (bits >> size) & _ONE != _ZERO:
        digits = k + _ONE
        if digits > MOST_DIGITS:
            return _ZERO, _ZERO
        k = first_bits_reversed(bits >> size, digits)
        size += digits
    return k, size + _ONE


@njit(cache=True, fastmath=False)
def number_at(bits, code):
    """Return (k, bits of its codeword) of the codeword that a window begins with, or (0, 0).

    The latter where it is none of a number below 2^16; both are uint64.
    """
    if code == GAMMA:
        return gamma_number(bits, MOST_DIGITS - _ONE)
    if code == DELTA:
        return delta_number(bits)
    return omega_number(bits)


@njit(cache=True, fastmath=False)
def signed_magnitude(magnitude, negative):
    """Return the level of a magnitude (uint64, below 2^16) and a sign bit (uint64)."""
    level = np.int64(magnitude)
    return -level if negative != np.uint64(0) else level


@njit(cache=True, fastmath=False)
def dense_level(bits, code, num_levels):
    """Return (level, its bits) of a codeword of |level| + 1 and a sign unless 0; no bits if illegal."""
    successor, size = number_at(bits, code)
    if size == _ZERO or successor > np.uint64(num_levels + 1):
        return _NOTHING, _NOTHING
    if successor == _ONE:
        return _NOTHING, np.int64(size)
    return signed_magnitude(successor - _ONE, (bits >> size) & _ONE), np.int64(size + _ONE)


@njit(cache=True, fastmath=False)
def signed_level(bits, code, num_levels):
    """Return (level, its bits) of a sign and a codeword of |level| + 1; no bits if illegal."""
    negative = bits & _ONE
    successor, size = number_at(bits >> _ONE, code)
    if size == _ZERO or successor > np.uint64(num_levels + 1):
        return _NOTHING, _NOTHING
    if successor == _ONE and negative != _ZERO:  # a negative zero, which no encoder writes
        return _NOTHING, _NOTHING
    return signed_magnitude(successor - _ONE, negative), np.int64(size + _ONE)


@njit(cache=True, fastmath=False)
def nonzero_level(bits, code, num_levels):
    """Return (level, its bits) of a sign and a codeword of |level|; no bits if illegal."""
    magnitude, size = number_at(bits >> _ONE, code)
    if size == _ZERO or magnitude > np.uint64(num_levels):
        return _NOTHING, _NOTHING
    return signed_magnitude(magnitude, bits & _ONE), np.int64(size + _ONE)


@njit(cache=True, fastmath=False)
def fixed_level(bits, width):
    """Return the level, int64, of the lowest `width` bits (uint64) of a window, in two's complement."""
    value = bits & ((_ONE << width) - _ONE)
    # Two's complement: flipping the sign bit and taking it off extends it.
    sign = _ONE << (width - _ONE)
    return np.int64(value ^ sign) - np.int64(sign)


@njit(cache=True, fastmath=False)
def position_after(position, size, end):
    """Return the position after `size` bits, or BAD if there are none or they pass bit `end`."""
    return position + size if size != 0 and position + size <= end else BAD


@njit(cache=True, fastmath=False)
def get_dense_level(stream, position, end, code, num_levels):
    """Return (level, the position after it) as `dense_level` reads it, or (a level, BAD)."""
    level, size = dense_level(window(stream, position), code, num_levels)
    return level, position_after(position, size, end)


@njit(cache=True, fastmath=False)
def get_signed_level(stream, position, end, code, num_levels):
    """Return (level, the position after it) as `signed_level` reads it, or (a level, BAD)."""
    level, size = signed_level(window(stream, position), code, num_levels)
    return level, position_after(position, size, end)


@njit(cache=True, fastmath=False)
def get_gap_and_level(stream, position, end, code, num_levels, largest_gap):
    """Return (distance, level, the position after both), or (a distance, a level, BAD)."""
    gap, size = number_at(window(stream, position), code)
    position = position_after(position, np.int64(size), end)
    if position == BAD or gap > np.uint64(largest_gap):
        return np.int64(gap), _NOTHING, BAD
    level, more = nonzero_level(window(stream, position), code, num_levels)
    return np.int64(gap), level, position_after(position, more, end)


@njit(cache=True, fastmath=False, forceinline=True)
def only_zeros_left(bits, left):
    """Whether fewer than 32 bits are left in a chunk (`left`, int64), and the window shows no 1 in them."""
    if left < 0 or left >= WINDOW_BITS:
        return False
    return bits & ((_ONE << np.uint64(left)) - _ONE) == _ZERO


@njit(cache=True, fastmath=False, forceinline=True)
def is_finished(stream, position, end):
    """Whether only zeros are left before bit `end`, fewer than 32, so that no whole word is left over."""
    return only_zeros_left(window(stream, position), end - position)

"""One level at a time off a stream: what a decoder does where its tables end."""

from __future__ import annotations

import numpy as np
from numba import njit

from qsgd_lab.kernels.bits import window
from qsgd_lab.kernels.elias import BAD, get_codeword

_ONE = np.uint64(1)
_ZERO_LEVEL = np.int64(0)


@njit(cache=True, fastmath=False)
def signed_magnitude(magnitude, negative):
    """Return the level of a magnitude (uint64, below 2^16) and a sign bit (uint64)."""
    level = np.int64(magnitude)
    return -level if negative != np.uint64(0) else level


@njit(cache=True, fastmath=False)
def get_dense_level(stream, position, end, code, num_levels):
    """Return (level, the position after it) of a codeword of |level| + 1 and a sign unless 0, or (0, BAD)."""
    successor, position = get_codeword(stream, position, end, code)
    if position == BAD or successor > np.uint64(num_levels + 1):
        return _ZERO_LEVEL, BAD
    if successor == _ONE:
        return _ZERO_LEVEL, position
    if position >= end:
        return _ZERO_LEVEL, BAD
    return signed_magnitude(successor - _ONE, window(stream, position) & _ONE), position + 1


@njit(cache=True, fastmath=False)
def get_signed_level(stream, position, end, code, num_levels):
    """Return (level, the position after it) of a sign and a codeword of |level| + 1, or (0, BAD)."""
    if position >= end:
        return _ZERO_LEVEL, BAD
    negative = window(stream, position) & _ONE
    successor, position = get_codeword(stream, position + 1, end, code)
    if position == BAD or successor > np.uint64(num_levels + 1):
        return _ZERO_LEVEL, BAD
    if successor == _ONE and negative != np.uint64(0):
        return _ZERO_LEVEL, BAD
    return signed_magnitude(successor - _ONE, negative), position


@njit(cache=True, fastmath=False)
def get_nonzero_level(stream, position, end, code, num_levels):
    """Return (level, the position after it) of a sign and a codeword of |level|, or (0, BAD)."""
    if position >= end:
        return _ZERO_LEVEL, BAD
    negative = window(stream, position) & _ONE
    magnitude, position = get_codeword(stream, position + 1, end, code)
    if position == BAD or magnitude > np.uint64(num_levels):
        return _ZERO_LEVEL, BAD
    return signed_magnitude(magnitude, negative), position


@njit(cache=True, fastmath=False, forceinline=True)
def is_finished(stream, position, end):
    """Whether only zeros stand before bit `end`, fewer than 32, so that no whole word is left over."""
    left = end - position
    if left < 0 or left >= 32:
        return False
    return window(stream, position) & ((_ONE << np.uint64(left)) - _ONE) == np.uint64(0)

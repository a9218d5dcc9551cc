"""Append short codewords to a stream of bytes.

The state of a stream is (byte, filled, pending): `pending` (uint64) holds the `filled` (uint64, 0 to 7) bits
that byte `byte` begins with. Every append stores eight bytes at `byte`, so that no branch asks whether a word
is full; the stream needs eight bytes to spare.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from qsgd_lab.kernels.bits import store64

MAX_APPEND = np.uint64(56)  # bits that one append takes
# An entry of a table of codewords: the codeword in the low 58 bits, its length above.
LENGTH_SHIFT = np.uint64(58)
CODE_MASK = np.uint64((1 << 58) - 1)

_SEVEN = np.uint64(7)
_WHOLE_BYTES = np.uint64(56)
_THREE = np.uint64(3)


@njit(cache=True, fastmath=False, forceinline=True)
def append(stream, byte, filled, pending, code, size):
    """Append the lowest `size` (at most 56) bits of `code`, which has no others; return the new state."""
    pending |= code << filled
    store64(stream, byte, pending)
    filled += size
    byte += np.int64(filled >> _THREE)
    pending >>= filled & _WHOLE_BYTES
    return byte, filled & _SEVEN, pending


@njit(cache=True, fastmath=False, forceinline=True)
def append_two(stream, byte, filled, pending, first, second):
    """Append two table entries, in one go where they fit."""
    size_1, size_2 = first >> LENGTH_SHIFT, second >> LENGTH_SHIFT
    code_1, code_2 = first & CODE_MASK, second & CODE_MASK
    if size_1 + size_2 <= MAX_APPEND:
        return append(stream, byte, filled, pending, code_1 | (code_2 << size_1), size_1 + size_2)
    byte, filled, pending = append(stream, byte, filled, pending, code_1, size_1)
    return append(stream, byte, filled, pending, code_2, size_2)


@njit(cache=True, fastmath=False, forceinline=True)
def finish(stream, start, byte, filled, pending):
    """Pad with zeros to a whole number of 32-bit words from byte `start`; return where they end."""
    store64(stream, byte, pending)
    used = byte - start + np.int64(filled > np.uint64(0))
    return start + ((used + 3) & ~3)

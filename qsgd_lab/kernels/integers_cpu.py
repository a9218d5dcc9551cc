"""Arrays of positive integers in and out of one stream of codewords, one after another."""

from __future__ import annotations

import numpy as np
from numba import njit

from qsgd_lab.kernels.elias import BAD, codeword_length, get_codeword, put_codeword


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

"""Sparse chunks: distance, sign and magnitude of every level that is not 0."""

from __future__ import annotations

import numpy as np
from numba import njit

from qsgd_lab.kernels.append_cpu import CODE_MASK, LENGTH_SHIFT, append, finish
from qsgd_lab.kernels.positions_cpu import nonzero_positions


@njit(cache=True, fastmath=False)
def encode_sparse_chunk(levels, num_levels, gaps, single, positions, stream, start):
    """Write a chunk's levels; return where its last word ends, and the number of non-zeros.

    Parameters
    ----------
    levels : int8 or int16, each within -s..s
    num_levels : int
        s.
    gaps : uint64
        Entry of a distance g at g.
    single : uint64[2 s + 1]
        Entry of sign and magnitude of level q at q + s.
    positions : int32
        Scratch, as long as a chunk.
    stream : uint8
        With eight bytes to spare.
    """
    count = nonzero_positions(levels, positions)
    byte, filled, pending = start, np.uint64(0), np.uint64(0)
    previous = np.int64(-1)
    for i in range(count):
        position = np.int64(positions[i])
        gap = gaps[position - previous]
        level = single[np.int64(levels[position]) + num_levels]
        previous = position
        size = gap >> LENGTH_SHIFT
        code = (gap & CODE_MASK) | ((level & CODE_MASK) << size)
        byte, filled, pending = append(stream, byte, filled, pending, code, size + (level >> LENGTH_SHIFT))
    return finish(stream, start, byte, filled, pending), count

"""Where the levels of a chunk are not 0."""

from __future__ import annotations

import numpy as np
from numba import njit

from qsgd_lab.kernels.bits import nonzero64, trailing_zeros

_ONE = np.uint64(1)


@njit(cache=True, fastmath=False)
def nonzero_positions(levels, positions):
    """Write the positions of non-zero levels into int32 `positions`; return how many there are."""
    count = 0
    start = 0
    if levels.itemsize == 1:
        while start + 64 <= levels.size:
            mask = nonzero64(levels, start)
            while mask != np.uint64(0):
                positions[count] = np.int32(start + np.int64(trailing_zeros(mask)))
                count += 1
                mask &= mask - _ONE
            start += 64
    for i in range(start, levels.size):
        positions[count] = np.int32(i)
        count += np.int64(levels[i] != 0)
    return count

"""Running sums and maxima over the threads of a block, and over the chunks of a message.

Values are int64; `totals`, in shared memory, has one a warp. Every thread of the block comes to each
of these.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from qsgd_lab.kernels.cuda.norms import ALL_LANES, LANES

MAX_WARPS = 32
STEPS = (1, 2, 4, 8, 16)
SHARE = 8  # chunks that a thread adds up for itself


@cuda.jit(device=True, cache=False, fastmath=False)
def sum_before(value, totals):
    """Return (sum of the values of the threads before this one, sum of all)."""
    lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    inclusive = value
    for step in STEPS:
        other = cuda.shfl_up_sync(ALL_LANES, inclusive, step)
        if lane >= step:
            inclusive += other
    if lane == LANES - 1:
        totals[warp] = inclusive
    cuda.syncthreads()
    before = inclusive - value
    total = before - before  # a zero of the values' type
    for i in range(cuda.blockDim.x // LANES):
        if i < warp:
            before += totals[i]
        total += totals[i]
    cuda.syncthreads()  # `totals` may be used again
    return before, total


@cuda.jit(device=True, cache=False, fastmath=False)
def largest_before(value, totals):
    """Return the largest of -1 and the values of the threads before this one."""
    lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    inclusive = value
    for step in STEPS:
        other = cuda.shfl_up_sync(ALL_LANES, inclusive, step)
        if lane >= step and other > inclusive:
            inclusive = other
    before = cuda.shfl_up_sync(ALL_LANES, inclusive, 1)
    if lane == 0:
        before = value - value - 1  # -1, of the values' type
    if lane == LANES - 1:
        totals[warp] = inclusive
    cuda.syncthreads()
    for i in range(warp):
        if totals[i] > before:
            before = totals[i]
    cuda.syncthreads()  # `totals` may be used again
    return before


@cuda.jit(cache=True, fastmath=False)
def scan_lengths(lengths, starts):
    """Write where chunks begin, and where the last ends, given their lengths; one block does it.

    Parameters
    ----------
    lengths : int32[C]
    starts : int64[C + 1]
    """
    totals = cuda.shared.array(MAX_WARPS, np.int64)
    count = lengths.size
    base = np.int64(0)
    for tile in range(0, count, SHARE * cuda.blockDim.x):
        first = tile + SHARE * cuda.threadIdx.x
        own = np.int64(0)
        for i in range(first, first + SHARE):
            if i < count:
                own += np.int64(lengths[i])
        before, total = sum_before(own, totals)
        before += base
        for i in range(first, first + SHARE):
            if i < count:
                starts[i] = before
                before += np.int64(lengths[i])
        base += total  # the same in all threads, so that nothing is exchanged
    if cuda.threadIdx.x == 0:
        starts[count] = base

"""Bucket norms on the GPU, by the CPU's tree: a warp a block, its 32 threads being the 32 lanes.

Thread l adds the squares of coordinates l, l + 32, ... of its block, and shuffles halve the lanes. Block sums
that share a bucket are summed by the same rule, a launch a level: three for 10^8 coordinates. Squares of
float32 are exact in float64, so contraction to FMA changes nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numba import cuda

from qsgd_lab.kernels.constants import L2
from qsgd_lab.kernels.cuda.launch import HEAVY, current_launch_shape
from qsgd_lab.kernels.cuda.ops import real
from qsgd_lab.kernels.fixed_point import FLOAT32_MAX, storable_norm

LANES = 32
PER_LANE = 16  # coordinates of a row, or of a block, that a thread holds
ALL_LANES = 0xFFFFFFFF


@cuda.jit(device=True, cache=False, fastmath=False)
def at(lane, k):
    """Return lane + 32 k as an index.

    Unsigned, so that it is not checked for being negative; 64 bits, so that 32 k becomes part of the address.
    """
    return np.uint64(lane) + np.uint64(LANES * k)


@cuda.jit(device=True, cache=False, fastmath=False)
def is_inside(lane, k, size):
    """Whether lane + 32 k is below `size`, a uint32."""
    return np.uint32(np.uint32(lane) + np.uint32(LANES * k)) < size


@cuda.jit(device=True, cache=False, fastmath=False)
def bounds_of(offsets, row, is_own):
    """Return where a row begins and ends (int64) and its size (uint32); 0 where it is not one's own."""
    low = offsets[row]
    high = offsets[row + 1] if is_own else low  # a warp without a row goes through the shuffles with nothing
    return low, high, np.uint32(high - low)


@cuda.jit(device=True, cache=False, fastmath=False)
def load_row(part, size, lane, values):
    """Load a thread's 16 coordinates of a row; those beyond its end are 0."""
    for k in range(PER_LANE):
        values[k] = real(part[at(lane, k)]) if is_inside(lane, k, size) else np.float32(0.0)


@cuda.jit(device=True, cache=False, fastmath=False)
def load_sum(part, addend, size, lane, values):
    """Load the sum of a row and an addend, added in float32."""
    for k in range(PER_LANE):
        i = at(lane, k)
        inside = is_inside(lane, k, size)
        values[k] = np.float32(real(part[i]) + real(addend[i])) if inside else np.float32(0.0)


@cuda.jit(device=True, cache=False, fastmath=False)
def lane_term(values, kind):
    """Return the sum of squares, or the largest magnitude, of a thread's 16 coordinates, as float64."""
    total = np.float64(0.0)
    for k in range(PER_LANE):
        if kind == L2:
            value = np.float64(values[k])
            total += value * value  # coordinates beyond the end are 0, and add nothing
        else:
            magnitude = np.float64(abs(values[k]))
            if not magnitude <= np.float64(FLOAT32_MAX):
                magnitude = np.float64(math.inf)  # NaN too: comparisons must see it
            total = magnitude if magnitude > total else total
    return total


@cuda.jit(device=True, cache=False, fastmath=False)
def fold_warp(total, kind):
    """Return to all threads of a warp the sum of their 32 values by halving, or the largest."""
    # By XOR, so that every thread ends with the norm and none has to send it round.
    for half in (16, 8, 4, 2, 1):
        other = np.float64(cuda.shfl_xor_sync(ALL_LANES, total, half))
        if kind == L2:
            total += other  # commutes, so that both partners get the same bits
        else:
            total = other if other > total else total
    return total


@cuda.jit(device=True, cache=False, fastmath=False)
def finished_norm(total, kind):
    """Return the float32 norm of a bucket's total."""
    return np.float32(storable_norm(math.sqrt(total) if kind == L2 else total))


@cuda.jit(cache=True, fastmath=False)
def block_totals(x, addend, joined, add, offsets, kind, finish, totals, norms):
    """Write the total of each block of coordinates, or the norm where a bucket is a block.

    Parameters
    ----------
    x, addend : float32[N, n], or int16[N, n] or uint16[N, n] with the bits of float16 or bfloat16
    joined : float32
        With `add`, of the shape of x, which it may be: their sum, which is written. Else not used.
    add : bool
        Take the norms of the sum.
    offsets : int64[K + 1]
        Boundaries of the blocks.
    finish : bool
        Write `norms` instead of `totals`.
    totals : float64[N, K]
    norms : float32[N, K]
    """
    lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    warps = cuda.blockDim.x // LANES
    values = cuda.local.array(PER_LANE, np.float32)
    blocks = offsets.size - 1
    for first in range(cuda.blockIdx.x * warps, x.shape[0] * blocks, cuda.gridDim.x * warps):
        # Every warp takes part in the shuffles; one that has no block takes another's, of size 0.
        item = first + warp if first + warp < x.shape[0] * blocks else first
        node, block = item // blocks, item % blocks
        low, high, size = bounds_of(offsets, block, item == first + warp)
        part = x[node, low:high]
        if add:
            # Added in float32 and written: what is quantized later is this sum.
            target = joined[node, low:high]
            load_sum(part, addend[node, low:high], size, lane, values)
            for k in range(PER_LANE):
                if is_inside(lane, k, size):
                    target[at(lane, k)] = values[k]
        else:
            load_row(part, size, lane, values)
        total = fold_warp(lane_term(values, kind), kind)
        if lane == 0 and size > 0:  # one's own, and not empty
            if finish:
                norms[node, block] = finished_norm(total, kind)
            else:
                totals[node, block] = total


@cuda.jit(cache=True, fastmath=False)
def fold_totals(totals, offsets, kind, finish, folded, norms):
    """Write the total of each block of totals, or the norm where a bucket is a block.

    Parameters
    ----------
    totals : float64[N, L]
    offsets : int64[K + 1]
        Boundaries of the blocks.
    finish : bool
        Write `norms` instead of `folded`.
    folded : float64[N, K]
    norms : float32[N, K]
    """
    lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    warps = cuda.blockDim.x // LANES
    blocks = offsets.size - 1
    for first in range(cuda.blockIdx.x * warps, totals.shape[0] * blocks, cuda.gridDim.x * warps):
        item = first + warp if first + warp < totals.shape[0] * blocks else first
        node, block = item // blocks, item % blocks
        low, high, size = bounds_of(offsets, block, item == first + warp)
        total = np.float64(0.0)
        part = totals[node, low:high]
        for k in range(PER_LANE):
            if is_inside(lane, k, size):
                value = part[at(lane, k)]
                if kind == L2:
                    total += value
                else:
                    total = value if value > total else total
        total = fold_warp(total, kind)
        if lane == 0 and size > 0:
            if finish:
                norms[node, block] = finished_norm(total, kind)
            else:
                folded[node, block] = total


def launch_norms(context, tables, x, addend, add, kind, norms):
    """Write the norm of every bucket of every node; with `add`, first add `addend` to `x` in place.

    Parameters
    ----------
    context : DeviceContext
    tables : RowTables
    x, addend : Numba float32[N, n]
        Without `add` any array does for the second.
    add : bool
    kind : 0 for l2, 1 for max
    norms : Numba float32[N, B]
    """
    nodes = x.shape[0]
    totals = x
    for level, offsets in enumerate(tables.block_levels):
        finish = level == len(tables.block_levels) - 1  # then each bucket is one block
        blocks = offsets.size - 1
        folded = context.scratch((1, 1) if finish else (nodes, blocks), np.float64)
        shape = (*current_launch_shape().grid(nodes * blocks, HEAVY), context.stream)
        if level == 0:
            block_totals[shape](x, addend, x if add else norms, add, offsets, kind, finish, folded, norms)
        else:
            fold_totals[shape](totals, offsets, kind, finish, folded, norms)
        totals = folded

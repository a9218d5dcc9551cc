"""Bucket norms whose result does not depend on how the work is divided.

The sum of squares of a bucket is taken in float64, where squares of float32 are exact, in one fixed order
that is also parallel: blocks of 512 from the bucket's start; in a block, lane l of 32 adds its coordinates l,
l+32, ... in turn, and the lanes are then halved (16, 8, 4, 2, 1); the block sums are summed by the same rule,
and so on up.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.constants import MAX
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.cpu.vector_steps import add_square
from qsgd_lab.kernels.cpu.wide_vectors import prefer_wide_vectors
from qsgd_lab.kernels.fixed_point import INFINITY_BITS, MAGNITUDE_MASK, storable_norm
from qsgd_lab.kernels.jit import njit

BLOCK = 512
LANES = 32


@njit(cache=True, fastmath=False, forceinline=True)
def fold_lanes(lanes):
    """Return the sum of 32 float64 lanes by halving."""
    for half in (16, 8, 4, 2, 1):  # as a warp's shuffles do, and in the same order
        for lane in range(half):
            lanes[lane] += lanes[lane + half]
    return lanes[0]


@njit(cache=True, fastmath=False, forceinline=True)
def square(x, i):
    """Return the exact square of a float32 coordinate as float64."""
    value = np.float64(x[i])
    return value * value  # 48 bits at most, so that contraction to FMA rounds nothing that this did not


@njit(cache=True, fastmath=False)
def full_block_sum(x, lanes):
    """Return the sum of squares of exactly 512 coordinates; written out so that lanes stay in registers."""
    prefer_wide_vectors()
    for i in range(LANES):
        total = square(x, i)
        total = add_square(total, np.float64(x[i + 32]))
        total = add_square(total, np.float64(x[i + 64]))
        total = add_square(total, np.float64(x[i + 96]))
        total = add_square(total, np.float64(x[i + 128]))
        total = add_square(total, np.float64(x[i + 160]))
        total = add_square(total, np.float64(x[i + 192]))
        total = add_square(total, np.float64(x[i + 224]))
        total = add_square(total, np.float64(x[i + 256]))
        total = add_square(total, np.float64(x[i + 288]))
        total = add_square(total, np.float64(x[i + 320]))
        total = add_square(total, np.float64(x[i + 352]))
        total = add_square(total, np.float64(x[i + 384]))
        total = add_square(total, np.float64(x[i + 416]))
        total = add_square(total, np.float64(x[i + 448]))
        total = add_square(total, np.float64(x[i + 480]))
        lanes[i] = total
    return fold_lanes(lanes)


@njit(cache=True, fastmath=False)
def block_sum(x, lanes):
    """Return the sum of squares of at most 512 coordinates; lanes that run out add nothing."""
    prefer_wide_vectors()
    x, lanes = unowned_view(x), unowned_view(lanes)
    if x.size == BLOCK:  # the slice tells the compiler the length
        return full_block_sum(x[:BLOCK], lanes)
    lanes[:] = 0.0
    rows = x.size // LANES
    for row in range(rows):
        part = x[row * LANES : (row + 1) * LANES]
        for lane in range(LANES):
            lanes[lane] += square(part, lane)  # a row at a time, so that the loop over lanes is vector code
    tail = x[rows * LANES :]
    for lane in range(tail.size):
        lanes[lane] += square(tail, lane)
    return fold_lanes(lanes)


@njit(cache=True, fastmath=False)
def fold_sums(sums, count, lanes):
    """Return the sum of the first `count` block sums by the same rule, level after level, in place."""
    while count > 1:
        blocks = (count + BLOCK - 1) // BLOCK
        for block in range(blocks):
            lanes[:] = 0.0
            # In place: block k is written after it and all before it have been read.
            for i in range(block * BLOCK, min(count, (block + 1) * BLOCK)):
                lanes[i % LANES] += sums[i]
            sums[block] = fold_lanes(lanes)
        count = blocks
    return sums[0]


@njit(cache=True, fastmath=False)
def largest_bits(x_bits, largest):
    """Return the largest bit pattern of a magnitude (int32), or `largest` if that is larger.

    Magnitudes of floats are ordered like their bit patterns, infinity and NaN last, and an integer maximum
    vectorises.
    """
    prefer_wide_vectors()
    for i in range(x_bits.size):
        largest = max(largest, np.int32(x_bits[i] & MAGNITUDE_MASK))
    return largest


@njit(cache=True, fastmath=False)
def float_of_bits(bits):
    """Return the float32 of a bit pattern as float64; NaN if it is not finite."""
    if bits >= INFINITY_BITS:
        return np.nan
    holder = np.empty(1, np.int32)  # Numba has no cast of bits between scalars
    holder[0] = bits
    return np.float64(holder.view(np.float32)[0])


@njit(cache=True, fastmath=False)
def bucket_norm(x, x_bits, kind, lanes, sums):
    """Return the float32 norm of one bucket.

    `x_bits` is `x` viewed as int32; `lanes` holds 32 float64, `sums` one for each block of 512.
    """
    prefer_wide_vectors()
    x, x_bits, lanes, sums = unowned_view(x), unowned_view(x_bits), unowned_view(lanes), unowned_view(sums)
    if kind == MAX:
        return storable_norm(float_of_bits(largest_bits(x_bits, np.int32(0))))
    blocks = (x.size + BLOCK - 1) // BLOCK
    for block in range(blocks):
        sums[block] = block_sum(x[block * BLOCK : min(x.size, (block + 1) * BLOCK)], lanes)
    return storable_norm(np.sqrt(fold_sums(sums, blocks, lanes)))


@njit(cache=True, fastmath=False)
def add_and_norm(x, x_bits, addend, kind, lanes, sums):
    """Add to `x` in float32, in place, and return the norm of the sum: one pass over memory for both."""
    prefer_wide_vectors()
    x, x_bits, addend = unowned_view(x), unowned_view(x_bits), unowned_view(addend)
    lanes, sums = unowned_view(lanes), unowned_view(sums)
    largest = np.int32(0)
    blocks = (x.size + BLOCK - 1) // BLOCK
    for block in range(blocks):
        low, high = block * BLOCK, min(x.size, (block + 1) * BLOCK)
        part, part_addend = x[low:high], addend[low:high]
        for i in range(part.size):
            part[i] += part_addend[i]  # stays in cache for the squares
        if kind == MAX:
            largest = largest_bits(x_bits[low:high], largest)
        else:
            sums[block] = block_sum(part, lanes)
    if kind == MAX:
        return storable_norm(float_of_bits(largest))
    return storable_norm(np.sqrt(fold_sums(sums, blocks, lanes)))


@njit(cache=True, fastmath=False, nogil=True)
def survey_scales(bits):
    """Return the first scale (uint32 patterns) that may not be, or -1, and whether one is +0 or the NaN.

    Allowed are +0, positive and finite numbers, and the NaN 0x7FC00000.
    """
    dead = False
    for i in range(bits.size):
        if bits[i] - np.uint32(1) >= np.uint32(0x7F7FFFFF):  # +0 wraps round
            if bits[i] != np.uint32(0) and bits[i] != np.uint32(0x7FC00000):
                return i, dead
            dead = True
    return -1, dead

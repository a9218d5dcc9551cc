"""Rotate a block, put its coordinates on a grid, and back: EDEN, DRIVE and stochastic rounding, on the CPU.

A block of r coordinates is padded with zeros to e, a power of two, and rotated: y = H S_R ... H S_1 v, with
random signs S and the transform H of `hadamard`, which is not normalised. Then |y|^2 = e^R |v|^2, and
<c, y> = <S_1 H ... S_R H c, v> for every c. Sums are those of `norms`, in float64, where squares and products
of float32 are exact.
"""

from __future__ import annotations

import math

import numpy as np

from qsgd_lab.kernels.arguments import StreamKey
from qsgd_lab.kernels.constants import OWN_WORDS
from qsgd_lab.kernels.cpu.methods.hadamard import fill_signs, flip, flip_and_transform, signs_at, transform
from qsgd_lab.kernels.cpu.norms import BLOCK, LANES, block_sum, fold_lanes, fold_sums
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.jit import njit
from qsgd_lab.kernels.philox import GROUP, fill_groups
from qsgd_lab.kernels.rotation import (
    LARGEST_FLOAT,
    LARGEST_ROOT,
    MATCHED_NORM,
    OFFSET_STEPS,
    SMALLEST_ROOT,
    STOCHASTIC,
    UNBIASED,
)

#: The row of `RotationStreams.keys` after the signs of both rounds.
ROUNDING = 2
_HALF = np.int64(32)
_FRACTION = np.int64(0xFFFFFFFF)
_TWO_32 = np.float64(4294967296.0)


@njit(cache=True, fastmath=False)
def squares(x, lanes, sums):
    """Return the sum of squares of float32 coordinates in float64, in the order of `norms`."""
    x, lanes, sums = unowned_view(x), unowned_view(lanes), unowned_view(sums)
    blocks = (x.size + BLOCK - 1) // BLOCK
    for block in range(blocks):
        sums[block] = block_sum(x[block * BLOCK : min(x.size, (block + 1) * BLOCK)], lanes)
    return fold_sums(sums, blocks, lanes)


@njit(cache=True, fastmath=False)
def product_sum(a, b, lanes, sums):
    """Return the sum of |a_j| b_j of float32 arrays in float64, in the same order."""
    a, b, lanes, sums = unowned_view(a), unowned_view(b), unowned_view(lanes), unowned_view(sums)
    blocks = (a.size + BLOCK - 1) // BLOCK
    for block in range(blocks):
        low, high = block * BLOCK, min(a.size, (block + 1) * BLOCK)
        part_a, part_b = a[low:high], b[low:high]
        lanes[:] = 0.0
        rows = part_a.size // LANES
        for row in range(rows):
            row_a = part_a[row * LANES : (row + 1) * LANES]
            row_b = part_b[row * LANES : (row + 1) * LANES]
            for lane in range(LANES):
                lanes[lane] += np.float64(abs(row_a[lane])) * np.float64(row_b[lane])
        for lane in range(rows * LANES, part_a.size):
            lanes[lane - rows * LANES] += np.float64(abs(part_a[lane])) * np.float64(part_b[lane])
        sums[block] = fold_lanes(lanes)
    return fold_sums(sums, blocks, lanes)


@njit(cache=True, fastmath=False)
def safe_power(root):
    """Return the power of two by which a block is multiplied, 1 unless its length is extreme (float64)."""
    if SMALLEST_ROOT <= root <= LARGEST_ROOT:
        return 1.0
    _, exponent = math.frexp(root)
    return math.ldexp(1.0, -exponent)


@njit(cache=True, fastmath=False)
def rotate(x, power, y, rounds, planes):
    """Write the rotated block to `y`; planes[r] are the signs of round r, from the block's first on."""
    x, y = unowned_view(x), unowned_view(y)
    if power == 1.0:
        for j in range(x.size):
            y[j] = x[j]
    else:
        for j in range(x.size):
            y[j] = np.float32(np.float64(x[j]) * power)
    for j in range(x.size, y.size):
        y[j] = np.float32(0.0)
    for r in range(rounds):
        flip_and_transform(y, planes[r], 0)


@njit(cache=True, fastmath=False, forceinline=True)
def key_of(streams, purpose):
    """Return the `StreamKey` of a purpose: the signs of a round by its number, or ROUNDING."""
    keys = streams.keys
    k0, k1 = keys[purpose, 0], keys[purpose, 1]
    return StreamKey(k0, k1, streams.step, streams.tensor, streams.node, OWN_WORDS)


@njit(cache=True, fastmath=False)
def open_signs(planes, first, size, rounds, streams):
    """Fill the planes of all rounds for a block at position `first`, so that its first sign is at place 0.

    Blocks of less than 128 coordinates begin inside a Philox block: their bits are moved to its beginning.
    """
    for r in range(rounds):
        own = planes[r]
        fill_signs(own, first, size, key_of(streams, r))
        place = first & 127
        if place:
            if size < 32:
                own[0, 0] = np.uint32(signs_at(own, place))
            else:
                for w in range(size >> 5):
                    own[w, 0] = own[w + (place >> 5), 0]


@njit(cache=True, fastmath=False)
def nearest_1(y, book, codes, chosen):
    """Put coordinates on the two centroids of one bit."""
    for j in range(y.size):
        codes[j] = -np.int8(y[j] < np.float32(0.0))
        chosen[j] = book[0]


@njit(cache=True, fastmath=False)
def nearest_2(y, limit, book, codes, chosen):
    """Put coordinates on the four centroids of two bits."""
    near, far = book[0], book[1]
    for j in range(y.size):
        beyond = abs(y[j]) > limit
        codes[j] = np.int8(beyond) ^ -np.int8(y[j] < np.float32(0.0))
        chosen[j] = far if beyond else near


@njit(cache=True, fastmath=False)
def nearest_few(y, limits, book, codes, chosen):
    """Put coordinates on the nearest centroids, by comparing with all limits between them."""
    for low in range(0, y.size, BLOCK):
        high = min(y.size, low + BLOCK)
        part, own, values = y[low:high], codes[low:high], chosen[low:high]
        for j in range(part.size):
            own[j] = 0
            values[j] = book[0]
        for k in range(limits.size):
            limit, beyond = limits[k], book[k + 1]
            for j in range(part.size):
                hit = abs(part[j]) > limit
                own[j] += np.int8(hit)
                values[j] = beyond if hit else values[j]
        for j in range(part.size):
            own[j] ^= -np.int8(part[j] < np.float32(0.0))


@njit(cache=True, fastmath=False)
def nearest_many(y, limits, book, codes, chosen):
    """Put coordinates on the nearest centroids, by halving the 2^k - 1 limits between them."""
    for low in range(0, y.size, BLOCK):
        high = min(y.size, low + BLOCK)
        part, own, values = y[low:high], codes[low:high], chosen[low:high]
        own[:] = 0
        half = (limits.size + 1) >> 1
        while half:  # stage by stage, so that a stage is vector code without branches
            for j in range(part.size):
                own[j] += np.int8(half) * np.int8(
                    abs(part[j]) > limits[np.uint64(np.int64(own[j]) + half - 1)]
                )
            half >>= 1
        for j in range(part.size):
            values[j] = book[np.uint64(own[j])]
            own[j] ^= -np.int8(part[j] < np.float32(0.0))


@njit(cache=True, fastmath=False)
def quantize_block(y, book, limits, codes, chosen):
    """Write the code and the centroid's magnitude of each coordinate of a rotated block."""
    y, codes, chosen = unowned_view(y), unowned_view(codes), unowned_view(chosen)
    if book.size == 1:
        nearest_1(y, book, codes, chosen)
    elif book.size == 2:
        nearest_2(y, limits[0], book, codes, chosen)
    elif book.size <= 8:
        nearest_few(y, limits, book, codes, chosen)
    else:
        nearest_many(y, limits, book, codes, chosen)


@njit(cache=True, fastmath=False)
def storable(value):
    """Return a positive float64 as the float32 that is stored; at most the largest float32."""
    return np.float32(min(value, LARGEST_FLOAT))


@njit(cache=True, fastmath=False)
def nearest_block(y, total, power, scheme, scratch, codes):
    """Write the codes of a rotated block by its centroids; return its scale."""
    kind, middles = scheme.kind, scheme.middles
    chosen, limits = unowned_view(scratch.chosen)[: y.size], unowned_view(scratch.limits)[: middles.size]
    lanes, sums = scratch.lanes, scratch.sums
    growth = np.float64(y.size) ** scheme.num_rounds
    deviation = np.sqrt(total * growth / np.float64(y.size))
    for k in range(middles.size):
        limits[k] = np.float32(middles[k] * deviation)
    quantize_block(y, scheme.book, limits, codes, chosen)
    along = product_sum(y, chosen, lanes, sums)
    if kind == UNBIASED:
        return storable(total / along / power)
    length = squares(chosen, lanes, sums)
    if kind == MATCHED_NORM:
        return storable(np.sqrt(total / (length * growth)) / power)
    return storable(along / (length * growth) / power)


@njit(cache=True, fastmath=False)
def extremes(y, lows, highs):
    """Return the least and the largest of finite coordinates; lanes hold 32 float32 each."""
    y, lows, highs = unowned_view(y), unowned_view(lows), unowned_view(highs)
    lows[:] = y[0]
    highs[:] = y[0]
    rows = y.size // LANES
    for row in range(rows):
        part = y[row * LANES : (row + 1) * LANES]
        for lane in range(LANES):
            lows[lane] = part[lane] if part[lane] < lows[lane] else lows[lane]
            highs[lane] = part[lane] if part[lane] > highs[lane] else highs[lane]
    low, high = lows[0], highs[0]
    for lane in range(LANES):
        low, high = min(low, lows[lane]), max(high, highs[lane])
    for j in range(rows * LANES, y.size):
        low, high = min(low, y[j]), max(high, y[j])
    return np.float64(low), np.float64(high)


@njit(cache=True, fastmath=False)
def stored_step(low, high, most, growth, power):
    """Return the float32 distance of two levels as it is stored, rounded up: levels cover the block.

    `most` is 2^bits - 1. The offset is rounded to 1/1024 of a step, which the divisor makes up for, and is at
    most 4096 steps.
    """
    step = max((high - low) / (most - 1.0 / OFFSET_STEPS), max(abs(low), abs(high)) / 4096.0)
    step = step / growth / power
    return storable(max(step * (1.0 + 2.0**-22), step + 2.0**-149))


@njit(cache=True, fastmath=False)
def stochastic_block(y, power, rounds, bits, words, lows, highs, codes):
    """Write the codes of a rotated block by stochastic rounding; return (step, offset), float32."""
    growth, most = np.float64(y.size) ** rounds, (np.int64(1) << bits) - 1
    low, high = extremes(y, lows, highs)
    step = stored_step(low, high, np.float64(most), growth, power)
    inverse = 1.0 / (np.float64(step) * growth * power)
    bottom = np.int64(np.floor(low * inverse * OFFSET_STEPS))
    half, start = np.int64(1) << (bits - 1), bottom << 22
    inverse *= _TWO_32
    for j in range(y.size):
        fixed = np.int64(np.floor(np.float64(y[j]) * inverse)) - start
        level = (fixed >> _HALF) + np.int64(np.int64(words[j]) < (fixed & _FRACTION))
        codes[j] = np.int8(min(max(level, np.int64(0)), most) - half)
    return step, np.float32(np.float64(bottom + half * OFFSET_STEPS) / OFFSET_STEPS)


@njit(cache=True, fastmath=False)
def compress_block(x, place, scheme, streams, scratch, codes):
    """Compress a block whose first coordinate is number `place`; return (scale, offset), float32.

    The scale is 0 for a block of zeros, and NaN for one that is not finite; then codes are 0. The planes of
    signs are left as they are needed to decode the block.

    Parameters
    ----------
    x : float32, shape (r,)
    place : int
    scheme : RotationScheme
    streams : RotationStreams
    scratch : RotationScratch
    codes : int8, shape (e,)
    """
    rounds, planes = scheme.num_rounds, scratch.planes
    x, codes, y = unowned_view(x), unowned_view(codes), unowned_view(scratch.y)[: codes.size]
    open_signs(planes, place, codes.size, rounds, streams)
    total = squares(x, scratch.lanes, scratch.sums)
    scale, offset = np.float32(0.0), np.float32(0.0)
    if 0.0 < total < np.inf:  # a NaN compares false
        power = safe_power(np.sqrt(total))
        rotate(x, power, y, rounds, planes)
        total *= power
        total *= power
        if scheme.kind == STOCHASTIC:
            words, lows, highs = scratch.words, scratch.lows, scratch.highs
            group, skip = place // GROUP, place % GROUP
            fill_groups(words, group, skip + codes.size, key_of(streams, ROUNDING))
            scale, offset = stochastic_block(y, power, rounds, scheme.bits, words[skip:], lows, highs, codes)
        else:
            scale = nearest_block(y, total, power, scheme, scratch, codes)
    elif total != 0.0:
        scale, offset = np.float32(np.nan), np.float32(np.nan)
    if not scale > np.float32(0.0):
        codes[:] = 0
        offset = scale
    return scale, offset


@njit(cache=True, fastmath=False)
def decode_block(codes, scale, offset, rounds, table, planes, y):
    """Write the values of a block to `y`, shape (e,); `planes` hold its signs.

    `table` has the centroids of the codes from -2^(b-1) on; where it is empty, a code means
    offset + code.
    """
    codes, y, table = unowned_view(codes), unowned_view(y), unowned_view(table)
    if not scale > np.float32(0.0):
        y[:] = scale
        return
    if table.size:
        half = table.size >> 1
        for j in range(y.size):
            y[j] = table[np.uint64(half + np.int64(codes[j]))]
    else:
        for j in range(y.size):
            y[j] = offset + np.float32(codes[j])
    transform(y)
    for r in range(rounds - 1, 0, -1):
        flip_and_transform(y, planes[r], 0)
    flip(y, planes[0], 0)
    for j in range(y.size):
        y[j] *= scale

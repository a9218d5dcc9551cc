"""Quantize and dequantize where a row has 512 coordinates: at any place, for any s.

These take fewer instructions than ``cuda.quantize``, which takes all other rows and rounding without random
words, and give the same bits. Lane l takes coordinates l + 32 k of its row. Its
words are those of places l and l + 32, eight each, and none is thrown away. The tree of the norm has this
order, too, so that each coordinate is read once, and nothing has to be aligned.

``whole`` holds four int32 a row: where it begins (32 bits), tensor, group and the bucket of its first
coordinate; ``lefts`` how many of its coordinates are in that bucket (int32). ``keys`` are the twenty keys of
Philox, ``stream`` is (step, first tensor, first node, version), ``scheme`` that of ``cuda.quantize``.
"""

from __future__ import annotations

import math

import numpy as np
from numba import cuda

from qsgd_lab.kernels.constants import L2, SHARED_WORDS
from qsgd_lab.kernels.cuda.full_rows import INFINITE, MAGNITUDE, NOT_A_NUMBER, drawn, round_keys
from qsgd_lab.kernels.cuda.launch import current_launch_shape
from qsgd_lab.kernels.cuda.norms import ALL_LANES, PER_LANE
from qsgd_lab.kernels.cuda.ops import (
    add,
    and_,
    ashr,
    bits_of,
    float_of,
    largest,
    least,
    load,
    load_four,
    mul,
    permuted,
    real,
    shl,
    shr,
    store,
    sub,
    truncated,
    xor,
)
from qsgd_lab.kernels.fixed_point import bucket_factors, level_step, level_value, storable_norm

U32 = np.uint32
ROW = 512


@cuda.jit(device=True, cache=False, fastmath=False)
def first_row():
    """Return (lane, first row, distance of rows) of a warp, uint32."""
    warps = shr(U32(cuda.blockDim.x), U32(5))
    lane = and_(U32(cuda.threadIdx.x), U32(31))
    row = add(mul(U32(cuda.blockIdx.x), warps), shr(U32(cuda.threadIdx.x), U32(5)))
    return lane, row, mul(U32(cuda.gridDim.x), warps)


@cuda.jit(device=True, cache=False, fastmath=False)
def turned(word):
    """Return a uint32 rotated by 16 bits."""
    return permuted(word, word, U32(0x1032))


@cuda.jit(device=True, cache=False, fastmath=False)
def words_of_place(group, place, step, tensor, node, version, keys):
    """Return the words of coordinates `place` + 64 m, m = 0 to 7, of a group; `place` is below 64."""
    if version == SHARED_WORDS:  # the same for the whole grid
        c0, c1, c2, c3 = drawn(add(shl(U32(group), U32(6)), place), step, tensor, node, keys)
        return c0, c1, c2, c3, turned(c0), turned(c1), turned(c2), turned(c3)
    block = add(shl(U32(group), U32(7)), place)
    a0, a1, a2, a3 = drawn(block, step, tensor, node, keys)
    b0, b1, b2, b3 = drawn(add(block, U32(64)), step, tensor, node, keys)
    return a0, b0, a1, b1, a2, b2, a3, b3


@cuda.jit(device=True, cache=False, fastmath=False)
def load_lane(x, low, lane, values):
    """Load a lane's coordinates of a row, float32 or the bits of a half precision."""
    for k in range(PER_LANE):
        values[k] = real(load(x, low, add(lane, U32(32 * k))))


@cuda.jit(device=True, cache=False, fastmath=False)
def norm_of(values, kind):
    """Return the norm of a row to all lanes, by the CPU's tree; NaN where a coordinate is not finite."""
    if kind == L2:
        total = np.float64(0.0)
        for k in range(PER_LANE):
            value = np.float64(values[k])
            total += value * value
        for half in (16, 8, 4, 2, 1):
            total += np.float64(cuda.shfl_xor_sync(ALL_LANES, total, half))
        return np.float32(storable_norm(math.sqrt(total)))
    top = U32(0)  # magnitudes are ordered as their bits
    for k in range(PER_LANE):
        top = largest(top, and_(bits_of(values[k]), MAGNITUDE))
    for half in (16, 8, 4, 2, 1):
        top = largest(top, U32(cuda.shfl_xor_sync(ALL_LANES, np.int32(top), half)))
    return float_of(top if top < INFINITE else NOT_A_NUMBER)


@cuda.jit(device=True, cache=False, fastmath=False)
def level_of_word(x, factor, scale, cap, word, fraction):
    """Return the level (int32) of a coordinate; `cap` is s 2^F, or 0 where the bucket has no scale."""
    # Cut before the word is added: less than 2^F more than s 2^F is still level s. NaN is cut to the cap.
    magnitude = np.float32(np.float32(abs(x) * factor) * scale)
    fixed = add(U32(truncated(least(magnitude, cap))), shr(word, sub(U32(32), fraction)))
    sign = ashr(bits_of(x), U32(31))
    return np.int32(sub(xor(shr(fixed, fraction), sign), sign))


@cuda.jit(device=True, cache=False, fastmath=False)
def bucket_of(place, left, bucket, inverse_size):
    """Return the bucket (uint32) of a place of a row that has several, as ``cuda.quantize.bucket_at``."""
    beyond = np.int32(sub(place, U32(left)))
    behind = add(U32(truncated(np.float32((np.float32(beyond) + np.float32(0.5)) * inverse_size))), U32(1))
    return add(U32(bucket), behind if beyond >= 0 else U32(0))


@cuda.jit(device=True, cache=False, fastmath=False)
def put_levels(values, low, lane, drawn_for, factors, fraction, levels):
    """Store a lane's levels of a row whose coordinates have one bucket."""
    group, step, tensor, node, version, keys = drawn_for
    factor, scale, cap = factors
    for turn in range(2):
        words = words_of_place(group, add(lane, U32(32 * turn)), step, tensor, node, version, keys)
        for w in range(8):
            k = turn + 2 * w
            level = level_of_word(values[k], factor, scale, cap, words[w], fraction)
            store(levels, low, add(lane, U32(32 * k)), level)


@cuda.jit(cache=True, fastmath=False)
def quantize_whole_rows(x, whole, keys, stream, kind, scheme, levels, norms):
    """Write the norms and levels of rows that are buckets.

    Parameters
    ----------
    x : float32[n], or int16[n] or uint16[n] with the bits of float16 or bfloat16
    whole : int32[4 W]
    kind : 0 for l2, 1 for max
    levels : int8[n] or int16[n]
    norms : float32[B]
    """
    step, first_tensor, node, version = stream
    top, fraction, _ = scheme
    lane, row, stride = first_row()
    count = shr(U32(whole.size), U32(2))
    values = cuda.local.array(PER_LANE, np.float32)
    while row < count:
        begin, tensor, group, bucket = load_four(whole, np.int64(0), shl(row, U32(2)))
        low = np.int64(U32(begin))
        load_lane(x, low, lane, values)
        norm = norm_of(values, kind)
        if lane == 0:
            store(norms, np.int64(0), U32(bucket), norm)
        factor, scale = bucket_factors(norm, top)
        cap = top if scale != np.float32(0.0) else np.float32(0.0)
        drawn_for = group, step, add(first_tensor, U32(tensor)), node, version, keys
        put_levels(values, low, lane, drawn_for, (factor, scale, cap), fraction, levels)
        row = add(row, stride)


@cuda.jit(cache=True, fastmath=False)
def quantize_whole_rows_with_norms(
    x, whole, lefts, inverse_size, keys, stream, scheme, factors, scales, levels
):
    """Write the levels of rows whose buckets may be any.

    Parameters
    ----------
    x, whole, levels
        As in `quantize_whole_rows`.
    lefts : int32[W]
    inverse_size : float32
        1 / bucket size.
    factors, scales : float32[B]
        Of ``cuda.quantize.bucket_tables``.
    """
    step, first_tensor, node, version = stream
    top, fraction, _ = scheme
    lane, row, stride = first_row()
    count = U32(lefts.size)
    values = cuda.local.array(PER_LANE, np.float32)
    while row < count:
        begin, tensor, group, bucket = load_four(whole, np.int64(0), shl(row, U32(2)))
        low, left = np.int64(U32(begin)), load(lefts, np.int64(0), row)
        load_lane(x, low, lane, values)
        drawn_for = group, step, add(first_tensor, U32(tensor)), node, version, keys
        if left >= ROW:  # the whole warp
            factor = load(factors, np.int64(0), U32(bucket))
            scale = load(scales, np.int64(0), U32(bucket))
            cap = top if scale != np.float32(0.0) else np.float32(0.0)
            put_levels(values, low, lane, drawn_for, (factor, scale, cap), fraction, levels)
        else:
            for turn in range(2):
                place = add(lane, U32(32 * turn))
                words = words_of_place(group, place, step, drawn_for[2], node, version, keys)
                for w in range(8):
                    k = turn + 2 * w
                    place = add(lane, U32(32 * k))
                    own = bucket_of(place, left, bucket, inverse_size)
                    factor, scale = load(factors, np.int64(0), own), load(scales, np.int64(0), own)
                    cap = top if scale != np.float32(0.0) else np.float32(0.0)
                    level = level_of_word(values[k], factor, scale, cap, words[w], fraction)
                    store(levels, low, place, level)
        row = add(row, stride)


@cuda.jit(cache=True, fastmath=False)
def dequantize_whole_rows(levels, norms, whole, lefts, inverse_size, num_levels, steps, values):
    """Write the float32 values of levels; `steps` are read in rows of several buckets.

    Parameters
    ----------
    levels : int8[n] or int16[n]
    norms : float32[B]
    num_levels : uint32
    steps : float64[B]
    values : float32[n]
    """
    lane, row, stride = first_row()
    count = U32(lefts.size)
    decoded = cuda.local.array(PER_LANE, np.float32)
    while row < count:
        begin, _, _, bucket = load_four(whole, np.int64(0), shl(row, U32(2)))
        low, left = np.int64(U32(begin)), load(lefts, np.int64(0), row)
        if left >= ROW:
            distance = np.float64(level_step(load(norms, np.int64(0), U32(bucket)), num_levels))
            for k in range(PER_LANE):
                decoded[k] = level_value(load(levels, low, add(lane, U32(32 * k))), distance)
        else:
            for k in range(PER_LANE):
                place = add(lane, U32(32 * k))
                own = bucket_of(place, left, bucket, inverse_size)
                decoded[k] = level_value(load(levels, low, place), load(steps, np.int64(0), own))
        # All loads before the first store: the compiler may not move a load over a store.
        for k in range(PER_LANE):
            store(values, low, add(lane, U32(32 * k)), decoded[k])
        row = add(row, stride)


def launch_quantize_whole(context, tables, x, key, kind, scheme, levels, norms):
    """Quantize whole rows that are buckets; arguments as of ``cuda.quantize.launch_quantize``."""
    launch = (*current_launch_shape().grid(tables.whole_left.size), context.stream)
    keys, stream = round_keys(key[0], key[1]), tuple(key[2:])
    quantize_whole_rows[launch](x, tables.whole, keys, stream, kind, scheme, levels, norms)


def launch_quantize_whole_with_norms(context, tables, x, key, scheme, of_buckets, levels):
    """Quantize whole rows whose factors and scales are known."""
    launch = (*current_launch_shape().grid(tables.whole_left.size), context.stream)
    quantize_whole_rows_with_norms[launch](
        x,
        tables.whole,
        tables.whole_left,
        tables.rows[5],
        round_keys(key[0], key[1]),
        tuple(key[2:]),
        scheme,
        flat(of_buckets[0]),
        flat(of_buckets[1]),
        levels,
    )


def launch_dequantize_whole(context, tables, levels, norms, num_levels, steps, values):
    """Dequantize whole rows; arguments as of ``cuda.quantize.launch_dequantize``."""
    launch = (*current_launch_shape().grid(tables.whole_left.size), context.stream)
    dequantize_whole_rows[launch](
        levels,
        norms,
        tables.whole,
        tables.whole_left,
        tables.rows[5],
        np.uint32(num_levels),
        flat(steps),
        values,
    )


def flat(matrix):
    """Return a contiguous array as one row."""
    return matrix.reshape((matrix.size,))

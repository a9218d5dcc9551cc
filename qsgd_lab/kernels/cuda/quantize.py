"""Quantize and dequantize on the GPU: a warp a row of 512 coordinates, walking on by the size of the grid.

Every result depends on its row alone, so it is the same for every launch. Where a bucket is a row, the
gradient is read once: its norm is taken from the coordinates the threads already hold. Otherwise norms are
taken before. Nothing here is checked.

``rows`` is (offsets, tensor, group, bucket, left, inverse size) of `Rows`; ``stream`` is (stochastic, k0, k1,
step, first tensor, node, version); ``scheme`` is (s 2^F as float32, F as uint32, s as uint32); ``tables`` is
(factors, scales, steps) of `bucket_tables`.

Thread l takes coordinates l + 32 k of its row. Its words are those of places l and l + 32, eight each: in
version 1 of the stream by four Philox blocks, in version 2 by two, and none is shared or thrown away.

Where a bucket is a row, every thread works out its factors. Elsewhere they come from tables that
`bucket_tables` fills: a division for each coordinate would cost more than all the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import cuda

from qsgd_lab.kernels.constants import SHARED_WORDS
from qsgd_lab.kernels.cuda.launch import current_launch_shape
from qsgd_lab.kernels.cuda.norms import (
    LANES,
    PER_LANE,
    at,
    bounds_of,
    finished_norm,
    fold_warp,
    is_inside,
    lane_term,
    launch_norms,
    load_row,
)
from qsgd_lab.kernels.cuda.ops import real
from qsgd_lab.kernels.cuda.whole_rows import (
    launch_dequantize_whole,
    launch_quantize_whole,
    launch_quantize_whole_with_norms,
)
from qsgd_lab.kernels.fixed_point import (
    HALF_WORD,
    bucket_factors,
    fraction_bits,
    level_step,
    level_value,
    round_level,
)
from qsgd_lab.kernels.philox import SHARED_STRIDE, STRIDE, philox4x32_narrow, rotated

TURNS = SHARED_STRIDE // LANES  # how often a thread draws the words of a row
EIGHT = 8  # at a time
_HALF = np.float32(0.5)


class RowScheme(NamedTuple):
    """How coordinates are rounded: s 2^F as float32, F and s as uint32."""

    top: np.float32
    fraction: np.uint32
    num_levels: np.uint32


@cuda.jit(device=True, cache=False, fastmath=False)
def draw_block(stream, tensor, node, block):
    """Return the four words (uint32) of a Philox block (int64); the rest as of `draw_words`."""
    _, k0, k1, step, first_tensor, first_node, _ = stream
    own_tensor = np.uint32(np.int64(first_tensor) + np.int64(tensor))
    own_node = np.uint32(np.int64(first_node) + np.int64(node))
    # Below 2^32, since a tensor has at most 2^34 words.
    w0, w1, w2, w3 = philox4x32_narrow(np.uint32(block), step, own_tensor, own_node, k0, k1)
    return np.uint32(w0), np.uint32(w1), np.uint32(w2), np.uint32(w3)


@cuda.jit(device=True, cache=False, fastmath=False)
def draw_words(stream, tensor, node, group, place):
    """Return the words (uint32) of coordinates j + 64 m, m = 0 to 7, of a group, for j = `place` below 64.

    ``stream`` is (stochastic, k0, k1, step, first tensor, first node, version), all but the first uint32;
    `tensor` and `node` count from those.
    """
    stochastic, version = stream[0], stream[6]
    if not stochastic:  # the same for the whole grid, so that no warp diverges
        return HALF_WORD, HALF_WORD, HALF_WORD, HALF_WORD, HALF_WORD, HALF_WORD, HALF_WORD, HALF_WORD
    is_shared = version == SHARED_WORDS  # also the same for the whole grid
    stride = np.int64(SHARED_STRIDE) if is_shared else np.int64(STRIDE)
    block = np.int64(group) * stride + np.int64(place)
    a0, a1, a2, a3 = draw_block(stream, tensor, node, block)
    if is_shared:
        return a0, a1, a2, a3, rotated(a0), rotated(a1), rotated(a2), rotated(a3)
    b0, b1, b2, b3 = draw_block(stream, tensor, node, block + SHARED_STRIDE)
    return a0, b0, a1, b1, a2, b2, a3, b3


@cuda.jit(device=True, cache=False, fastmath=False)
def level_of(x, factors, word, scheme):
    """Return the level (int32) of a coordinate.

    Parameters
    ----------
    x : float32
    factors : (factor, scale) of its bucket
    word : uint32
    scheme
        Fields of `RowScheme`.
    """
    rule = RowScheme(*scheme)
    factor, scale = np.float32(factors[0]), np.float32(factors[1])
    level = np.int32(round_level(x, factor, scale, word, rule.fraction, rule.num_levels))
    return level if scale != np.float32(0.0) else np.int32(0)  # buckets of zeros, and of NaN, have no scale


@cuda.jit(device=True, cache=False, fastmath=False)
def bucket_at(i, row, rows):
    """Return the bucket of coordinate i of a row: a division of numbers below 512, made exact by the half."""
    _, _, _, buckets, lefts, inverse_size = rows
    beyond = np.int32(i) - lefts[row]  # a row's buckets are of one size, but for those at its ends
    if beyond < 0:
        return np.int64(buckets[row])
    return np.int64(buckets[row]) + 1 + np.int64((np.float32(beyond) + _HALF) * inverse_size)


@cuda.jit(cache=True, fastmath=False)
def bucket_tables(norms, top, num_levels, factors, scales, steps):
    """Write what rounding and decoding need of each bucket.

    Parameters
    ----------
    norms, factors, scales : float32[N, B]
    top : float32
        s 2^F.
    num_levels : uint32
    steps : float64[N, B]
    """
    buckets = norms.shape[1]
    for item in range(cuda.grid(1), norms.shape[0] * buckets, cuda.gridsize(1)):
        node, bucket = item // buckets, item % buckets
        factor, scale = bucket_factors(norms[node, bucket], top)
        factors[node, bucket] = factor
        scales[node, bucket] = scale
        steps[node, bucket] = level_step(norms[node, bucket], num_levels)


def scheme_of(num_levels):
    """Return the fields of `RowScheme` for s levels, as the kernels take them."""
    fraction = fraction_bits(num_levels)
    return np.float32(num_levels * 2.0**fraction), np.uint32(fraction), np.uint32(num_levels)


def launch_bucket_tables(context, norms, scheme):
    """Return (factors, scales, steps) of norms, a Numba float32[N, B]."""
    factors = context.scratch(norms.shape, np.float32)
    scales = context.scratch(norms.shape, np.float32)
    steps = context.scratch(norms.shape, np.float64)
    launch = (*current_launch_shape().grid(-(-norms.size // LANES)), context.stream)
    bucket_tables[launch](norms, scheme[0], scheme[2], factors, scales, steps)
    return factors, scales, steps


@cuda.jit(cache=True, fastmath=False)
def quantize_rows(x, rows, chosen, stream, scheme, kind, levels, norms):
    """Write the norms and levels of some rows, a bucket being a row.

    Parameters
    ----------
    x : float32[n], or int16[n] or uint16[n] with the bits of float16 or bfloat16
    chosen : int32
        The numbers of the rows.
    kind : 0 for l2, 1 for max
    levels : int8[n] or int16[n]
    norms : float32[B]
    """
    offsets, tensors, groups = rows[0], rows[1], rows[2]
    lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    warps = cuda.blockDim.x // LANES
    values = cuda.local.array(PER_LANE, np.float32)
    for first in range(cuda.blockIdx.x * warps, chosen.size, cuda.gridDim.x * warps):
        is_own = first + warp < chosen.size
        row = chosen[first + warp] if is_own else chosen[first]  # a spare warp takes another's, empty
        low, high, size = bounds_of(offsets, row, is_own)
        tensor, group = tensors[row], groups[row]
        load_row(x[low:high], size, lane, values)
        norm = finished_norm(fold_warp(lane_term(values, kind), kind), kind)
        if lane == 0 and size > 0:
            norms[row] = norm
        factors = bucket_factors(norm, scheme[0])  # in every thread: sharing them would take a barrier
        part = levels[low:high]
        for turn in range(TURNS):
            words = draw_words(stream, tensor, 0, group, at(lane, turn))
            for w in range(EIGHT):
                k = turn + TURNS * w
                level = level_of(values[k], factors, words[w], scheme)
                if is_inside(lane, k, size):  # only stores are guarded: what is beyond was loaded as 0
                    part[at(lane, k)] = level


@cuda.jit(cache=True, fastmath=False)
def quantize_rows_with_norms(x, rows, chosen, stream, scheme, tables, levels):
    """Write the levels of some rows whose buckets may be any; arrays as in `quantize_rows`."""
    offsets, tensors, groups = rows[0], rows[1], rows[2]
    lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    warps = cuda.blockDim.x // LANES
    for item in range(cuda.blockIdx.x * warps + warp, chosen.size, cuda.gridDim.x * warps):
        row = chosen[item]
        low, high, size = bounds_of(offsets, row, True)
        tensor, group = tensors[row], groups[row]
        part, part_x = levels[low:high], x[low:high]
        # No shuffles here, so that a warp may leave lanes idle at the end of a short row.
        for place in range(lane, np.int64(size if size < SHARED_STRIDE else SHARED_STRIDE), LANES):
            words = draw_words(stream, tensor, 0, group, place)
            for w in range(EIGHT):
                i = at(place, TURNS * w)
                if is_inside(place, TURNS * w, size):
                    bucket = bucket_at(i, row, rows)
                    factors = tables[0][0, bucket], tables[1][0, bucket]
                    part[i] = level_of(real(part_x[i]), factors, words[w], scheme)


@cuda.jit(cache=True, fastmath=False)
def dequantize_rows(levels, norms, rows, chosen, num_levels, is_bucket_a_row, steps, values):
    """Write the float32 values of some rows; `steps`, of shape (1, B), is read unless a bucket is a row."""
    offsets = rows[0]
    lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    warps = cuda.blockDim.x // LANES
    for item in range(cuda.blockIdx.x * warps + warp, chosen.size, cuda.gridDim.x * warps):
        row = chosen[item]
        low, high, size = bounds_of(offsets, row, True)
        part, part_levels = values[low:high], levels[low:high]
        step = np.float64(level_step(norms[row], num_levels)) if is_bucket_a_row else np.float64(0.0)
        for k in range(PER_LANE):
            i = at(lane, k)
            if is_inside(lane, k, size):
                if not is_bucket_a_row:  # else one step, worked out above, does for the row
                    step = steps[0, bucket_at(i, row, rows)]
                part[i] = level_value(part_levels[i], step)


def launch_quantize(context, tables, x, key, kind, stochastic, num_levels, levels, norms):
    """Quantize: a launch for whole rows and one for the rest, and where a bucket is no row, for the norms.

    Parameters
    ----------
    context : DeviceContext
    tables : RowTables
    x : Numba float32[n], int16[n] or uint16[n]
    key : (k0, k1, step, tensor, node, version), each uint32
    kind : 0 for l2, 1 for max
    stochastic : bool
    num_levels : int
    levels : Numba int8[n] or int16[n]
    norms : Numba float32[B]
    """
    if x.size == 0:
        return
    scheme, stream = scheme_of(num_levels), (stochastic, *key)
    with context.active():
        is_fast = stochastic and tables.whole_left.size > 0
        chosen = tables.rest if is_fast else tables.all_rows
        launch = (*current_launch_shape().grid(chosen.size), context.stream)
        if tables.is_bucket_a_row:
            if is_fast:
                launch_quantize_whole(context, tables, x, key, kind, scheme, levels, norms)
            if chosen.size:
                quantize_rows[launch](x, tables.rows, chosen, stream, scheme, kind, levels, norms)
            return
        of_buckets = launch_norm_tables(context, tables, x, kind, scheme, norms)
        if is_fast:
            launch_quantize_whole_with_norms(context, tables, x, key, scheme, of_buckets, levels)
        if chosen.size:
            quantize_rows_with_norms[launch](x, tables.rows, chosen, stream, scheme, of_buckets, levels)


def launch_norm_tables(context, tables, x, kind, scheme, norms):
    """Write the norms of a gradient, and return the tables of its buckets."""
    row, norm_row = x.reshape((1, x.size)), norms.reshape((1, norms.size))
    launch_norms(context, tables, row, row, False, kind, norm_row)
    return launch_bucket_tables(context, norm_row, scheme)


def launch_dequantize(context, tables, levels, norms, num_levels, values):
    """Dequantize: a launch for whole rows and one for the rest, and where a bucket is no row, for the steps.

    Arrays as in `launch_quantize`; `values` is a Numba float32[n].
    """
    if levels.size == 0:
        return
    with context.active():
        steps = launch_steps(context, tables, norms, num_levels)
        if tables.whole_left.size:
            launch_dequantize_whole(context, tables, levels, norms, num_levels, steps, values)
        if tables.rest.size:
            launch = (*current_launch_shape().grid(tables.rest.size), context.stream)
            scheme = np.uint32(num_levels), tables.is_bucket_a_row
            dequantize_rows[launch](levels, norms, tables.rows, tables.rest, *scheme, steps, values)


def launch_steps(context, tables, norms, num_levels):
    """Return the steps of the buckets, float64[1, B], or a placeholder where a bucket is a row."""
    if tables.is_bucket_a_row:
        return context.scratch((1, 1), np.float64)  # kernels take an array of this rank in any case
    return launch_bucket_tables(context, norms.reshape((1, norms.size)), scheme_of(num_levels))[2]

"""Quantize and dequantize on the GPU: a warp a row of 512 coordinates, walking on by the size of the grid.

Every result depends on its row alone, so it is the same for every launch. Where a bucket is a row, the
gradient is read once: its norm is taken from the coordinates the threads already hold. Otherwise norms are
taken before. Nothing here is checked.

``rows`` is (offsets, tensor, group, bucket, left, inverse size) of `Rows`; ``stream`` is (stochastic, k0, k1,
step, first tensor, node); ``scheme`` is (s 2^F as float32, F as uint32, s as uint32); ``tables`` is (factors,
scales, steps) of `bucket_tables`.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from qsgd_lab.kernels.fixed_point import bucket_factors, level_step, level_value
from qsgd_lab.kernels.launch_shape import current_launch_shape
from qsgd_lab.kernels.norms_cuda import (
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
from qsgd_lab.kernels.philox import STRIDE
from qsgd_lab.kernels.round_cuda import (
    QUARTERS,
    bucket_at,
    draw_words,
    launch_bucket_tables,
    level_of,
    scheme_of,
)


@cuda.jit(cache=True, fastmath=False)
def quantize_rows(x, rows, stream, scheme, kind, levels, norms):
    """Write the norms and levels of n coordinates, a bucket being a row.

    Parameters
    ----------
    x : float32[n]
    kind : 0 for l2, 1 for max
    levels : int8[n] or int16[n]
    norms : float32[B]
    """
    offsets, tensors, groups = rows[0], rows[1], rows[2]
    lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    warps = cuda.blockDim.x // LANES
    values = cuda.local.array(PER_LANE, np.float32)
    for first in range(cuda.blockIdx.x * warps, tensors.size, cuda.gridDim.x * warps):
        row = first + warp if first + warp < tensors.size else first
        low, high, size = bounds_of(offsets, row, row == first + warp)
        tensor, group = tensors[row], groups[row]
        load_row(x[low:high], size, lane, values)
        norm = finished_norm(fold_warp(lane_term(values, kind), kind), kind)
        if lane == 0 and size > 0:
            norms[row] = norm
        factors = bucket_factors(norm, scheme[0])
        part = levels[low:high]
        for quarter in range(QUARTERS):
            words = draw_words(stream, tensor, 0, group, at(lane, quarter))
            for w in range(4):
                k = quarter + QUARTERS * w
                level = level_of(values[k], factors, words[w], scheme)
                if is_inside(lane, k, size):
                    part[at(lane, k)] = level


@cuda.jit(cache=True, fastmath=False)
def quantize_rows_with_norms(x, rows, stream, scheme, tables, levels):
    """Write the levels of n coordinates whose buckets may be any; arrays as in `quantize_rows`."""
    offsets, tensors, groups = rows[0], rows[1], rows[2]
    lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    warps = cuda.blockDim.x // LANES
    for row in range(cuda.blockIdx.x * warps + warp, tensors.size, cuda.gridDim.x * warps):
        low, high, size = bounds_of(offsets, row, True)
        tensor, group = tensors[row], groups[row]
        part, part_x = levels[low:high], x[low:high]
        for place in range(lane, np.int64(size if size < STRIDE else STRIDE), LANES):
            words = draw_words(stream, tensor, 0, group, place)
            for w in range(4):
                i = at(place, QUARTERS * w)
                if is_inside(place, QUARTERS * w, size):
                    bucket = bucket_at(i, row, rows)
                    factors = tables[0][0, bucket], tables[1][0, bucket]
                    part[i] = level_of(part_x[i], factors, words[w], scheme)


@cuda.jit(cache=True, fastmath=False)
def dequantize_rows(levels, norms, rows, num_levels, is_bucket_a_row, steps, values):
    """Write the float32 values of n levels; `steps`, of shape (1, B), is read unless a bucket is a row."""
    offsets, tensors = rows[0], rows[1]
    lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    warps = cuda.blockDim.x // LANES
    for row in range(cuda.blockIdx.x * warps + warp, tensors.size, cuda.gridDim.x * warps):
        low, high, size = bounds_of(offsets, row, True)
        part, part_levels = values[low:high], levels[low:high]
        step = np.float64(level_step(norms[row], num_levels)) if is_bucket_a_row else np.float64(0.0)
        for k in range(PER_LANE):
            i = at(lane, k)
            if is_inside(lane, k, size):
                if not is_bucket_a_row:
                    step = steps[0, bucket_at(i, row, rows)]
                part[i] = level_value(part_levels[i], step)


def launch_quantize(home, tables, x, key, kind, stochastic, num_levels, levels, norms):
    """Quantize: one launch where a bucket is a row, else as many more as the norms take.

    Parameters
    ----------
    home : Home
    tables : RowTables
    x : Numba float32[n]
    key : (k0, k1, step, tensor, node), each uint32
    kind : 0 for l2, 1 for max
    stochastic : bool
    num_levels : int
    levels : Numba int8[n] or int16[n]
    norms : Numba float32[B]
    """
    if x.size == 0:
        return
    scheme, stream = scheme_of(num_levels), (stochastic, *key)
    with home.active():
        launch = (*current_launch_shape().grid(tables.num_rows), home.stream)
        if tables.is_bucket_a_row:
            quantize_rows[launch](x, tables.rows, stream, scheme, kind, levels, norms)
        else:
            of_buckets = launch_norm_tables(home, tables, x, kind, scheme, norms)
            quantize_rows_with_norms[launch](x, tables.rows, stream, scheme, of_buckets, levels)


def launch_norm_tables(home, tables, x, kind, scheme, norms):
    """Write the norms of a gradient, and return the tables of its buckets."""
    row, norm_row = x.reshape((1, x.size)), norms.reshape((1, norms.size))
    launch_norms(home, tables, row, row, False, kind, norm_row)
    return launch_bucket_tables(home, norm_row, scheme)


def launch_dequantize(home, tables, levels, norms, num_levels, values):
    """Dequantize: one launch where a bucket is a row, else two.

    Arrays as in `launch_quantize`; `values` is a Numba float32[n].
    """
    if levels.size == 0:
        return
    with home.active():
        steps = launch_steps(home, tables, norms, num_levels)
        launch = (*current_launch_shape().grid(tables.num_rows), home.stream)
        dequantize_rows[launch](
            levels, norms, tables.rows, np.uint32(num_levels), tables.is_bucket_a_row, steps, values
        )


def launch_steps(home, tables, norms, num_levels):
    """Return the steps of the buckets, float64[1, B], or a placeholder where a bucket is a row."""
    if tables.is_bucket_a_row:
        return home.scratch((1, 1), np.float64)
    return launch_bucket_tables(home, norms.reshape((1, norms.size)), scheme_of(num_levels))[2]

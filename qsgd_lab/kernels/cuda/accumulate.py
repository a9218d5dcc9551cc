"""The sum that a receiver would add, without messages, on the GPU: quantize, decode and add in one pass.

A warp takes a row of the sum and goes through the nodes in turn, so that every coordinate's float32 additions
are the CPU's, in its order. Levels are written out once, for ``cuda.message_cost`` to measure.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from qsgd_lab.kernels.cuda.launch import HEAVY, current_launch_shape
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
    load_sum,
)
from qsgd_lab.kernels.cuda.quantize import (
    EIGHT,
    TURNS,
    bucket_at,
    draw_words,
    launch_bucket_tables,
    level_of,
    scheme_of,
)
from qsgd_lab.kernels.cuda.whole_rows_mean import (
    launch_accumulate_whole,
    launch_accumulate_whole_with_norms,
)
from qsgd_lab.kernels.fixed_point import bucket_factors, level_step, level_value
from qsgd_lab.kernels.philox import SHARED_STRIDE


@cuda.jit(cache=True, fastmath=False)
def accumulate_rows(
    gradients, residuals, keep, add, rows, chosen, stream, scheme, kind, nodes, average, total, levels
):
    """Add to `total` what a receiver decodes of every node's gradient of some rows, a bucket being a row.

    Parameters
    ----------
    gradients, residuals : float32[N, n]
    keep, add : bool
        With `keep` residuals are sent, and what was not sent is left there; with `add`, gradient + residual.
    rows, chosen, stream, scheme, kind : as in ``cuda.quantize``
    nodes : int
        N.
    average : bool
        Write the mean over the nodes, whatever `total` held.
    total : float32[n]
    levels : int8[N, n] or int16[N, n]
        Overwritten.
    """
    offsets, tensors, groups = rows[0], rows[1], rows[2]
    lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    warps = cuda.blockDim.x // LANES
    values = cuda.local.array(PER_LANE, np.float32)
    sums = cuda.local.array(PER_LANE, np.float32)
    divisor = np.float32(nodes) if average else np.float32(1.0)
    for first in range(cuda.blockIdx.x * warps, chosen.size, cuda.gridDim.x * warps):
        is_own = first + warp < chosen.size
        row = chosen[first + warp] if is_own else chosen[first]
        low, high, size = bounds_of(offsets, row, is_own)
        tensor, group = tensors[row], groups[row]
        part = total[low:high]
        load_row(part, np.uint32(0) if average else size, lane, sums)  # a mean begins at 0
        for node in range(nodes):  # in this order, on which a float32 sum depends
            residual, part_levels = residuals[node, low:high], levels[node, low:high]
            if add:
                load_sum(residual, gradients[node, low:high], size, lane, values)
            elif keep:
                load_row(residual, size, lane, values)
            else:
                load_row(gradients[node, low:high], size, lane, values)
            norm = finished_norm(fold_warp(lane_term(values, kind), kind), kind)
            factors = bucket_factors(norm, scheme[0])
            step = np.float64(level_step(norm, scheme[2]))
            for turn in range(TURNS):
                words = draw_words(stream, tensor, node, group, at(lane, turn))
                for w in range(EIGHT):
                    k = turn + TURNS * w
                    level = level_of(values[k], factors, words[w], scheme)
                    value = np.float32(level_value(level, step))
                    sums[k] = np.float32(sums[k] + value)  # no product is added, so nothing is contracted
                    if is_inside(lane, k, size):
                        if keep:
                            residual[at(lane, k)] = np.float32(values[k] - value)
                        part_levels[at(lane, k)] = level
        for k in range(PER_LANE):
            if is_inside(lane, k, size):
                part[at(lane, k)] = np.float32(sums[k] / divisor)


@cuda.jit(cache=True, fastmath=False)
def accumulate_rows_with_norms(sent, keep, rows, chosen, stream, scheme, tables, average, total, levels):
    """Add what a receiver decodes, or write the mean, for buckets of any size, whose tables are known.

    Parameters
    ----------
    sent : float32[N, n]
        Gradients or residuals; with `keep`, what was not sent is left there.
    tables : (float32[N, B], float32[N, B], float64[N, B])
        Factors, scales and steps of the buckets.
    """
    offsets, tensors, groups = rows[0], rows[1], rows[2]
    lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    warps = cuda.blockDim.x // LANES
    sums = cuda.local.array(EIGHT, np.float32)  # of the coordinates whose words are drawn at once
    nodes = sent.shape[0]
    divisor = np.float32(nodes) if average else np.float32(1.0)
    for item in range(cuda.blockIdx.x * warps + warp, chosen.size, cuda.gridDim.x * warps):
        row = chosen[item]
        low, high, size = bounds_of(offsets, row, True)
        tensor, group = tensors[row], groups[row]
        part = total[low:high]
        for place in range(lane, np.int64(size if size < SHARED_STRIDE else SHARED_STRIDE), LANES):
            for w in range(EIGHT):
                i = at(place, TURNS * w)
                is_read = not average and is_inside(place, TURNS * w, size)
                sums[w] = part[i] if is_read else np.float32(0.0)
            for node in range(nodes):
                words = draw_words(stream, tensor, node, group, place)
                x, part_levels = sent[node, low:high], levels[node, low:high]
                for w in range(EIGHT):
                    i = at(place, TURNS * w)
                    if is_inside(place, TURNS * w, size):
                        bucket = bucket_at(i, row, rows)
                        factors = tables[0][node, bucket], tables[1][node, bucket]
                        level = level_of(x[i], factors, words[w], scheme)
                        value = np.float32(level_value(level, tables[2][node, bucket]))
                        sums[w] = np.float32(sums[w] + value)
                        if keep:
                            x[i] = np.float32(x[i] - value)
                        part_levels[i] = level
            for w in range(EIGHT):
                i = at(place, TURNS * w)
                if is_inside(place, TURNS * w, size):
                    part[i] = np.float32(sums[w] / divisor)


def launch_accumulate(
    context, tables, gradients, residuals, key, kind, stochastic, num_levels, average, total, levels
):
    """Accumulate: a launch for whole rows and one for the rest, and where a bucket is no row, for the norms.

    Parameters
    ----------
    context : DeviceContext
    tables : RowTables
    gradients, residuals : Numba float32[N, n] or None
        At least one; gradient + residual is sent where both are given.
    key : (k0, k1, step, first tensor, first node, version), each uint32
    kind : 0 for l2, 1 for max
    stochastic, average : bool
    num_levels : int
    total : Numba float32[n]
    levels : Numba int8[N, n] or int16[N, n]
    """
    if total.size == 0:
        return
    scheme, stream = scheme_of(num_levels), (stochastic, *key)
    keep = residuals is not None
    add = keep and gradients is not None
    sent = residuals if keep else gradients
    addend = gradients if add else sent  # not read without `add`, but every kernel takes an array
    is_fast = stochastic and tables.whole_left.size > 0
    chosen = tables.rest if is_fast else tables.all_rows
    ends = average, total, levels
    with context.active():
        launch = (*current_launch_shape().grid(chosen.size, HEAVY), context.stream)
        if tables.is_bucket_a_row:
            if is_fast:
                launch_accumulate_whole(context, tables, addend, sent, (keep, add), key, kind, scheme, *ends)
            if chosen.size:
                arrays = addend, sent, keep, add, tables.rows, chosen
                accumulate_rows[launch](*arrays, stream, scheme, kind, sent.shape[0], *ends)
            return
        # Norms first, in a pass of their own, which also adds the gradients to the residuals.
        norms = context.scratch((sent.shape[0], tables.num_buckets), np.float32)
        launch_norms(context, tables, sent, addend, add, kind, norms)
        of_buckets = launch_bucket_tables(context, norms, scheme)
        if is_fast:
            launch_accumulate_whole_with_norms(context, tables, sent, keep, key, scheme, of_buckets, *ends)
        if chosen.size:
            accumulate_rows_with_norms[launch](
                sent, keep, tables.rows, chosen, stream, scheme, of_buckets, *ends
            )

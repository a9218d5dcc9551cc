"""Quantize the gradients of all nodes, decode and add in one pass, where a row has 512 coordinates.

Rows and lanes are those of ``cuda.whole_rows``; ``cuda.accumulate`` takes all other rows.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from qsgd_lab.kernels.cuda.full_rows import round_keys
from qsgd_lab.kernels.cuda.launch import HEAVY, current_launch_shape
from qsgd_lab.kernels.cuda.norms import PER_LANE
from qsgd_lab.kernels.cuda.ops import add, load, load_four, real, shl, shr, store
from qsgd_lab.kernels.cuda.whole_rows import (
    ROW,
    bucket_of,
    first_row,
    flat,
    level_of_word,
    load_lane,
    norm_of,
    words_of_place,
)
from qsgd_lab.kernels.fixed_point import bucket_factors, level_step, level_value

U32 = np.uint32


@cuda.jit(device=True, cache=False, fastmath=False)
def shared(total, nodes, share):
    """Return a sum times `share`, or if that is 0, over the number of nodes."""
    if share != np.float32(0.0):  # the whole grid: a power of two, with which both are the same
        return np.float32(total * share)
    return np.float32(total / np.float32(nodes))


@cuda.jit(cache=True, fastmath=False)
def accumulate_whole_rows(
    gradients, residuals, keep, join, whole, keys, stream, kind, scheme, nodes, average, share, total, levels
):
    """Add to `total` what a receiver decodes of every node's gradient, of rows that are buckets.

    Parameters
    ----------
    gradients, residuals : float32[N n]
        A node's after another's.
    keep, join : bool
        With `keep` residuals are sent, and what was not sent is left there; with `join`, gradient + residual.
    nodes : uint32
        N.
    average : bool
        Write the mean over the nodes, whatever `total` held.
    share : float32
        Of `shared`: 1, for a mean 1 / N if that is a power of two, else 0.
    total : float32[n]
    levels : int8[N n] or int16[N n]
        Overwritten.
    """
    step, first_tensor, first_node, version = stream
    top, fraction, num_levels = scheme
    lane, row, stride = first_row()
    count = shr(U32(whole.size), U32(2))
    values = cuda.local.array(PER_LANE, np.float32)
    sums = cuda.local.array(PER_LANE, np.float32)
    while row < count:
        begin, tensor, group, _ = load_four(whole, np.int64(0), shl(row, U32(2)))
        low = np.int64(U32(begin))
        for k in range(PER_LANE):
            sums[k] = np.float32(0.0) if average else load(total, low, add(lane, U32(32 * k)))
        own_tensor = add(first_tensor, U32(tensor))
        here, node = low, U32(0)
        while node < nodes:  # in this order, on which a float32 sum depends
            if join:
                for k in range(PER_LANE):
                    place = add(lane, U32(32 * k))
                    values[k] = np.float32(load(residuals, here, place) + load(gradients, here, place))
            elif keep:
                load_lane(residuals, here, lane, values)
            else:
                load_lane(gradients, here, lane, values)
            norm = norm_of(values, kind)
            factor, scale = bucket_factors(norm, top)
            cap = top if scale != np.float32(0.0) else np.float32(0.0)
            distance = np.float64(level_step(norm, num_levels))
            own_node = add(first_node, node)
            for turn in range(2):
                place = add(lane, U32(32 * turn))
                words = words_of_place(group, place, step, own_tensor, own_node, version, keys)
                for w in range(8):
                    k = turn + 2 * w
                    level = level_of_word(values[k], factor, scale, cap, words[w], fraction)
                    value = np.float32(level_value(level, distance))
                    sums[k] = np.float32(sums[k] + value)  # no product is added, so nothing is contracted
                    place = add(lane, U32(32 * k))
                    if keep:
                        store(residuals, here, place, np.float32(values[k] - value))
                    store(levels, here, place, level)
            here += np.int64(total.size)
            node = add(node, U32(1))
        for k in range(PER_LANE):
            store(total, low, add(lane, U32(32 * k)), shared(sums[k], nodes, share))
        row = add(row, stride)


@cuda.jit(cache=True, fastmath=False)
def accumulate_whole_rows_with_norms(
    sent,
    keep,
    whole,
    lefts,
    inverse_size,
    keys,
    stream,
    scheme,
    tables,
    buckets,
    nodes,
    average,
    share,
    total,
    levels,
):
    """Add what a receiver decodes, or write the mean, for buckets of any size, whose tables are known.

    Parameters
    ----------
    sent : float32[N n]
        Gradients or residuals; with `keep`, what was not sent is left there.
    tables : (float32[N B], float32[N B], float64[N B])
        Factors, scales and steps of the buckets.
    buckets : uint32
        B.
    """
    step, first_tensor, first_node, version = stream
    top, fraction, _ = scheme
    factors, scales, steps = tables
    lane, row, stride = first_row()
    sums = cuda.local.array(8, np.float32)
    # Half a lane's coordinates after the other, in two turns for each row: no norm is taken of all.
    turn, count = U32(0), U32(lefts.size)
    while row < count:
        begin, tensor, group, bucket = load_four(whole, np.int64(0), shl(row, U32(2)))
        left, own_tensor = load(lefts, np.int64(0), row), add(first_tensor, U32(tensor))
        first = add(lane, shl(turn, U32(5)))
        here, there, node = np.int64(U32(begin)), np.int64(0), U32(0)
        low = here
        for w in range(8):
            sums[w] = np.float32(0.0) if average else load(total, low, add(first, U32(64 * w)))
        while node < nodes:
            factor, scale = load(factors, there, U32(bucket)), load(scales, there, U32(bucket))
            distance = load(steps, there, U32(bucket))
            words = words_of_place(group, first, step, own_tensor, add(first_node, node), version, keys)
            for w in range(8):
                place = add(first, U32(64 * w))
                x = real(load(sent, here, place))
                if left < ROW:  # the whole warp
                    own = bucket_of(place, left, bucket, inverse_size)
                    factor, scale = load(factors, there, own), load(scales, there, own)
                    distance = load(steps, there, own)
                cap = top if scale != np.float32(0.0) else np.float32(0.0)
                level = level_of_word(x, factor, scale, cap, words[w], fraction)
                value = np.float32(level_value(level, distance))
                sums[w] = np.float32(sums[w] + value)
                if keep:
                    store(sent, here, place, np.float32(x - value))
                store(levels, here, place, level)
            here += np.int64(total.size)
            there += np.int64(buckets)
            node = add(node, U32(1))
        for w in range(8):
            store(total, low, add(first, U32(64 * w)), shared(sums[w], nodes, share))
        if turn == U32(0):
            turn = U32(1)
        else:
            turn, row = U32(0), add(row, stride)


def launch_accumulate_whole(context, tables, addend, sent, flags, key, kind, scheme, average, total, levels):
    """Average whole rows that are buckets; ``flags`` is (keep, join) of `accumulate_whole_rows`."""
    launch = (*current_launch_shape().grid(tables.whole_left.size, HEAVY), context.stream)
    accumulate_whole_rows[launch](
        flat(addend),
        flat(sent),
        *flags,
        tables.whole,
        round_keys(key[0], key[1]),
        tuple(key[2:]),
        kind,
        scheme,
        np.uint32(sent.shape[0]),
        average,
        share_of(sent.shape[0], average),
        total,
        flat(levels),
    )


def launch_accumulate_whole_with_norms(
    context, tables, sent, keep, key, scheme, of_buckets, average, total, levels
):
    """Average whole rows whose factors, scales and steps are known."""
    launch = (*current_launch_shape().grid(tables.whole_left.size, HEAVY), context.stream)
    accumulate_whole_rows_with_norms[launch](
        flat(sent),
        keep,
        tables.whole,
        tables.whole_left,
        tables.rows[5],
        round_keys(key[0], key[1]),
        tuple(key[2:]),
        scheme,
        tuple(flat(table) for table in of_buckets),
        np.uint32(tables.num_buckets),
        np.uint32(sent.shape[0]),
        average,
        share_of(sent.shape[0], average),
        total,
        flat(levels),
    )


def share_of(nodes, average):
    """Return the float32 that sums are multiplied by, or 0 where they must be divided."""
    if not average:
        return np.float32(1.0)
    return np.float32(1.0 / nodes if nodes & (nodes - 1) == 0 else 0.0)

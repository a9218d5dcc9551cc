"""What a receiver would add, without a message: quantize, decode, add and count in one pass on the CPU.

Training needs of a node's gradient only its decoded values, the bits they would have cost and, with error
feedback, what was not sent. All three come out of one pass over cache-sized pieces; levels never leave the
cache.

Shapes as in ``quantize_cpu``. ``class_counts`` is int64: entry j counts the coordinates with |level| + 1 >=
2^j, j = 0, 1, ..., which decides every Elias length (they depend on floor(log2) alone).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from qsgd_lab.kernels.fixed_point import HALF_WORD, bucket_factors, level_step, level_value, round_level
from qsgd_lab.kernels.norms_cpu import BLOCK, LANES, add_and_norm, bucket_norm
from qsgd_lab.kernels.philox import GROUP, fill_group
from qsgd_lab.kernels.quantize_cpu import longest_bucket, segment_end


@njit(cache=True, fastmath=False)
def round_segment(x, words, factors, fraction, num_levels, levels):
    """Write the levels (int32) of coordinates that share a bucket and a group."""
    factor, scale = factors
    for i in range(x.size):
        levels[i] = round_level(x[i], factor, scale, words[i], fraction, num_levels)


@njit(cache=True, fastmath=False)
def count_classes(levels, class_counts):
    """Add to entry j the number of levels with |level| + 1 >= 2^j."""
    class_counts[0] += levels.size
    for j in range(1, class_counts.size):
        threshold = np.int32((1 << j) - 1)
        count = np.int32(0)
        for i in range(levels.size):
            count = np.int32(count + np.int32(abs(levels[i]) >= threshold))
        if count == 0:  # nor does any reach a higher one; most segments of a gradient end here early
            break
        class_counts[j] += count


@njit(cache=True, fastmath=False)
def deliver_segment(levels, step, total):
    """Add the values of levels to the receiver's total."""
    for i in range(levels.size):
        total[i] += level_value(levels[i], step)


@njit(cache=True, fastmath=False)
def deliver_and_keep_segment(levels, step, total, residual):
    """Add the values of levels to the total and leave in `residual` what they miss of it."""
    for i in range(levels.size):
        value = level_value(levels[i], step)
        total[i] += value
        residual[i] -= value


@njit(cache=True, fastmath=False, nogil=True)
def accumulate_all(
    gradient,
    residual,
    bucket_offsets,
    tensor_offsets,
    key,
    kind,
    stochastic,
    num_levels,
    fraction,
    total,
    class_counts,
    norms,
):
    """Add to `total` what a receiver decodes of the gradient, or of gradient + residual.

    A residual has n coordinates, or 0 if there is none; it takes part in what is sent and is left holding
    what was not.
    """
    with_residual = residual.size > 0
    x = residual if with_residual else gradient
    x_bits = x.view(np.int32)
    k0, k1, step, first_tensor, node = key
    lanes = np.empty(LANES, np.float64)
    sums = np.empty(longest_bucket(bucket_offsets) // BLOCK + 1, np.float64)
    words = np.full(GROUP, HALF_WORD, np.uint32)
    levels = np.empty(GROUP, np.int32)
    top = np.float32(np.float64(num_levels) * 2.0 ** np.float64(fraction))
    bucket = -1
    factors = (np.float32(0.0), np.float32(0.0))
    value_step = 0.0
    for tensor in range(tensor_offsets.size - 1):
        stream = (k0, k1, step, np.uint32(first_tensor + np.uint32(tensor)), node)
        start, stop = tensor_offsets[tensor], tensor_offsets[tensor + 1]
        for group in range((stop - start + GROUP - 1) // GROUP):
            first = start + group * GROUP
            last = min(stop, first + GROUP)
            if stochastic:
                fill_group(words, group, last - first, stream)
            position = first
            while position < last:
                while bucket < 0 or position >= bucket_offsets[bucket + 1]:
                    bucket += 1
                    low, high = bucket_offsets[bucket], bucket_offsets[bucket + 1]
                    part_x, part_bits = x[low:high], x_bits[low:high]
                    if with_residual:
                        norms[bucket] = add_and_norm(part_x, part_bits, gradient[low:high], kind, lanes, sums)
                    else:
                        norms[bucket] = bucket_norm(part_x, part_bits, kind, lanes, sums)
                    factors = bucket_factors(norms[bucket], top)
                    value_step = level_step(norms[bucket], num_levels)
                end = segment_end(last, bucket_offsets, bucket)
                part = levels[: end - position]
                if factors[1] == np.float32(0.0):
                    part[:] = 0
                else:
                    round_segment(
                        x[position:end],
                        words[position - first : end - first],
                        factors,
                        fraction,
                        num_levels,
                        part,
                    )
                count_classes(part, class_counts)
                if with_residual:
                    deliver_and_keep_segment(part, value_step, total[position:end], residual[position:end])
                else:
                    deliver_segment(part, value_step, total[position:end])
                position = end

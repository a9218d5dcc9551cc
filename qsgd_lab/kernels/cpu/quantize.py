"""Quantize and dequantize on the CPU: loops over groups, buckets and coordinates, nothing else.

Shapes: n coordinates, B buckets, T tensors. Nothing here is checked.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.arguments import Offsets, Quantizer, StreamKey
from qsgd_lab.kernels.cpu.float_mode import keep_denormals, set_float_mode
from qsgd_lab.kernels.cpu.norms import BLOCK, LANES, bucket_norm
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.cpu.wide_vectors import prefer_wide_vectors
from qsgd_lab.kernels.fixed_point import (
    HALF_WORD,
    BucketFactors,
    bucket_factors,
    level_step,
    level_value,
    round_level,
)
from qsgd_lab.kernels.jit import njit
from qsgd_lab.kernels.philox import GROUP, fill_groups

#: Coordinates worked on at a time: few enough for the first-level cache, enough to pay for the loops.
PIECE = 4 * GROUP


@njit(cache=True, fastmath=False, forceinline=True)
def quantize_segment(x, words, factors, fraction, num_levels, levels):
    """Write the levels of coordinates that share a bucket and a piece."""
    prefer_wide_vectors()
    factor, scale = factors.factor, factors.scale  # as scalars, so that the compiler keeps them in registers
    for i in range(x.size):
        levels[i] = round_level(x[i], factor, scale, words[i], fraction, num_levels)


@njit(cache=True, fastmath=False)
def longest_bucket(bucket_offsets):
    """Return the number of coordinates of the longest bucket."""
    longest = 0
    for bucket in range(bucket_offsets.size - 1):
        longest = max(longest, bucket_offsets[bucket + 1] - bucket_offsets[bucket])
    return longest


@njit(cache=True, fastmath=False, nogil=True)
def quantize_all(x, x_bits, offsets, key, quantizer, levels, norms):
    """Quantize n coordinates.

    Norms are taken as a bucket is entered, so that its coordinates are still in cache when they are rounded.

    Parameters
    ----------
    x, x_bits : float32[n], and the same as int32
    offsets, key, quantizer
        Fields of `Offsets`, `StreamKey` and `Quantizer`.
    levels : int8[n] or int16[n]
    norms : float32[B]
    """
    prefer_wide_vectors()
    mode = keep_denormals()
    offsets, key, quantizer = Offsets(*offsets), StreamKey(*key), Quantizer(*quantizer)
    kind, fraction, num_levels = quantizer.kind, quantizer.fraction, quantizer.num_levels
    x, x_bits, levels = unowned_view(x), unowned_view(x_bits), unowned_view(levels)
    lanes = np.empty(LANES, np.float64)
    sums = np.empty(longest_bucket(offsets.buckets) // BLOCK + 1, np.float64)
    words = np.full(PIECE, HALF_WORD, np.uint32)  # which rounds to nearest, unless words are drawn
    top = np.float32(np.float64(num_levels) * 2.0 ** np.float64(fraction))
    bucket = -1  # none is entered yet
    factors = BucketFactors(np.float32(0.0), np.float32(0.0))
    for tensor in range(offsets.tensors.size - 1):
        own_tensor = np.uint32(key.tensor + np.uint32(tensor))  # wraps round, as the counter's field does
        stream = StreamKey(key.low_seed, key.high_seed, key.step, own_tensor, key.node, key.version)
        start, stop = offsets.tensors[tensor], offsets.tensors[tensor + 1]
        for first in range(start, stop, PIECE):
            last = min(stop, first + PIECE)
            if quantizer.stochastic:
                fill_groups(words, (first - start) // GROUP, last - first, stream)
            position = first
            while position < last:
                while bucket < 0 or position >= offsets.buckets[bucket + 1]:
                    bucket += 1
                    low, high = offsets.buckets[bucket], offsets.buckets[bucket + 1]
                    norms[bucket] = bucket_norm(x[low:high], x_bits[low:high], kind, lanes, sums)
                    factors = bucket_factors(norms[bucket], top)
                end = min(last, offsets.buckets[bucket + 1])
                if factors.scale == np.float32(0.0):  # norm 0 or NaN: rounding would divide by it
                    levels[position:end] = 0
                else:
                    quantize_segment(
                        x[position:end],
                        words[position - first : end - first],
                        factors,
                        fraction,
                        num_levels,
                        levels[position:end],
                    )
                position = end
    set_float_mode(mode)


@njit(cache=True, fastmath=False)
def dequantize_segment(levels, step, values):
    """Write the values of levels that share a bucket."""
    prefer_wide_vectors()
    for i in range(levels.size):
        values[i] = level_value(levels[i], step)


@njit(cache=True, fastmath=False, nogil=True)
def dequantize_all(levels, norms, bucket_offsets, num_levels, values):
    """Write the float32 values of n levels."""
    mode = keep_denormals()
    levels, values = unowned_view(levels), unowned_view(values)
    for bucket in range(bucket_offsets.size - 1):
        low, high = bucket_offsets[bucket], bucket_offsets[bucket + 1]
        dequantize_segment(levels[low:high], level_step(norms[bucket], num_levels), values[low:high])
    set_float_mode(mode)

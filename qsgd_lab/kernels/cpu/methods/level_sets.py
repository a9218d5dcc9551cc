"""Rounding to a set of levels on the CPU, and the sums that scales come from: loops, nothing else.

Shapes as in `cpu.quantize`: n coordinates, B buckets, T tensors, offsets int64 from 0 to n.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.arguments import StreamKey
from qsgd_lab.kernels.cpu.float_mode import keep_denormals, set_float_mode
from qsgd_lab.kernels.cpu.norms import BLOCK, LANES, bucket_norm
from qsgd_lab.kernels.cpu.quantize import PIECE, longest_bucket
from qsgd_lab.kernels.jit import njit
from qsgd_lab.kernels.level_sets import (
    EXPONENTIAL,
    POWERS,
    UNIFORM,
    code_without_zero,
    exponential_level,
    power_code,
    power_offset,
    uniform_level,
)
from qsgd_lab.kernels.philox import GROUP, fill_groups


@njit(cache=True, fastmath=False, nogil=True)
def bucket_norms(x, x_bits, bucket_offsets, kind, norms):
    """Write the float32 norm of every bucket."""
    mode = keep_denormals()
    lanes = np.empty(LANES, np.float64)
    sums = np.empty(longest_bucket(bucket_offsets) // BLOCK + 1, np.float64)
    for bucket in range(norms.size):
        low, high = bucket_offsets[bucket], bucket_offsets[bucket + 1]
        norms[bucket] = bucket_norm(x[low:high], x_bits[low:high], kind, lanes, sums)
    set_float_mode(mode)


@njit(cache=True, fastmath=False, nogil=True)
def sign_sums(x, bucket_offsets, sums, counts):
    """Write the float64 sums of a bucket's coordinates below 0 and of the others, (B, 2), and their numbers.

    One after the other: a fixed order, which NumPy's ``add.accumulate`` has too.
    """
    mode = keep_denormals()
    for bucket in range(bucket_offsets.size - 1):
        below, above = 0.0, 0.0
        negative = np.int64(0)
        low, high = bucket_offsets[bucket], bucket_offsets[bucket + 1]
        for i in range(low, high):
            value = np.float64(x[i])
            if value < 0.0:
                below += value
                negative += 1
            else:
                above += value
        sums[bucket, 0], sums[bucket, 1] = below, above
        counts[bucket, 0], counts[bucket, 1] = negative, high - low - negative
    set_float_mode(mode)


@njit(cache=True, fastmath=False, nogil=True)
def sign_bits(x, bucket_offsets, is_dead, bits):
    """Write whether a coordinate is not below 0; nothing is set in a dead bucket (bool, one a bucket)."""
    for bucket in range(is_dead.size):
        low, high = bucket_offsets[bucket], bucket_offsets[bucket + 1]
        part, own = x[low:high], bits[low:high]
        if is_dead[bucket]:
            own[:] = False
        else:
            for i in range(part.size):
                own[i] = not part[i] < np.float32(0.0)


@njit(cache=True, fastmath=False, nogil=True)
def round_to_levels(x, x_bits, bucket_offsets, tensor_offsets, key, scales, grid, num_levels, levels):
    """Write the codes (int16) of n coordinates; ``key`` is a `StreamKey`.

    A scale (float32, one a bucket) of 0 or NaN gives codes 0. For `POWERS`, there is one scale that is not
    read, and signs are those of the coordinates.
    """
    mode = keep_denormals()
    words = np.empty(PIECE, np.uint32)
    bucket = 0
    for tensor in range(tensor_offsets.size - 1):
        own_tensor = np.uint32(key.tensor + np.uint32(tensor))
        stream = StreamKey(key.low_seed, key.high_seed, key.step, own_tensor, key.node, key.version)
        start, stop = tensor_offsets[tensor], tensor_offsets[tensor + 1]
        for first in range(start, stop, PIECE):
            last = min(stop, first + PIECE)
            fill_groups(words, (first - start) // GROUP, last - first, stream)
            position = first
            while position < last:
                while position >= bucket_offsets[bucket + 1]:
                    bucket += 1
                end = min(last, bucket_offsets[bucket + 1])
                here = words[position - first : end - first]
                if grid == POWERS:
                    round_to_powers(x[position:end], x_bits[position:end], here, levels[position:end])
                elif scales[bucket] > np.float32(0.0):
                    round_segment(
                        x[position:end],
                        np.float64(scales[bucket]),
                        grid,
                        num_levels,
                        here,
                        levels[position:end],
                    )
                else:
                    levels[position:end] = 0
                position = end
    set_float_mode(mode)


@njit(cache=True, fastmath=False)
def round_segment(x, scale, grid, num_levels, words, levels):
    """Write the codes of coordinates that share a scale above 0; a loop a grid, so that none asks which."""
    most, offset = 2.0 ** np.float64(num_levels - 1), power_offset(num_levels)
    if grid == UNIFORM:
        top = np.float64(num_levels) * 2.0**32
        for i in range(x.size):
            levels[i] = uniform_level(x[i], scale, top, words[i])
    elif grid == EXPONENTIAL:
        for i in range(x.size):
            levels[i] = exponential_level(x[i], scale, most, offset, words[i])
    else:
        for i in range(x.size):
            levels[i] = code_without_zero(x[i], scale, most, offset, words[i])


@njit(cache=True, fastmath=False)
def round_to_powers(x, x_bits, words, levels):
    """Write the codes of coordinates that are rounded to powers of two."""
    for i in range(x.size):
        code = power_code(np.uint32(x_bits[i]), words[i])
        levels[i] = -code if x[i] < np.float32(0.0) else code


@njit(cache=True, fastmath=False, nogil=True)
def values_of_bits(bits, bucket_offsets, low, high, values):
    """Write ``high`` where a bit is set and ``low`` elsewhere; both float32, one a bucket."""
    mode = keep_denormals()
    for bucket in range(low.size):
        unset, set_ = low[bucket], high[bucket]
        for i in range(bucket_offsets[bucket], bucket_offsets[bucket + 1]):
            values[i] = set_ if bits[i] else unset
    set_float_mode(mode)


@njit(cache=True, fastmath=False, nogil=True)
def values_of_codes(codes, bucket_offsets, scales, table, offset, values):
    """Write ``float32(scale * table[code + offset])``; a scale of 0 or NaN is the value itself.

    ``table`` (float64) holds powers of two, so that the product is rounded once.
    """
    mode = keep_denormals()
    for bucket in range(scales.size):
        scale = np.float64(scales[bucket])
        for i in range(bucket_offsets[bucket], bucket_offsets[bucket + 1]):
            if scale > 0.0:
                values[i] = np.float32(scale * table[np.int64(codes[i]) + offset])
            else:
                values[i] = scales[bucket]
    set_float_mode(mode)

"""Rotated blocks on the GPU, with the bits of `cpu.methods.rotated_block`: a block of threads a rotation.

The rotated block is in shared memory, so that it has at most 4096 coordinates. Sums are those of the CPU: a
warp takes 512 coordinates, a lane every 32nd of them, and lanes and warps are added by halving.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import cuda

from qsgd_lab.kernels.constants import OWN_WORDS
from qsgd_lab.kernels.cuda.launch import block_per_item
from qsgd_lab.kernels.cuda.methods.block_integers import word_at
from qsgd_lab.kernels.cuda.norms import LANES, PER_LANE, fold_warp
from qsgd_lab.kernels.philox import philox4x32_narrow
from qsgd_lab.kernels.rotation import (
    LARGEST_FLOAT,
    LARGEST_ROOT,
    LEAST_ERROR,
    MATCHED_NORM,
    OFFSET_STEPS,
    SMALLEST_ROOT,
    STOCHASTIC,
    UNBIASED,
)

MOST_COORDINATES = 4096  # of a block: 16 KiB of shared memory
_ROW = LANES * PER_LANE
_ROWS = MOST_COORDINATES // _ROW
_MOST_LIMITS = 128  # one more than eight bits have
_SIGNS = 128  # of one Philox block
_SUM, _MAX = 0, 1  # of `fold_warp`
_TWO_32 = np.float64(4294967296.0)
_FRACTION, _HALF = np.int64(0xFFFFFFFF), np.int64(32)
_NAN = np.float32(np.nan)


class GridRule(NamedTuple):
    """The numbers of a `RotationScheme`."""

    rounds: int
    kind: int
    bits: int


class Place(NamedTuple):
    """The numbers of `RotationStreams`, each uint32."""

    step: np.uint32
    tensor: np.uint32
    node: np.uint32


@cuda.jit(device=True, cache=False, fastmath=False)
def flip_signs(y, low, size, keys, turn, rest):
    """Negate the coordinates whose sign of round `turn` is minus; the block begins at position `low`."""
    place = Place(*rest)
    lane, warp, warps = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES, cuda.blockDim.x // LANES
    begin, end = low // _SIGNS, (low + size - 1) // _SIGNS
    for own in range(begin + warp, end + 1, warps):
        words = philox4x32_narrow(
            np.uint32(own), place.step, place.tensor, place.node, keys[turn, 0], keys[turn, 1]
        )
        for w in range(4):
            j = own * _SIGNS + w * LANES + lane - low
            word = words[0] if w == 0 else words[1] if w == 1 else words[2] if w == 2 else words[3]
            if 0 <= j < size and (np.uint32(word) >> np.uint32(lane)) & np.uint32(1):
                y[j] = -y[j]
    cuda.syncthreads()


@cuda.jit(device=True, cache=False, fastmath=False)
def transform_shared(y, size):
    """Transform a block of a power of two coordinates, in place, h = 1, 2, 4, ..."""
    h = 1
    while h < size:
        for pair in range(cuda.threadIdx.x, size >> 1, cuda.blockDim.x):
            i = (pair // h) * 2 * h + pair % h
            a, b = y[i], y[i + h]
            y[i] = np.float32(a + b)
            y[i + h] = np.float32(a - b)
        cuda.syncthreads()
        h *= 2


@cuda.jit(device=True, cache=False, fastmath=False)
def folded(sums):
    """Return to all threads the sum of the rows' sums by halving; all have written theirs before."""
    cuda.syncthreads()
    total = ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))
    cuda.syncthreads()  # before they are written again
    return total


@cuda.jit(device=True, cache=False, fastmath=False)
def power_for(root):
    """Return the power of two by which a block is multiplied, 1 unless its length is extreme."""
    if SMALLEST_ROOT <= root <= LARGEST_ROOT:
        return 1.0
    _, exponent = math.frexp(root)
    return math.ldexp(1.0, -exponent)


@cuda.jit(device=True, cache=False, fastmath=False)
def stored(value):
    """Return a positive float64 as float32, at most the largest."""
    return np.float32(value if value < LARGEST_FLOAT else LARGEST_FLOAT)


@cuda.jit(device=True, cache=False, fastmath=False)
def code_of(value, limits, count):
    """Return how many of the limits a magnitude exceeds, by halving their 2^k - 1."""
    code, half = 0, (count + 1) >> 1
    while half:
        if abs(value) > limits[code + half - 1]:
            code += half
        half >>= 1
    return code


@cuda.jit(cache=True, fastmath=False)
def compress_rotations(x, block, last, scheme, book, middles, keys, rest, scales, offsets, codes):
    """Write the scale, the offset and the codes of each block.

    Parameters
    ----------
    x : float32[n]
    block, last : int64
        Coordinates of a block, and of the last one with its padding: powers of two.
    scheme : (rounds, kind, bits), int64
    book : float32[K + 1]
    middles : float64[K]
    keys : uint32[3, 2]
        Of the signs of both rounds, and of rounding.
    rest : (step, tensor, node), uint32
    scales, offsets : float32[B]
    codes : int8[C]
    """
    rule = GridRule(*scheme)
    rounds, kind, bits = rule.rounds, rule.kind, rule.bits
    y = cuda.shared.array(MOST_COORDINATES, np.float32)
    limits = cuda.shared.array(_MOST_LIMITS, np.float32)
    sums = cuda.shared.array(_ROWS, np.float64)
    others = cuda.shared.array(_ROWS, np.float64)
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    lane, warp, warps = thread % LANES, thread // LANES, threads // LANES
    for b in range(cuda.blockIdx.x, scales.size, cuda.gridDim.x):
        low = np.int64(b) * block
        size = last if b == scales.size - 1 else block
        for j in range(thread, size, threads):
            y[j] = x[low + j] if low + j < x.size else np.float32(0.0)
        cuda.syncthreads()
        for row in range(warp, _ROWS, warps):
            total = np.float64(0.0)
            for k in range(PER_LANE):
                j = row * _ROW + k * LANES + lane
                value = np.float64(y[j]) if j < size else np.float64(0.0)
                total += value * value  # exact, so that contraction changes nothing
            total = fold_warp(total, _SUM)
            if lane == 0:
                sums[row] = total
        total = folded(sums)
        scale, offset = np.float32(0.0), np.float32(0.0)
        if not total < np.inf:
            scale, offset = _NAN, _NAN
        elif total > 0.0:
            power = power_for(math.sqrt(total))
            if power != 1.0:
                for j in range(thread, size, threads):
                    y[j] = np.float32(np.float64(y[j]) * power)
                cuda.syncthreads()
            for turn in range(rounds):
                flip_signs(y, low, size, keys, turn, rest)
                transform_shared(y, size)
            total *= power
            total *= power
            wide = np.float64(size)
            growth = wide * wide if rounds == 2 else wide
            if kind == STOCHASTIC:
                least, most_value = -np.inf, -np.inf
                for row in range(warp, _ROWS, warps):
                    down, up = -np.inf, -np.inf
                    for k in range(PER_LANE):
                        j = row * _ROW + k * LANES + lane
                        if j < size:
                            value = np.float64(y[j])
                            down = -value if -value > down else down
                            up = value if value > up else up
                    down, up = fold_warp(down, _MAX), fold_warp(up, _MAX)
                    if lane == 0:
                        sums[row], others[row] = down, up
                cuda.syncthreads()
                for row in range(_ROWS):
                    least = sums[row] if sums[row] > least else least
                    most_value = others[row] if others[row] > most_value else most_value
                cuda.syncthreads()
                low_value = -least
                most = (np.int64(1) << bits) - 1
                step = (most_value - low_value) / (np.float64(most) - 1.0 / OFFSET_STEPS)
                far = abs(low_value) if abs(low_value) > abs(most_value) else abs(most_value)
                step = far / 4096.0 if far / 4096.0 > step else step
                step = step / growth / power
                above, beyond = step * (1.0 + 2.0**-22), step + 2.0**-149
                scale = stored(above if above > beyond else beyond)
                inverse = 1.0 / (np.float64(scale) * growth * power)
                bottom = np.int64(math.floor(low_value * inverse * OFFSET_STEPS))
                half, start = np.int64(1) << (bits - 1), bottom << 22
                inverse *= _TWO_32
                stream = (True, keys[2, 0], keys[2, 1], rest[0], rest[1], rest[2], OWN_WORDS)
                for j in range(thread, size, threads):
                    fixed = np.int64(math.floor(np.float64(y[j]) * inverse)) - start
                    up_one = np.int64(word_at(stream, low + j)) < (fixed & _FRACTION)
                    level = (fixed >> _HALF) + (np.int64(1) if up_one else np.int64(0))
                    level = level if level > 0 else np.int64(0)
                    level = level if level < most else most
                    codes[low + j] = np.int8(level - half)
                offset = np.float32(np.float64(bottom + half * OFFSET_STEPS) / OFFSET_STEPS)
            else:
                deviation = math.sqrt(total * growth / wide)
                for k in range(thread, middles.size, threads):
                    limits[k] = np.float32(middles[k] * deviation)
                cuda.syncthreads()
                for row in range(warp, _ROWS, warps):
                    along, length = np.float64(0.0), np.float64(0.0)
                    for k in range(PER_LANE):
                        j = row * _ROW + k * LANES + lane
                        if j < size:
                            code = code_of(y[j], limits, middles.size)
                            chosen = np.float64(book[code])
                            along += np.float64(abs(y[j])) * chosen  # exact, as are squares
                            length += chosen * chosen
                            codes[low + j] = np.int8(~code if y[j] < np.float32(0.0) else code)
                    along, length = fold_warp(along, _SUM), fold_warp(length, _SUM)
                    if lane == 0:
                        sums[row], others[row] = along, length
                along, length = folded(sums), folded(others)
                if kind == UNBIASED:
                    scale = stored(total / along / power)
                elif kind == MATCHED_NORM:
                    scale = stored(math.sqrt(total / (length * growth)) / power)
                elif kind == LEAST_ERROR:
                    scale = stored(along / (length * growth) / power)
        if not scale > np.float32(0.0):
            offset = scale
            for j in range(thread, size, threads):
                codes[low + j] = np.int8(0)
        if thread == 0:
            scales[b] = scale
            offsets[b] = offset
        cuda.syncthreads()  # before the next block is loaded


@cuda.jit(cache=True, fastmath=False)
def decode_rotations(codes, scales, offsets, block, last, rounds, table, keys, rest, out):
    """Write the float32 values of n coordinates; `table` is empty for offset + code."""
    y = cuda.shared.array(MOST_COORDINATES, np.float32)
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    half = table.size >> 1
    for b in range(cuda.blockIdx.x, scales.size, cuda.gridDim.x):
        low = np.int64(b) * block
        size = last if b == scales.size - 1 else block
        scale, offset = scales[b], offsets[b]
        is_alive = scale > np.float32(0.0)  # the same for all threads
        if is_alive:
            for j in range(thread, size, threads):
                code = np.int64(codes[low + j])
                y[j] = table[half + code] if half else np.float32(offset + np.float32(code))
            cuda.syncthreads()
            transform_shared(y, size)
            for turn in range(rounds - 1, 0, -1):
                flip_signs(y, low, size, keys, turn, rest)
                transform_shared(y, size)
            flip_signs(y, low, size, keys, 0, rest)
        for j in range(thread, size, threads):
            if low + j < out.size:
                out[low + j] = np.float32(y[j] * scale) if is_alive else scale
        cuda.syncthreads()


def launch_compress(context, x, sizes, scheme, streams, scales, offsets, codes):
    """Compress a Numba float32[n]; `sizes` is (block, last), `scheme` and `streams` as the CPU's kernels'."""
    if scales.size == 0:
        return
    rule = GridRule(scheme.num_rounds, scheme.kind, scheme.bits)
    with context.active():
        arrays = _filled(scheme.book), _filled(scheme.middles), streams.keys
        own = (context.to_device(array) for array in arrays)
        launch = (*block_per_item(scales.size), context.stream)
        centroids, between, key_words = own
        compress_rotations[launch](
            x,
            *map(np.int64, sizes),
            tuple(rule),
            centroids,
            between[: scheme.middles.size],
            key_words,
            (streams.step, streams.tensor, streams.node),
            scales,
            offsets,
            codes,
        )


def launch_decode(context, codes, scales, offsets, sizes, rounds, table, streams, out):
    """Write the values to a Numba float32[n]."""
    if out.size == 0:
        return
    with context.active():
        values, key_words = context.to_device(_filled(table)), context.to_device(streams.keys)
        launch = (*block_per_item(scales.size), context.stream)
        decode_rotations[launch](
            codes,
            scales,
            offsets,
            *map(np.int64, sizes),
            np.int64(rounds),
            values[: table.size],
            key_words,
            (streams.step, streams.tensor, streams.node),
            out,
        )


def _filled(array):
    """Return an array, or one element in place of none: empty memory cannot be copied to every device."""
    return array if array.size else np.zeros(1, array.dtype)

"""Blocks of small integers on the GPU, with the bits of `kernels.cpu.methods.block_integers`: a warp a block.

A warp reads its block twice, 32 coordinates at a time: for the largest magnitude, and for the integers. A
group of the smoother is 32 coordinates, one a lane, so that its transform is five exchanges between lanes.
All warps make the same number of exchanges; a spare one works on nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numba import cuda

from qsgd_lab.kernels.arguments import BlockScheme
from qsgd_lab.kernels.block_scale import stored_scale
from qsgd_lab.kernels.cuda.launch import current_launch_shape
from qsgd_lab.kernels.cuda.norms import ALL_LANES, LANES, fold_warp
from qsgd_lab.kernels.cuda.quantize import draw_block
from qsgd_lab.kernels.philox import GROUP, STRIDE

_LARGEST = np.float32(np.finfo(np.float32).max)
_INFINITY, _NAN = np.float32(np.inf), np.float32(np.nan)
_SHARE = np.float32(1 / LANES)
_TWO_32 = np.float64(4294967296.0)
_FRACTION, _HALF = np.int64(0xFFFFFFFF), np.int64(32)
_MAX_NORM = 1


@cuda.jit(device=True, cache=False, fastmath=False)
def transform_lanes(value, lane):
    """Return the Hadamard transform of the 32 lanes' values, in the order h = 1, 2, 4, 8, 16."""
    for stage in range(5):
        h = 1 << stage
        other = np.float32(cuda.shfl_xor_sync(ALL_LANES, value, h))
        value = np.float32(other - value) if lane & h else np.float32(value + other)
    return value


@cuda.jit(device=True, cache=False, fastmath=False)
def entered(x, i, end, lane, is_smooth):
    """Return coordinate i of a block that ends at `end`, 0 beyond it, smoothed if it is to be."""
    value = x[i] if i < end else np.float32(0.0)
    if not is_smooth:
        return value
    # Through an exchange with itself: a product that is added at once would be contracted.
    value = np.float32(cuda.shfl_xor_sync(ALL_LANES, np.float32(value * _SHARE), 0))
    return transform_lanes(value, lane)


@cuda.jit(device=True, cache=False, fastmath=False)
def word_at(stream, i):
    """Return the random word of coordinate i in version 1 of the stream, whatever `stream` says."""
    group, place = i // GROUP, i % GROUP
    words = draw_block(stream, 0, 0, np.int64(group) * STRIDE + place % STRIDE)
    turn = place // STRIDE
    low, high = words[0] if turn == 0 else words[1], words[2] if turn == 2 else words[3]
    return low if turn < 2 else high


@cuda.jit(cache=True, fastmath=False)
def compress_blocks(x, block, width, scheme, stream, scales, codes):
    """Write the scale of each block and its integers.

    Parameters
    ----------
    x : float32[n]
    block, width : int64
        Coordinates of a block, and how many of them a warp goes through: a multiple of 32.
    scheme
        Fields of `BlockScheme`.
    stream : (stochastic, k0, k1, step, tensor, node, version)
    scales : float32[B]
    codes : int8[C]
    """
    scheme = BlockScheme(*scheme)
    lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    warps = cuda.blockDim.x // LANES
    for first in range(cuda.blockIdx.x * warps, scales.size, cuda.gridDim.x * warps):
        own = first + warp
        low = np.int64(own) * block
        end = low + block if low + block < x.size else np.int64(x.size)
        stop = low + block if low + block < codes.size else np.int64(codes.size)
        largest = np.float32(0.0)
        for start in range(0, width, LANES):
            size = abs(entered(x, low + start + lane, end, lane, scheme.is_smooth))
            size = size if size <= _LARGEST else _INFINITY  # NaN, too
            largest = size if size > largest else largest
        whole = fold_warp(np.float64(largest), _MAX_NORM)
        scale = np.float32(0.0)
        if whole > 0.0:
            scale = stored_scale(whole, np.float64(scheme.most)) if whole <= _LARGEST else _NAN
        inverse = 1.0 / np.float64(scale) if scale > np.float32(0.0) else np.float64(0.0)
        if scheme.is_stochastic:
            inverse *= _TWO_32
        if lane == 0 and own < scales.size:
            scales[own] = scale
        for start in range(0, width, LANES):
            i = low + start + lane
            exact = np.float64(entered(x, i, end, lane, scheme.is_smooth)) * inverse
            if i < stop:
                code = np.int64(0)
                if scale > np.float32(0.0):
                    if scheme.is_stochastic:
                        fixed = np.int64(math.floor(exact))
                        up = np.int64(word_at(stream, i)) < (fixed & _FRACTION)
                        code = (fixed >> _HALF) + (np.int64(1) if up else np.int64(0))
                    else:
                        code = np.int64(round(exact))  # ties to even
                codes[i] = np.int8(code)


@cuda.jit(cache=True, fastmath=False)
def decode_blocks(codes, scales, block, is_smooth, out):
    """Write the float32 values of n integers, 32 coordinates a warp; arrays as in `compress_blocks`."""
    lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    warps = cuda.blockDim.x // LANES
    groups = (out.size + LANES - 1) // LANES
    for first in range(cuda.blockIdx.x * warps, groups, cuda.gridDim.x * warps):
        i = np.int64(first + warp) * LANES + lane
        value = np.float32(codes[i]) if i < codes.size else np.float32(0.0)
        if is_smooth:
            value = transform_lanes(value, lane)
        if i < out.size:
            scale = scales[i // block]
            out[i] = np.float32(value * scale) if scale > np.float32(0.0) else scale


def launch_compress(context, x, block, scheme, key, scales, codes):
    """Compress a Numba float32[n] on the device; `key` is a `StreamKey`."""
    if scales.size == 0:
        return
    width = -(-min(block, codes.size) // LANES) * LANES
    with context.active():
        launch = (*current_launch_shape().grid(scales.size), context.stream)
        stream = (bool(scheme.is_stochastic), *key)
        compress_blocks[launch](x, np.int64(block), np.int64(width), tuple(scheme), stream, scales, codes)


def launch_decode(context, codes, scales, block, is_smooth, out):
    """Write the values to a Numba float32[n] on the device."""
    if out.size == 0:
        return
    with context.active():
        launch = (*current_launch_shape().grid(-(-out.size // LANES)), context.stream)
        decode_blocks[launch](codes, scales, np.int64(block), is_smooth, out)

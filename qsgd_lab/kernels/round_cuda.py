"""What a warp does with a row: words, factors and levels of the coordinates that its threads hold.

Thread l takes coordinates l + 32 k of its row. Philox block j of the row's group serves coordinates j, j +
128, j + 256 and j + 384, so four calls give a thread its 16 words, and none is shared or thrown away.

Where a bucket is a row, every thread works out its factors. Elsewhere they come from tables that
`bucket_tables` fills: a division for each coordinate would cost more than all the rest.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from qsgd_lab.kernels.fixed_point import (
    HALF_WORD,
    bucket_factors,
    fraction_bits,
    level_step,
    round_level,
)
from qsgd_lab.kernels.launch_shape import current_launch_shape
from qsgd_lab.kernels.norms_cuda import LANES
from qsgd_lab.kernels.philox import STRIDE, philox4x32_narrow

QUARTERS = STRIDE // LANES  # Philox calls a thread makes for a row
_HALF = np.float32(0.5)


@cuda.jit(device=True, cache=False, fastmath=False)
def draw_words(stream, tensor, node, group, place):
    """Return the words (uint32) of coordinates j, j + 128, j + 256, j + 384 of a group, for j = `place`.

    ``stream`` is (stochastic, k0, k1, step, first tensor, first node), all but the first uint32; `tensor` and
    `node` count from those.
    """
    stochastic, k0, k1, step, first_tensor, first_node = stream
    if not stochastic:
        return HALF_WORD, HALF_WORD, HALF_WORD, HALF_WORD
    block = np.uint32(np.int64(group) * STRIDE + place)
    own_tensor = np.uint32(np.int64(first_tensor) + np.int64(tensor))
    own_node = np.uint32(np.int64(first_node) + np.int64(node))
    w0, w1, w2, w3 = philox4x32_narrow(block, step, own_tensor, own_node, k0, k1)
    return np.uint32(w0), np.uint32(w1), np.uint32(w2), np.uint32(w3)


@cuda.jit(device=True, cache=False, fastmath=False)
def level_of(x, factors, word, scheme):
    """Return the level (int32) of a coordinate.

    Parameters
    ----------
    x : float32
    factors : (factor, scale) of its bucket
    word : uint32
    scheme : (s 2^F as float32, F as uint32, s as uint32)
    """
    _, fraction, num_levels = scheme
    factor, scale = np.float32(factors[0]), np.float32(factors[1])
    level = np.int32(round_level(x, factor, scale, word, fraction, num_levels))
    return level if scale != np.float32(0.0) else np.int32(0)  # buckets of zeros, and of NaN, have no scale


@cuda.jit(device=True, cache=False, fastmath=False)
def bucket_at(i, row, rows):
    """Return the bucket of coordinate i of a row: a division of numbers below 512, made exact by the half."""
    _, _, _, buckets, lefts, inverse_size = rows
    beyond = np.int32(i) - lefts[row]
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
    """Return (s 2^F as float32, F as uint32, s as uint32) for s levels, as the kernels take them."""
    fraction = fraction_bits(num_levels)
    return np.float32(num_levels * 2.0**fraction), np.uint32(fraction), np.uint32(num_levels)


def launch_bucket_tables(home, norms, scheme):
    """Return (factors, scales, steps) of norms, a Numba float32[N, B]."""
    factors = home.scratch(norms.shape, np.float32)
    scales = home.scratch(norms.shape, np.float32)
    steps = home.scratch(norms.shape, np.float64)
    launch = (*current_launch_shape().grid(-(-norms.size // LANES)), home.stream)
    bucket_tables[launch](norms, scheme[0], scheme[2], factors, scales, steps)
    return factors, scales, steps

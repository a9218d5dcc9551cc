"""Blocks of small integers under one scale each, with a Hadamard transform of 32 before them, on the CPU.

The scale of a block is its largest magnitude over 2^(b-1) - 1, so that the least integer of b bits is not
used. The smoother divides by 32 first, which keeps sums from overflowing, and transforms groups of 32: the
transform of the integers is exact, and gives the values when it is multiplied by the scale.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.kernels.arguments import StreamKey
from qsgd_lab.kernels.block_scale import stored_scale
from qsgd_lab.kernels.cpu.methods.hadamard import transform32
from qsgd_lab.kernels.cpu.norms import largest_bits
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.fixed_point import INFINITY_BITS
from qsgd_lab.kernels.jit import njit
from qsgd_lab.kernels.philox import GROUP, fill_group

GROUP_OF_SMOOTHER = 32
_HALF = np.int64(32)
_FRACTION = np.int64(0xFFFFFFFF)
_TWO_32 = np.float64(4294967296.0)
_ROUNDER = np.float64(6755399441055744.0)


class BlockScratch(NamedTuple):
    """Scratch for blocks of r coordinates.

    Attributes
    ----------
    y : float32, shape (r,)
        The block, padded with zeros and smoothed where it is to be.
    words : uint32, shape (512,)
    filled : int64, shape (1,)
        The group whose random words are in `words`, or -1.
    wide, bits : float64 and int64, shape (r,)
        The same memory: what rounds a float64 leaves the integer in its lowest bits.
    holder, held : int32 and float32, shape (1,)
        The same memory: the largest magnitude, compared as an integer.
    """

    y: NDArray[np.float32]
    words: NDArray[np.uint32]
    filled: NDArray[np.int64]
    wide: NDArray[np.float64]
    bits: NDArray[np.int64]
    holder: NDArray[np.int32]
    held: NDArray[np.float32]


@njit(cache=True, fastmath=False, forceinline=True)
def transform_groups(y):
    """Transform groups of 32 coordinates, in place."""
    for start in range(0, y.size, GROUP_OF_SMOOTHER):
        transform32(y, start)


@njit(cache=True, fastmath=False, forceinline=True)
def enter_block(x, is_smooth, y):
    """Write a block to `y`, smoothed and padded with zeros if it is to be."""
    if not is_smooth:
        for j in range(x.size):
            y[j] = x[j]
        return
    for j in range(x.size):
        y[j] = x[j] * np.float32(1 / GROUP_OF_SMOOTHER)
    for j in range(x.size, y.size):
        y[j] = np.float32(0.0)
    transform_groups(y)


@njit(cache=True, fastmath=False, forceinline=True)
def round_nearest(y, inverse, wide, bits, codes):
    """Write the nearest integers, ties to even.

    Adding 1.5 * 2^52 rounds a float64 to an integer, whose lowest bits are then those of the number.
    """
    for j in range(y.size):
        wide[j] = np.float64(y[j]) * inverse + _ROUNDER
    for j in range(y.size):
        codes[j] = np.int8(bits[j])


@njit(cache=True, fastmath=False, forceinline=True)
def round_at_random(y, inverse, words, codes):
    """Write one of the two integers beside each coordinate, the upper one where its part exceeds the word."""
    for j in range(y.size):
        fixed = np.int64(np.floor(np.float64(y[j]) * inverse))
        codes[j] = np.int8((fixed >> _HALF) + np.int64(np.int64(words[j]) < (fixed & _FRACTION)))


@njit(cache=True, fastmath=False, forceinline=True)
def compress_block(x, place, scheme, stream, scratch, codes):
    """Write the integers of a block and return its scale: 0 if it is zero, NaN if it is not finite.

    Parameters
    ----------
    x : float32, shape (r,)
    place : int
        Number of its first coordinate.
    scheme : BlockScheme
    stream : StreamKey
    scratch : BlockScratch
        Without claims to its memory.
    codes : int8
        As many as x has, with a smoother padded to a multiple of 32.
    """
    words, filled, holder = scratch.words, scratch.filled, scratch.holder
    y = scratch.y[: codes.size]
    enter_block(x, scheme.is_smooth, y)
    largest = largest_bits(y.view(np.int32), np.int32(0))
    if largest >= INFINITY_BITS:
        codes[:] = 0
        return np.float32(np.nan)
    holder[0] = largest
    scale = stored_scale(np.float64(scratch.held[0]), np.float64(scheme.most))
    if scale == np.float32(0.0):
        codes[:] = 0
        return scale
    inverse = 1.0 / np.float64(scale)
    if not scheme.is_stochastic:
        round_nearest(y, inverse, scratch.wide, scratch.bits, codes)
        return scale
    inverse *= _TWO_32
    done = 0
    while done < y.size:
        group, skip = (place + done) // GROUP, (place + done) % GROUP
        count = min(GROUP - skip, y.size - done)
        if filled[0] != group:
            fill_group(words, group, GROUP, stream)
            filled[0] = group
        own = codes[done : done + count]
        round_at_random(y[done : done + count], inverse, words[skip:], own)
        done += count
    return scale


@njit(cache=True, fastmath=False, forceinline=True)
def decode_block(codes, scale, is_smooth, y):
    """Write the values of a block to `y`."""
    if not scale > np.float32(0.0):
        y[:] = scale
        return
    for j in range(y.size):
        y[j] = np.float32(codes[j])
    if is_smooth:
        transform_groups(y)
    for j in range(y.size):
        y[j] *= scale


@njit(cache=True, fastmath=False, forceinline=True)
def unowned_views(scratch):
    """Return scratch without claims to its memory: counting references would take longer than a block."""
    return BlockScratch(
        unowned_view(scratch.y),
        unowned_view(scratch.words),
        unowned_view(scratch.filled),
        unowned_view(scratch.wide),
        unowned_view(scratch.bits),
        unowned_view(scratch.holder),
        unowned_view(scratch.held),
    )


@njit(cache=True, fastmath=False, nogil=True)
def compress(x, block, place, scheme, stream, scratch, scales, codes):
    """Compress a vector whose first coordinate is number `place`, in blocks of `block`."""
    x, codes, scratch = unowned_view(x), unowned_view(codes), unowned_views(scratch)
    scratch.filled[0] = -1
    for b in range(scales.size):
        low, high = b * block, min(x.size, (b + 1) * block)
        own = codes[low : min(codes.size, low + block)]
        scales[b] = compress_block(x[low:high], place + low, scheme, stream, scratch, own)


@njit(cache=True, fastmath=False, nogil=True)
def decompress(codes, scales, block, is_smooth, scratch, out):
    """Write the values of a compressed vector."""
    codes, out, buffer = unowned_view(codes), unowned_view(out), unowned_view(scratch.y)
    for b in range(scales.size):
        low, high = b * block, min(out.size, (b + 1) * block)
        own = codes[low : min(codes.size, low + block)]
        y = buffer[: own.size]
        decode_block(own, scales[b], is_smooth, y)
        part = out[low:high]
        for j in range(part.size):
            part[j] = y[j]


@njit(cache=True, fastmath=False, nogil=True)
def average(gradients, residuals, block, scheme, stream, scratch, codes, total):
    """Write the mean of what N nodes send, block by block, and keep what they did not send.

    Gradients or residuals, float32 of shape (N, n), may be empty; residuals are added to, and overwritten.
    """
    nodes = max(gradients.shape[0], residuals.shape[0])
    gradients, residuals, total = unowned_view(gradients), unowned_view(residuals), unowned_view(total)
    codes, scratch = unowned_view(codes), unowned_views(scratch)
    scratch.filled[0] = -1
    for low in range(0, total.size, block):
        high = min(total.size, low + block)
        size = -(-(high - low) // GROUP_OF_SMOOTHER) * GROUP_OF_SMOOTHER if scheme.is_smooth else high - low
        own, y, part = codes[:size], scratch.y[:size], total[low:high]
        part[:] = np.float32(0.0)
        for node in range(nodes):
            x = gradients[node, low:high] if residuals.shape[0] == 0 else residuals[node, low:high]
            if residuals.shape[0] and gradients.shape[0]:
                addend = gradients[node, low:high]
                for j in range(x.size):
                    x[j] += addend[j]
            if nodes > 1:
                scratch.filled[0] = -1  # another node has other words
            own_node = np.uint32(stream.node + np.uint32(node))
            own_stream = StreamKey(
                stream.low_seed, stream.high_seed, stream.step, stream.tensor, own_node, stream.version
            )
            scale = compress_block(x, low, scheme, own_stream, scratch, own)
            decode_block(own, scale, scheme.is_smooth, y)
            for j in range(x.size):
                part[j] += y[j]
            if residuals.shape[0]:
                for j in range(x.size):
                    x[j] -= y[j]
        if nodes > 1:
            for j in range(part.size):
                part[j] /= np.float32(nodes)


def open_scratch(block_size: int) -> BlockScratch:
    """Return scratch for blocks of at most `block_size` coordinates."""
    length = -(-block_size // GROUP_OF_SMOOTHER) * GROUP_OF_SMOOTHER
    wide, holder = np.empty(length, np.float64), np.empty(1, np.int32)
    return BlockScratch(
        np.empty(length, np.float32),
        np.empty(GROUP, np.uint32),
        np.full(1, -1, np.int64),
        wide,
        wide.view(np.int64),
        holder,
        holder.view(np.float32),
    )

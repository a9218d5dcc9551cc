"""Accumulation without a message: quantize, decode, add and count in one pass on the CPU.

Training needs of the nodes' gradients only the sum of their decoded values, the bits they would have cost
and, with error feedback, what was not sent. All three come out of one pass over pieces of 2048 coordinates: a
piece of the sum stays in cache while every node adds to it, and levels never leave it.

Shapes: N nodes, n coordinates, B buckets, T tensors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.kernels.arguments import RoundingBuffers, StreamKey
from qsgd_lab.kernels.cpu.float_mode import keep_denormals, set_float_mode
from qsgd_lab.kernels.cpu.messages.message_cost import NodeChunk, count_piece, open_chunks, unowned_gaps
from qsgd_lab.kernels.cpu.norms import BLOCK, LANES, add_and_norm, bucket_norm
from qsgd_lab.kernels.cpu.quantize import PIECE, longest_bucket
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.cpu.vector_steps import (
    FEW_LEVELS,
    add_and_keep_few,
    add_and_keep_segment,
    add_few,
    add_segment,
)
from qsgd_lab.kernels.cpu.wide_vectors import prefer_wide_vectors, prefetch
from qsgd_lab.kernels.fixed_point import HALF_WORD, bucket_factors, level_step, round_level
from qsgd_lab.kernels.jit import njit
from qsgd_lab.kernels.philox import GROUP, fill_group

CACHE_LINE = 16  # coordinates of 64 bytes


class NodeArrays(NamedTuple):
    """The arrays of `accumulate_nodes`."""

    gradients: NDArray[np.float32]
    residuals: NDArray[np.float32]
    total: NDArray[np.float32]
    norms: NDArray[np.float32]


class Piece(NamedTuple):
    """Scratch for `PIECE` coordinates: levels (int32) of one node, and the partial sum (float32)."""

    levels: NDArray[np.int32]
    partial: NDArray[np.float32]


class SentPiece(NamedTuple):
    """Levels of a piece, and their magnitudes."""

    levels: NDArray[np.int32]
    magnitudes: NDArray[np.unsignedinteger]


def magnitude_scratch(num_levels: int) -> Any:
    """Return scratch for the magnitudes of a piece of levels -s..s, and 64 more."""
    return np.empty(PIECE + 64, np.uint8 if num_levels <= 255 else np.uint16)


@njit(cache=True, fastmath=False, forceinline=True)
def quantize_and_keep_magnitudes(x, words, factors, fraction, num_levels, levels, magnitudes):
    """Write levels as `quantize_segment` does, and their magnitudes, which are counted as bytes."""
    prefer_wide_vectors()
    factor, scale = factors.factor, factors.scale
    for i in range(x.size):
        level = round_level(x[i], factor, scale, words[i], fraction, num_levels)
        levels[i] = level
        magnitudes[i] = np.int32(abs(level))


@njit(cache=True, fastmath=False, forceinline=True)
def open_piece(piece, total, average):
    """Start the sum of a piece: from zero for a mean, else from what the total holds."""
    for i in range(total.size):
        piece[i] = np.float32(0.0) if average else total[i]


@njit(cache=True, fastmath=False, forceinline=True)
def close_piece(piece, total, divisor):
    """Write the sum of a piece to the total, divided in float32."""
    for i in range(total.size):
        total[i] = piece[i] / divisor  # a division, not a product with 1/N, which would round otherwise


@njit(cache=True, fastmath=False)
def enter_bucket(gradients, residuals, low, high, kind, lanes, sums, norms):
    """Write the norm of a bucket for each node; with both, first add the gradients to the residuals."""
    prefer_wide_vectors()
    for node in range(norms.size):
        if gradients.shape[0] == 0:
            part = residuals[node, low:high]
            norms[node] = bucket_norm(part, part.view(np.int32), kind, lanes, sums)
        elif residuals.shape[0] == 0:
            part = gradients[node, low:high]
            norms[node] = bucket_norm(part, part.view(np.int32), kind, lanes, sums)
        else:
            part = residuals[node, low:high]
            addend = gradients[node, low:high]
            norms[node] = add_and_norm(part, part.view(np.int32), addend, kind, lanes, sums)


@njit(cache=True, fastmath=False, forceinline=True)
def fetch_group(row, begin):
    """Ask for a group of a node's next piece: memory works while words are drawn, which needs none."""
    for i in range(begin, begin + GROUP, CACHE_LINE):
        prefetch(row, i)


@njit(cache=True, fastmath=False)
def send_piece(x, first, bucket, bucket_offsets, norms, words, quantizer, buffers, total, keep):
    """Round and add a piece of one node, whose first coordinate is `first`, in bucket `bucket`.

    ``buffers`` is a `SentPiece`, which is written.
    """
    prefer_wide_vectors()
    fraction, num_levels = quantizer.fraction, quantizer.num_levels
    top = np.float32(np.float64(num_levels) * 2.0 ** np.float64(fraction))
    x, words, total = unowned_view(x), unowned_view(words), unowned_view(total)
    levels, magnitudes = unowned_view(buffers.levels), unowned_view(buffers.magnitudes)
    position = 0
    while position < x.size:
        end = min(x.size, bucket_offsets[bucket + 1] - first)
        factors = bucket_factors(norms[bucket], top)
        step = level_step(norms[bucket], num_levels)
        segment, segment_levels = x[position:end], levels[position:end]
        if factors.scale == np.float32(0.0):  # norm 0 or NaN; level 0 times a step of NaN still is NaN
            segment_levels[:] = 0
            magnitudes[position:end] = 0
        else:
            quantize_and_keep_magnitudes(
                segment,
                words[position:end],
                factors,
                fraction,
                num_levels,
                segment_levels,
                magnitudes[position:end],
            )
        part = total[position:end]
        if num_levels <= FEW_LEVELS and keep:
            add_and_keep_few(segment_levels, step, part, segment)
        elif num_levels <= FEW_LEVELS:
            add_few(segment_levels, step, part)
        elif keep:
            add_and_keep_segment(segment_levels, step, part, segment)
        else:
            add_segment(segment_levels, step, part)
        position = end
        bucket += 1


@njit(cache=True, fastmath=False, nogil=True)
def accumulate_nodes(gradients, residuals, offsets, key, quantizer, total, average, counter, norms):
    """Add to `total` what a receiver decodes of every node's gradient, or write their mean there.

    Parameters
    ----------
    gradients : float32[N, n] or float32[0, n]
    residuals : float32[N, n] or float32[0, n]
        Where there are any, gradient + residual is sent, and what was not sent is left here. Without
        gradients, they are taken to be added already.
    offsets, key, quantizer : Offsets, StreamKey, Quantizer
        Node i draws from stream ``key.node + i``.
    total : float32[n]
    average : bool
        Write the mean over the nodes, whatever `total` held, instead of adding.
    counter : MessageCounter
    norms : float32[B, N]
        Overwritten.
    """
    prefer_wide_vectors()
    mode = keep_denormals()
    blocks = longest_bucket(offsets.buckets) // BLOCK + 1
    words = np.full(PIECE, HALF_WORD, np.uint32)  # which rounds to nearest, unless words are drawn
    buffers = RoundingBuffers(np.empty(LANES, np.float64), np.empty(blocks, np.float64), words)
    piece = Piece(np.empty(PIECE, np.int32), np.empty(PIECE, np.float32))
    chunks = open_chunks(norms.shape[1], quantizer.num_levels)
    arrays = NodeArrays(gradients, residuals, total, norms)
    accumulate_pieces(arrays, offsets, key, quantizer, average, counter, buffers, piece, chunks)
    set_float_mode(mode)


@njit(cache=True, fastmath=False)
def accumulate_pieces(arrays, offsets, key, quantizer, average, counter, buffers, piece, chunks):
    """Do the work of `accumulate_nodes` with memory that it made: arguments, which slices need not count.

    ``arrays`` is `NodeArrays`, ``buffers`` `RoundingBuffers`, ``piece`` a `Piece`, and ``chunks`` what
    `open_chunks` returned.
    """
    prefer_wide_vectors()
    gradients, residuals = unowned_view(arrays.gradients), unowned_view(arrays.residuals)
    total, norms = unowned_view(arrays.total), unowned_view(arrays.norms)
    lanes, sums = unowned_view(buffers.lanes), unowned_view(buffers.sums)
    words = unowned_view(buffers.words)
    levels, partial = unowned_view(piece.levels), unowned_view(piece.partial)
    masks, scratch = unowned_view(chunks.masks), unowned_gaps(chunks.scratch)
    dense, sparse = unowned_view(chunks.dense), unowned_view(chunks.sparse)
    magnitudes, steps = unowned_view(counter.magnitudes), unowned_view(counter.steps)
    bits, num_words = unowned_view(counter.bits), unowned_view(counter.words)
    reached = unowned_view(counter.reached)
    buckets, tensors = unowned_view(offsets.buckets), unowned_view(offsets.tensors)
    nodes = norms.shape[1]
    keep = residuals.shape[0] > 0
    sent = residuals if keep else gradients
    divisor = np.float32(nodes if average else 1)
    next_bucket = 0  # the first whose norms are not yet taken
    bucket = 0
    for tensor in range(tensors.size - 1):
        start, stop = tensors[tensor], tensors[tensor + 1]
        for first in range(start, stop, PIECE):
            last = min(stop, first + PIECE)
            # Norms of all buckets that begin in the piece: with residuals this pass also adds the gradients.
            while next_bucket < buckets.size - 1 and buckets[next_bucket] < last:
                low, high = buckets[next_bucket], buckets[next_bucket + 1]
                enter_bucket(gradients, residuals, low, high, quantizer.kind, lanes, sums, norms[next_bucket])
                next_bucket += 1
            while buckets[bucket + 1] <= first:
                bucket += 1
            open_piece(partial, total[first:last], average)
            for node in range(nodes):  # in this order, on which a float32 sum depends
                if quantizer.stochastic:
                    own_node = np.uint32(key.node + np.uint32(node))
                    own_tensor = np.uint32(key.tensor + np.uint32(tensor))
                    stream = StreamKey(
                        key.low_seed, key.high_seed, key.step, own_tensor, own_node, key.version
                    )
                    for drawn in range(0, last - first, GROUP):
                        fetch_group(sent[node], last + drawn)
                        if keep and gradients.shape[0] > 0:
                            fetch_group(gradients[node], last + drawn)
                        part = words[drawn : drawn + GROUP]
                        group, count = (first - start + drawn) // GROUP, min(GROUP, last - first - drawn)
                        fill_group(part, group, count, stream)
                send_piece(
                    sent[node, first:last],
                    first,
                    bucket,
                    buckets,
                    norms[:, node],
                    words,
                    quantizer,
                    SentPiece(levels, magnitudes),
                    partial,
                    keep,
                )
                chunk = NodeChunk(masks[node], dense[node], sparse[node])
                count_piece(
                    magnitudes,
                    last - first,
                    first,
                    total.size,
                    chunk,
                    steps,
                    scratch,
                    bits[node],
                    num_words[node],
                    reached,
                )
            close_piece(partial, total[first:last], divisor)

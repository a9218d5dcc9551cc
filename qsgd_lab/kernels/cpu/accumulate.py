"""What a receiver would add, without a message: quantize, decode, add and count in one pass on the CPU.

Training needs of the nodes' gradients only the sum of their decoded values, the bits they would have cost
and, with error feedback, what was not sent. All three come out of one pass over pieces of 2048 coordinates: a
piece of the sum stays in cache while every node adds to it, and levels never leave it.

Shapes: N nodes, n coordinates, B buckets, T tensors; offsets as in ``cpu.quantize``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qsgd_lab.kernels.cpu.message_cost import count_piece, open_chunks
from qsgd_lab.kernels.cpu.norms import BLOCK, LANES, add_and_norm, bucket_norm
from qsgd_lab.kernels.cpu.quantize import PIECE, longest_bucket, quantize_segment
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.fixed_point import HALF_WORD, bucket_factors, level_step, level_value
from qsgd_lab.kernels.jit import njit
from qsgd_lab.kernels.philox import GROUP, fill_groups


def magnitude_scratch(num_levels: int) -> Any:
    """Return scratch for the magnitudes of a piece of levels -s..s, and 64 more."""
    return np.empty(PIECE + 64, np.uint8 if num_levels <= 255 else np.uint16)


@njit(cache=True, fastmath=False, forceinline=True)
def deliver_segment(levels, step, total):
    """Add the values of levels to the receiver's total."""
    for i in range(total.size):
        total[i] += level_value(levels[i], step)


@njit(cache=True, fastmath=False, forceinline=True)
def deliver_and_keep_segment(levels, step, total, residual):
    """Add the values of levels to the total and take them from what was to be sent."""
    for i in range(residual.size):
        value = level_value(levels[i], step)
        total[i] += value
        residual[i] -= value


@njit(cache=True, fastmath=False, forceinline=True)
def open_piece(piece, total, average):
    """Start the sum of a piece: from zero for a mean, else from what the total holds."""
    for i in range(total.size):
        piece[i] = np.float32(0.0) if average else total[i]


@njit(cache=True, fastmath=False, forceinline=True)
def close_piece(piece, total, divisor):
    """Write the sum of a piece to the total, divided in float32."""
    for i in range(total.size):
        total[i] = piece[i] / divisor


@njit(cache=True, fastmath=False)
def enter_bucket(gradients, residuals, low, high, kind, lanes, sums, norms):
    """Write the norm of a bucket for each node; with both, first add the gradients to the residuals."""
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


@njit(cache=True, fastmath=False)
def send_piece(x, first, bucket, bucket_offsets, norms, words, fraction, num_levels, levels, total, keep):
    """Round and deliver a piece of one node, whose first coordinate is `first`, in bucket `bucket`."""
    top = np.float32(np.float64(num_levels) * 2.0 ** np.float64(fraction))
    x, words, levels, total = unowned_view(x), unowned_view(words), unowned_view(levels), unowned_view(total)
    position = 0
    while position < x.size:
        end = min(x.size, bucket_offsets[bucket + 1] - first)
        factors = bucket_factors(norms[bucket], top)
        step = level_step(norms[bucket], num_levels)
        segment, segment_levels = x[position:end], levels[position:end]
        if factors[1] == np.float32(0.0):
            segment_levels[:] = 0
        else:
            quantize_segment(segment, words[position:end], factors, fraction, num_levels, segment_levels)
        if keep:
            deliver_and_keep_segment(segment_levels, step, total[position:end], segment)
        else:
            deliver_segment(segment_levels, step, total[position:end])
        position = end
        bucket += 1


@njit(cache=True, fastmath=False, nogil=True)
def accumulate_nodes(
    gradients,
    residuals,
    bucket_offsets,
    tensor_offsets,
    key,
    kind,
    stochastic,
    num_levels,
    fraction,
    total,
    average,
    counter,
    norms,
):
    """Add to `total` what a receiver decodes of every node's gradient, or write their mean there.

    Parameters
    ----------
    gradients : float32[N, n] or float32[0, n]
    residuals : float32[N, n] or float32[0, n]
        Where there are any, gradient + residual is sent, and what was not sent is left here. Without
        gradients, they are taken to be added already.
    key : (k0, k1, step, first tensor, first node), each uint32
        Node i draws from stream ``first node + i``.
    total : float32[n]
    average : bool
        Write the mean over the nodes, whatever `total` held, instead of adding.
    counter : (steps int64[3, 16], magnitudes, bits int64[N, 6], words int64[N, 6], reached int64[K])
        ``steps`` as `close_chunk` takes them; ``magnitudes`` is scratch, of `magnitude_scratch`. The others
        are added to: the cost of each node's message in bits and in 32-bit words, chunks of 4096 rounded up,
        and the class counts of all.
    norms : float32[B, N]
    """
    k0, k1, step, first_tensor, first_node = key
    steps, magnitudes, bits, words_sent, reached = counter
    magnitudes = unowned_view(magnitudes)
    gradients, residuals, total = unowned_view(gradients), unowned_view(residuals), unowned_view(total)
    nodes = norms.shape[1]
    keep = residuals.shape[0] > 0
    lanes = np.empty(LANES, np.float64)
    sums = np.empty(longest_bucket(bucket_offsets) // BLOCK + 1, np.float64)
    words = np.full(PIECE, HALF_WORD, np.uint32)
    levels = np.empty(PIECE, np.int32)
    piece = np.empty(PIECE, np.float32)
    masks, dense, sparse, scratch = open_chunks(nodes, num_levels)
    sent = residuals if keep else gradients
    divisor = np.float32(nodes if average else 1)
    next_bucket = 0
    bucket = 0
    for tensor in range(tensor_offsets.size - 1):
        start, stop = tensor_offsets[tensor], tensor_offsets[tensor + 1]
        for first in range(start, stop, PIECE):
            last = min(stop, first + PIECE)
            while next_bucket < bucket_offsets.size - 1 and bucket_offsets[next_bucket] < last:
                low, high = bucket_offsets[next_bucket], bucket_offsets[next_bucket + 1]
                enter_bucket(gradients, residuals, low, high, kind, lanes, sums, norms[next_bucket])
                next_bucket += 1
            while bucket_offsets[bucket + 1] <= first:
                bucket += 1
            open_piece(piece, total[first:last], average)
            for node in range(nodes):
                if stochastic:
                    stream_node = np.uint32(first_node + np.uint32(node))
                    stream_tensor = np.uint32(first_tensor + np.uint32(tensor))
                    stream = (k0, k1, step, stream_tensor, stream_node)
                    fill_groups(words, (first - start) // GROUP, last - first, stream)
                send_piece(
                    sent[node, first:last],
                    first,
                    bucket,
                    bucket_offsets,
                    norms[:, node],
                    words,
                    fraction,
                    num_levels,
                    levels,
                    piece,
                    keep,
                )
                chunk = masks[node], dense[node], sparse[node]
                count_piece(
                    levels[: last - first],
                    first,
                    total.size,
                    chunk,
                    steps,
                    magnitudes,
                    scratch,
                    bits[node],
                    words_sent[node],
                    reached,
                )
            close_piece(piece, total[first:last], divisor)

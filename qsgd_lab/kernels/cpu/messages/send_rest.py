"""Gradient and residual to payload in one pass, which leaves what was not sent, and what is read of it.

As `quantize_encode`, with what error feedback adds: while a few chunks are in cache, the residual is added
before they are quantized, and taken off what was sent after it. Separate passes move ten times the memory.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.arguments import RoundingBuffers
from qsgd_lab.kernels.cpu.float_mode import keep_denormals, set_float_mode
from qsgd_lab.kernels.cpu.messages.encode import encode_chunk, enter_chunk
from qsgd_lab.kernels.cpu.messages.quantize_encode import CHUNKS_AT_A_TIME, RunState, part_of, quantize_run
from qsgd_lab.kernels.cpu.norms import BLOCK, LANES
from qsgd_lab.kernels.cpu.quantize import PIECE, longest_bucket
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.cpu.wide_vectors import prefer_wide_vectors
from qsgd_lab.kernels.fixed_point import HALF_WORD, BucketFactors, level_step, level_value
from qsgd_lab.kernels.jit import njit


@njit(cache=True, fastmath=False)
def add_vectors(one, other, total):
    """Write the sum of two vectors, float32[n]."""
    prefer_wide_vectors()
    for i in range(total.size):
        total[i] = one[i] + other[i]


@njit(cache=True, fastmath=False)
def split_segment(levels, step, rest, values):
    """Write the values of levels that share a bucket, and take them off what was quantized."""
    prefer_wide_vectors()
    for i in range(levels.size):
        value = level_value(levels[i], step)
        rest[i] -= value
        values[i] = value + np.float32(0.0)  # -0 becomes 0, as in a sum that begins with 0


@njit(cache=True, fastmath=False)
def split_run(levels, first, last, bucket_offsets, norms, num_levels, rest, values):
    """Do so for coordinates first..last-1, whose levels begin with the first."""
    position, bucket = first, part_of(bucket_offsets, first)
    while position < last:
        while position >= bucket_offsets[bucket + 1]:
            bucket += 1
        end = min(last, bucket_offsets[bucket + 1])
        step = level_step(norms[bucket], num_levels)
        split_segment(levels[position - first : end - first], step, rest[position:end], values[position:end])
        position = end


@njit(cache=True, fastmath=False, nogil=True)
def send_rest_chunks(
    gradient,
    residual,
    rest,
    x_bits,
    values,
    offsets,
    key,
    quantizer,
    chunks,
    form,
    tables,
    scratch,
    stream,
    directory,
    norms,
):
    """Write the chunks of gradient + residual one after another into `stream`; return the bytes written.

    Parameters
    ----------
    gradient, residual : float32[n]
    rest, x_bits : float32[n], and the same as int32
        What was not sent: written.
    values : float32[n]
        What is read: written. It may be the memory of the gradient.
    offsets, key, quantizer : Offsets, StreamKey, Quantizer
    chunks, form, tables : ChunkRange, ChunkFormat, EncodeTables
        All chunks: the rest of a bucket is needed whole for its norm.
    scratch, stream, directory, norms
        As in `quantize_and_encode_chunks`.
    """
    mode = keep_denormals()
    gradient, residual, x_bits = unowned_view(gradient), unowned_view(residual), unowned_view(x_bits)
    rest, values = unowned_view(rest), unowned_view(values)
    scratch, stream = unowned_view(scratch), unowned_view(stream)
    sums = np.empty(longest_bucket(offsets.buckets) // BLOCK + 1, np.float64)
    words = np.full(PIECE, HALF_WORD, np.uint32)
    buffers = RoundingBuffers(np.empty(LANES, np.float64), sums, words)
    positions = np.empty(chunks.size, np.int32)
    edges = np.zeros(6, np.int64)
    nowhere = np.int64(0)
    state = RunState(nowhere, BucketFactors(np.float32(0.0), np.float32(0.0)), nowhere, nowhere)
    byte, filled = np.int64(0), np.int64(0)
    for chunk in range(chunks.first, chunks.stop, CHUNKS_AT_A_TIME):
        first, stop = chunk * chunks.size, min(chunks.stop, chunk + CHUNKS_AT_A_TIME)
        last = min(rest.size, stop * chunks.size)
        # Up to the end of the last bucket that is entered, whose norm is taken as a whole.
        end = max(filled, offsets.buckets[part_of(offsets.buckets, last - 1) + 1])
        add_vectors(gradient[filled:end], residual[filled:end], rest[filled:end])
        filled = end
        levels = scratch[: last - first]
        state = quantize_run(
            rest, x_bits, first, last, offsets, key, quantizer, buffers, state, levels, norms
        )
        for i in range(chunk, stop):
            part = levels[(i - chunk) * chunks.size : min(levels.size, (i - chunk + 1) * chunks.size)]
            after, count = encode_chunk(part, form, tables, positions, stream, byte)
            enter_chunk(i, byte, after, count, stream, edges, i == chunks.stop - 1, directory)
            byte = after
        split_run(levels, first, last, offsets.buckets, norms, quantizer.num_levels, rest, values)
    set_float_mode(mode)
    return byte

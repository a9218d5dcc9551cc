"""Gradient to payload on the CPU, without the levels of more than a few chunks in between.

Random words belong to groups of a tensor, norms to buckets, and codewords to chunks, none of which need share
a boundary: coordinates are rounded in runs that end where any of the three does. A few chunks of levels are
coded while they are in the second-level cache; one at a time would be near enough too, but tables of
codewords would then leave the first-level cache, for the gradient, sixteen times as often.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qsgd_lab.kernels.arguments import RoundingBuffers, StreamKey
from qsgd_lab.kernels.cpu.float_mode import keep_denormals, set_float_mode
from qsgd_lab.kernels.cpu.messages.encode import encode_chunk, enter_chunk
from qsgd_lab.kernels.cpu.norms import BLOCK, LANES, bucket_norm
from qsgd_lab.kernels.cpu.quantize import PIECE, longest_bucket, quantize_segment
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.cpu.wide_vectors import prefer_wide_vectors
from qsgd_lab.kernels.fixed_point import HALF_WORD, BucketFactors, bucket_factors
from qsgd_lab.kernels.jit import njit
from qsgd_lab.kernels.philox import GROUP, fill_groups

#: Chunks that are quantized before they are coded.
CHUNKS_AT_A_TIME = 16


class RunState(NamedTuple):
    """What one run of coordinates leaves to the next.

    Attributes
    ----------
    bucket_end : int
        End of the bucket entered last.
    factors : BucketFactors
        Of that bucket.
    words_start, words_end : int
        The coordinates that the drawn words serve.
    """

    bucket_end: int
    factors: BucketFactors
    words_start: int
    words_end: int


@njit(cache=True, fastmath=False)
def part_of(offsets, position):
    """Return the index of the part that holds coordinate `position`; empty parts are passed over."""
    return np.int64(np.searchsorted(offsets, position, side="right")) - 1


@njit(cache=True, fastmath=False)
def quantize_run(x, x_bits, first, last, offsets, key, quantizer, buffers, state, levels, norms):
    """Write the levels of coordinates first..last-1; return the state from which the next run goes on.

    ``offsets``, ``key`` and ``quantizer`` are named tuples, ``buffers`` `RoundingBuffers`, and ``state``
    a `RunState`.
    """
    prefer_wide_vectors()
    fraction, num_levels = quantizer.fraction, quantizer.num_levels
    lanes, sums, words = unowned_view(buffers.lanes), unowned_view(buffers.sums), unowned_view(buffers.words)
    bucket_end, factors = state.bucket_end, state.factors
    words_start, words_end = state.words_start, state.words_end
    levels, x, x_bits = unowned_view(levels), unowned_view(x), unowned_view(x_bits)
    top = np.float32(np.float64(num_levels) * 2.0 ** np.float64(fraction))
    position = first
    while position < last:
        if position >= words_end:
            # Words come in whole groups, counted from the start of their tensor, not from the run's.
            tensor = part_of(offsets.tensors, position)
            start = offsets.tensors[tensor]
            group = (position - start) // GROUP
            words_start = start + group * GROUP
            words_end = min(offsets.tensors[tensor + 1], words_start + PIECE)
            if quantizer.stochastic:
                own_tensor = np.uint32(key.tensor + np.uint32(tensor))
                stream = StreamKey(key.low_seed, key.high_seed, key.step, own_tensor, key.node, key.version)
                fill_groups(words, group, words_end - words_start, stream)
        if position >= bucket_end:
            bucket = part_of(offsets.buckets, position)
            bucket_start, bucket_end = offsets.buckets[bucket], offsets.buckets[bucket + 1]
            part = slice(bucket_start, bucket_end)  # the whole bucket, also what another thread will code
            norms[bucket] = bucket_norm(x[part], x_bits[part], quantizer.kind, lanes, sums)
            factors = bucket_factors(norms[bucket], top)
        end = min(last, words_end, bucket_end)
        if factors.scale == np.float32(0.0):  # norm 0 or NaN
            levels[position - first : end - first] = 0
        else:
            quantize_segment(
                x[position:end],
                words[position - words_start : end - words_start],
                factors,
                fraction,
                num_levels,
                levels[position - first : end - first],
            )
        position = end
    return RunState(bucket_end, factors, words_start, words_end)


@njit(cache=True, fastmath=False, nogil=True)
def quantize_and_encode_chunks(
    x, x_bits, offsets, key, quantizer, chunks, form, tables, scratch, stream, directory, norms
):
    """Write the chunks of a gradient one after another into `stream`; return the bytes written.

    Parameters
    ----------
    x, x_bits : float32[n], and the same as int32
    offsets, key, quantizer : Offsets, StreamKey, Quantizer
    chunks, form, tables : ChunkRange, ChunkFormat, EncodeTables
    directory : ChunkDirectory
        Filled for the chunks written.
    scratch : int8 or int16
        As long as `CHUNKS_AT_A_TIME` chunks.
    stream : uint8
        Long enough for the longest possible chunks and eight bytes more.
    norms : float32[B]
        Filled for the buckets that the chunks touch. Of a bucket on the edge between two callers, both write
        the same norm.
    """
    mode = keep_denormals()
    x, x_bits = unowned_view(x), unowned_view(x_bits)
    scratch, stream = unowned_view(scratch), unowned_view(stream)
    sums = np.empty(longest_bucket(offsets.buckets) // BLOCK + 1, np.float64)
    words = np.full(PIECE, HALF_WORD, np.uint32)
    buffers = RoundingBuffers(np.empty(LANES, np.float64), sums, words)
    positions = np.empty(chunks.size, np.int32)
    edges = np.zeros(6, np.int64)
    nowhere = np.int64(0)  # before any coordinate, so that the first enters its bucket and draws its words
    state = RunState(nowhere, BucketFactors(np.float32(0.0), np.float32(0.0)), nowhere, nowhere)
    byte = np.int64(0)  # a literal 0 would compile all that takes it twice
    for chunk in range(chunks.first, chunks.stop, CHUNKS_AT_A_TIME):
        first, stop = chunk * chunks.size, min(chunks.stop, chunk + CHUNKS_AT_A_TIME)
        last = min(x.size, stop * chunks.size)
        levels = scratch[: last - first]
        state = quantize_run(x, x_bits, first, last, offsets, key, quantizer, buffers, state, levels, norms)
        for i in range(chunk, stop):
            part = levels[(i - chunk) * chunks.size : min(levels.size, (i - chunk + 1) * chunks.size)]
            end, count = encode_chunk(part, form, tables, positions, stream, byte)
            enter_chunk(i, byte, end, count, stream, edges, i == chunks.stop - 1, directory)
            byte = end
    set_float_mode(mode)
    return byte

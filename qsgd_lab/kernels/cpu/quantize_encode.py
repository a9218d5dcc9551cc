"""Gradient to payload on the CPU, without the levels of more than a few chunks in between.

Shapes and offsets as in ``cpu.quantize``. Random words belong to groups of a tensor, norms to buckets, and
codewords to chunks, none of which need share a boundary: coordinates are rounded in runs that end where any
of the three does. A few chunks of levels are coded while they are in the second-level cache; one at a time
would be near enough too, but tables of codewords would then be driven out of the first-level cache by the
gradient sixteen times as often.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.cpu.encode import encode_chunk, enter_chunk
from qsgd_lab.kernels.cpu.norms import BLOCK, LANES, bucket_norm
from qsgd_lab.kernels.cpu.quantize import PIECE, longest_bucket, quantize_segment
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.fixed_point import HALF_WORD, bucket_factors
from qsgd_lab.kernels.jit import njit
from qsgd_lab.kernels.philox import GROUP, fill_groups

#: Chunks that are quantized before they are coded.
CHUNKS_AT_A_TIME = 16


@njit(cache=True, fastmath=False)
def part_of(offsets, position):
    """Return the index of the part that holds coordinate `position`; empty parts are passed over."""
    return np.int64(np.searchsorted(offsets, position, side="right")) - 1


@njit(cache=True, fastmath=False)
def quantize_run(x, x_bits, first, last, offsets, key, quantizer, buffers, state, levels, norms):
    """Write the levels of coordinates first..last-1; return the state from which the next run goes on.

    ``offsets`` is (bucket_offsets, tensor_offsets), ``buffers`` (lanes, sums, words), and ``state`` (end of
    the bucket entered last, its factors, first and last coordinate that `words` serves).
    """
    bucket_offsets, tensor_offsets = offsets
    k0, k1, step, first_tensor, node = key
    kind, stochastic, num_levels, fraction = quantizer
    lanes, sums, words = unowned_view(buffers[0]), unowned_view(buffers[1]), unowned_view(buffers[2])
    bucket_end, factors, words_start, words_end = state
    levels, x, x_bits = unowned_view(levels), unowned_view(x), unowned_view(x_bits)
    top = np.float32(np.float64(num_levels) * 2.0 ** np.float64(fraction))
    position = first
    while position < last:
        if position >= words_end:
            tensor = part_of(tensor_offsets, position)
            start = tensor_offsets[tensor]
            group = (position - start) // GROUP
            words_start = start + group * GROUP
            words_end = min(tensor_offsets[tensor + 1], words_start + PIECE)
            if stochastic:
                stream = (k0, k1, step, np.uint32(first_tensor + np.uint32(tensor)), node)
                fill_groups(words, group, words_end - words_start, stream)
        if position >= bucket_end:
            bucket = part_of(bucket_offsets, position)
            bucket_start, bucket_end = bucket_offsets[bucket], bucket_offsets[bucket + 1]
            part = slice(bucket_start, bucket_end)
            norms[bucket] = bucket_norm(x[part], x_bits[part], kind, lanes, sums)
            factors = bucket_factors(norms[bucket], top)
        end = min(last, words_end, bucket_end)
        if factors[1] == np.float32(0.0):
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
    return bucket_end, factors, words_start, words_end


@njit(cache=True, fastmath=False, nogil=True)
def quantize_and_encode_chunks(
    x, x_bits, offsets, key, quantizer, geometry, coder, scratch, stream, directory, norms
):
    """Write the chunks of a gradient one after another into `stream`; return the bytes written.

    Parameters
    ----------
    x, x_bits : float32[n], and the same as int32
    offsets : (int64[B + 1], int64[T + 1])
        Of buckets and of tensors.
    key : (k0, k1, step, first tensor, node), each uint32
    quantizer : (kind of norm, stochastic, s, F)
        s and F as uint32.
    geometry : (chunk size, first chunk, the chunk to stop before)
    coder : (layout, width, tables)
        As `encode_chunks` takes them.
    scratch : int8 or int16
        As long as `CHUNKS_AT_A_TIME` chunks.
    stream : uint8
        Room for the longest possible chunks and eight bytes more.
    directory : (uint16[C], uint32[C], uint16[C] or uint16[0])
        Filled for the chunks written.
    norms : float32[B]
        Filled for the buckets that the chunks touch. Of a bucket on the edge between two callers, both write
        the same norm.
    """
    num_levels = np.int64(quantizer[2])
    chunk_size, first_chunk, last_chunk = geometry
    layout, width, tables = coder
    x, x_bits, scratch, stream = (
        unowned_view(x),
        unowned_view(x_bits),
        unowned_view(scratch),
        unowned_view(stream),
    )
    sums = np.empty(longest_bucket(offsets[0]) // BLOCK + 1, np.float64)
    buffers = np.empty(LANES, np.float64), sums, np.full(PIECE, HALF_WORD, np.uint32)
    positions = np.empty(chunk_size, np.int32)
    edges = np.zeros(6, np.int64)
    nowhere = np.int64(0)  # before any coordinate, so that the first enters its bucket and draws its words
    state = (nowhere, (np.float32(0.0), np.float32(0.0)), nowhere, nowhere)
    byte = np.int64(0)  # a literal 0 would compile all that takes it twice
    for chunk in range(first_chunk, last_chunk, CHUNKS_AT_A_TIME):
        first, stop = chunk * chunk_size, min(last_chunk, chunk + CHUNKS_AT_A_TIME)
        last = min(x.size, stop * chunk_size)
        levels = scratch[: last - first]
        state = quantize_run(x, x_bits, first, last, offsets, key, quantizer, buffers, state, levels, norms)
        for i in range(chunk, stop):
            part = levels[(i - chunk) * chunk_size : min(levels.size, (i - chunk + 1) * chunk_size)]
            end, count = encode_chunk(part, num_levels, layout, width, tables, positions, stream, byte)
            enter_chunk(i, byte, end, count, stream, edges, i == last_chunk - 1, directory)
            byte = end
    return byte

"""Levels to payload on the CPU: chunk after chunk, each from a fresh 32-bit word.

Shapes: n levels, C chunks, of which this call writes ``first_chunk`` to ``last_chunk - 1``. Nothing but the
range of levels is checked.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from qsgd_lab.kernels.crc32c import crc32c_of_ranges
from qsgd_lab.kernels.dense_encode_cpu import encode_dense_chunk
from qsgd_lab.kernels.pack_cpu import encode_fixed_chunk
from qsgd_lab.kernels.sparse_encode_cpu import encode_sparse_chunk

FIXED, DENSE, DENSE_SIGNED, SPARSE = 0, 1, 2, 3
OUT_OF_RANGE = -1


@njit(cache=True, fastmath=False)
def extremes(levels):
    """Return (smallest, largest) of a chunk's levels, of which there is at least one."""
    low = high = levels[0]  # of the levels' own type: comparing in int64 would take eight times as long
    for i in range(1, levels.size):
        low = levels[i] if levels[i] < low else low
        high = levels[i] if levels[i] > high else high
    return np.int64(low), np.int64(high)


@njit(cache=True, fastmath=False, nogil=True)
def encode_chunks(
    levels,
    chunk_size,
    first_chunk,
    last_chunk,
    num_levels,
    layout,
    width,
    tables,
    stream,
    num_words,
    checksums,
    num_nonzeros,
):
    """Write chunks one after another into `stream`; return the bytes written, or OUT_OF_RANGE.

    Parameters
    ----------
    levels : int8 or int16, shape (n,)
    chunk_size, first_chunk, last_chunk, num_levels, layout : int
    width : uint64
        Bits of a level in the fixed layout.
    tables : (field bits, joined entries, single entries, entries of distances)
        As `encode_dense_chunk` and `encode_sparse_chunk` take them.
    stream : uint8
        Room for the longest possible chunks and eight bytes more.
    num_words, checksums, num_nonzeros : uint16, uint32, uint16, shapes (C,), (C,) and (C,) or (0,)
        Filled for the chunks written.
    """
    field_bits, joined, single, gaps = tables
    positions = np.empty(chunk_size, np.int32)
    edges = np.zeros(5, np.int64)  # of the chunks whose checksums are still to be computed, four in turn
    byte = 0
    for chunk in range(first_chunk, last_chunk):
        part = levels[chunk * chunk_size : min(levels.size, (chunk + 1) * chunk_size)]
        low, high = extremes(part)
        if low < -num_levels or high > num_levels:
            return OUT_OF_RANGE
        if layout == FIXED:
            end = encode_fixed_chunk(part, width, stream, byte)
        elif layout == SPARSE:
            end, count = encode_sparse_chunk(part, num_levels, gaps, single, positions, stream, byte)
            num_nonzeros[chunk] = count
        else:
            end = encode_dense_chunk(part, num_levels, field_bits, joined, single, stream, byte)
        num_words[chunk] = (end - byte) >> 2
        byte = end
        waiting = (chunk - first_chunk) % 4 + 1
        edges[waiting] = end
        if waiting == 4 or chunk == last_chunk - 1:
            crc32c_of_ranges(stream, edges[: waiting + 1], checksums[chunk + 1 - waiting : chunk + 1])
            edges[0] = end
    return byte

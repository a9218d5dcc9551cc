"""Levels to payload on the CPU: chunk after chunk, each from a fresh 32-bit word.

Shapes: n levels, C chunks, of which this call writes ``first_chunk`` to ``last_chunk - 1``. Nothing but the
range of levels is checked.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.constants import FIXED, SPARSE
from qsgd_lab.kernels.cpu.encode_chunk import encode_dense_chunk, encode_sparse_chunk
from qsgd_lab.kernels.cpu.fixed_width import encode_fixed_chunk
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.crc32c import crc32c_of_ranges
from qsgd_lab.kernels.jit import njit

OUT_OF_RANGE = -1


@njit(cache=True, fastmath=False)
def extremes(levels):
    """Return (smallest, largest) of a chunk's levels, of which there is at least one."""
    low = high = levels[0]  # of the levels' own type: comparing in int64 would take eight times as long
    for i in range(1, levels.size):
        low = levels[i] if levels[i] < low else low
        high = levels[i] if levels[i] > high else high
    return np.int64(low), np.int64(high)


@njit(cache=True, fastmath=False)
def encode_chunk(levels, num_levels, layout, width, tables, positions, stream, start):
    """Write one chunk from byte `start` on; return where its last word ends, and the number of non-zeros.

    The number is that of the sparse layout, and 0 in the others. `positions` (int32) is as long as a chunk;
    the rest as `encode_chunks` takes it.
    """
    field_bits, joined, single, gaps = tables
    count = np.int64(0)
    if layout == FIXED:
        end = encode_fixed_chunk(levels, width, stream, start)
    elif layout == SPARSE:
        end, count = encode_sparse_chunk(levels, num_levels, gaps, single, positions, stream, start)
    else:
        end = encode_dense_chunk(levels, num_levels, field_bits, joined, single, stream, start)
    return end, count


@njit(cache=True, fastmath=False)
def enter_chunk(chunk, start, end, count, stream, edges, is_last, directory):
    """Enter a chunk of bytes start..end-1 in the directory.

    Checksums are computed for four chunks in turn, or for what is left at the last one: ``edges`` (int64[6])
    is the bytes where those that wait begin and end, and in entry 5 their number.
    """
    num_words, checksums, num_nonzeros = directory
    num_words[chunk] = (end - start) >> 2
    if num_nonzeros.size:
        num_nonzeros[chunk] = count
    if edges[5] == 0:
        edges[0] = start
    edges[5] += 1
    waiting = edges[5]
    edges[waiting] = end
    if waiting == 4 or is_last:
        crc32c_of_ranges(stream, edges[: waiting + 1], checksums[chunk + 1 - waiting : chunk + 1])
        edges[5] = 0


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
    directory,
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
    directory : (uint16[C], uint32[C], uint16[C] or uint16[0])
        Lengths in words, checksums and, in the sparse layout, numbers of non-zeros: filled for the chunks
        written.
    """
    levels, stream = unowned_view(levels), unowned_view(stream)
    positions = np.empty(chunk_size, np.int32)
    edges = np.zeros(6, np.int64)
    byte = np.int64(0)  # a literal 0 would compile all that takes it twice
    for chunk in range(first_chunk, last_chunk):
        part = levels[chunk * chunk_size : min(levels.size, (chunk + 1) * chunk_size)]
        low, high = extremes(part)
        if low < -num_levels or high > num_levels:
            return OUT_OF_RANGE
        end, count = encode_chunk(part, num_levels, layout, width, tables, positions, stream, byte)
        enter_chunk(chunk, byte, end, count, stream, edges, chunk == last_chunk - 1, directory)
        byte = end
    return byte

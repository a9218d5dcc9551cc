"""Levels to payload on the CPU: chunk after chunk, each from a fresh 32-bit word.

Shapes: n levels, C chunks. Nothing but the range of levels is checked.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.constants import FIXED, SPARSE
from qsgd_lab.kernels.cpu.messages.encode_chunk import encode_dense_chunk, encode_sparse_chunk
from qsgd_lab.kernels.cpu.messages.fixed_width import encode_fixed_chunk
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.crc32c import crc32c_of_ranges
from qsgd_lab.kernels.jit import njit

OUT_OF_RANGE = -1
WAITING = 5  # the entry of `edges` with the number of chunks whose checksums are still to be computed


@njit(cache=True, fastmath=False)
def extremes(levels):
    """Return (smallest, largest) of a chunk's levels, of which there is at least one."""
    low = high = levels[0]  # of the levels' own type: comparing in int64 would take eight times as long
    for i in range(1, levels.size):
        low = levels[i] if levels[i] < low else low
        high = levels[i] if levels[i] > high else high
    return np.int64(low), np.int64(high)


@njit(cache=True, fastmath=False)
def encode_chunk(levels, form, tables, positions, stream, start):
    """Write one chunk from byte `start` on; return where its last word ends, and the number of non-zeros.

    The number is that of the sparse layout, and 0 in the others.

    Parameters
    ----------
    levels : int8 or int16
    form, tables : ChunkFormat, EncodeTables
    positions : int32
        Scratch, as long as a chunk.
    stream : uint8
        With eight bytes to spare.
    start : int
    """
    count = np.int64(0)
    if form.layout == FIXED:
        end = encode_fixed_chunk(levels, form.width, stream, start)
    elif form.layout == SPARSE:
        end, count = encode_sparse_chunk(levels, form.num_levels, tables, positions, stream, start)
    else:
        end = encode_dense_chunk(levels, form.num_levels, tables, stream, start)
    return end, count


@njit(cache=True, fastmath=False)
def enter_chunk(chunk, start, end, count, stream, edges, is_last, directory):
    """Enter a chunk of bytes start..end-1 in the directory.

    Checksums are computed for four chunks in turn, or for what is left at the last one: ``edges`` (int64[6])
    is the bytes where those that wait begin and end, and in entry 5 their number.
    """
    directory.num_words[chunk] = (end - start) >> 2
    if directory.num_nonzeros.size:
        directory.num_nonzeros[chunk] = count
    if edges[WAITING] == 0:
        edges[0] = start
    edges[WAITING] += 1
    waiting = edges[WAITING]
    edges[waiting] = end
    if waiting == 4 or is_last:  # each step of one checksum waits for the one before: four fill the time
        done = directory.checksums[chunk + 1 - waiting : chunk + 1]
        crc32c_of_ranges(stream, edges[: waiting + 1], done)
        edges[WAITING] = 0


@njit(cache=True, fastmath=False, nogil=True)
def encode_chunks(levels, chunks, form, tables, stream, directory):
    """Write chunks one after another into `stream`; return the bytes written, or OUT_OF_RANGE.

    Parameters
    ----------
    levels : int8[n] or int16[n]
    chunks, form, tables : ChunkRange, ChunkFormat, EncodeTables
    stream : uint8
        Long enough for the longest possible chunks and eight bytes more.
    directory : ChunkDirectory
        Filled for the chunks written.
    """
    levels, stream = unowned_view(levels), unowned_view(stream)
    positions = np.empty(chunks.size, np.int32)
    edges = np.zeros(6, np.int64)
    byte = np.int64(0)  # a literal 0 would compile all that takes it twice
    for chunk in range(chunks.first, chunks.stop):
        part = levels[chunk * chunks.size : min(levels.size, (chunk + 1) * chunks.size)]
        low, high = extremes(part)  # a level beyond s would index the tables out of bounds
        if low < -form.num_levels or high > form.num_levels:
            return OUT_OF_RANGE
        end, count = encode_chunk(part, form, tables, positions, stream, byte)
        enter_chunk(chunk, byte, end, count, stream, edges, chunk == chunks.stop - 1, directory)
        byte = end
    return byte

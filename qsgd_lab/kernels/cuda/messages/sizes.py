"""Exact lengths of payloads without coding them, on the GPU: a block a chunk, all layouts and codes at once.

Lengths under the three codes are side by side in one uint64, as in ``cpu.sizes``.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from qsgd_lab.kernels.constants import LANE_BITS, LANE_MASK
from qsgd_lab.kernels.cuda.launch import block_per_item
from qsgd_lab.kernels.cuda.messages.encode import chunk_length, latest_nonzero, span_of
from qsgd_lab.kernels.cuda.messages.scan import MAX_WARPS, largest_before, sum_before

CODES = 3
#: Totals: dense, dense-signed and sparse under each code, in words, and the number of levels beyond s.
DENSE, DENSE_SIGNED, SPARSE, BEYOND = 0, 3, 6, 9
TOTALS = 10


@cuda.jit(device=True, cache=False, fastmath=False)
def lane_of(lengths, code):
    """Return one code's length, int64."""
    return np.int64((np.uint64(lengths) >> (LANE_BITS * np.uint64(code))) & LANE_MASK)


@cuda.jit(device=True, cache=False, fastmath=False)
def add_words(words, place, bits):
    """Add the words of a chunk of so many bits to a total."""
    cuda.atomic.add(words, place, np.int64((bits + 31) >> 5))  # of integers, so that no order matters


@cuda.jit(cache=True, fastmath=False)
def measure_chunks(levels, chunk_size, num_levels, lengths, words):
    """Add up the words of all chunks.

    Parameters
    ----------
    levels : int8[n] or int16[n]
    chunk_size, num_levels : int
    lengths : (uint64 by |level|, uint64 by distance, uint64 by |level|)
        Of the codewords of |level| + 1; of distances; of sign and |level|.
    words : int64[10]
        As TOTALS says; added to.
    """
    totals = cuda.shared.array(MAX_WARPS, np.int64)
    dense_lengths, gap_lengths, level_lengths = lengths
    chunks = (levels.size + chunk_size - 1) // chunk_size
    for chunk in range(cuda.blockIdx.x, chunks, cuda.gridDim.x):
        low = np.int64(chunk) * chunk_size
        size = chunk_length(levels.size, low, chunk_size)
        first, last = span_of(size)
        # A thread's first distance begins at the last non-zero of the threads before it.
        previous = largest_before(np.int64(latest_nonzero(levels, low, first, last)), totals)
        dense, sparse = np.uint64(0), np.uint64(0)
        nonzeros = np.int64(0)
        for i in range(first, last):
            level = np.int64(levels[low + i])
            magnitude = -level if level < 0 else level
            if magnitude > num_levels:  # it would index the tables out of bounds
                cuda.atomic.add(words, BEYOND, np.int64(1))
                magnitude = np.int64(0)
            dense += dense_lengths[magnitude]
            if level != 0:
                sparse += gap_lengths[i - previous] + level_lengths[magnitude]
                previous = i
                nonzeros += np.int64(1)
        # Lanes of the three codes add up at once, since a chunk's sums stay inside their 21 bits.
        _, all_nonzeros = sum_before(nonzeros, totals)
        _, all_dense = sum_before(np.int64(dense), totals)
        _, all_sparse = sum_before(np.int64(sparse), totals)
        if cuda.threadIdx.x == 0:
            for code in range(CODES):
                add_words(words, DENSE + code, lane_of(all_dense, code) + all_nonzeros)
                add_words(words, DENSE_SIGNED + code, lane_of(all_dense, code) + size)
                add_words(words, SPARSE + code, lane_of(all_sparse, code))


def launch_measure(context, levels, chunk_size, num_levels, lengths, words):
    """Add up the words of all chunks; arguments as of `measure_chunks`."""
    blocks, threads = block_per_item(-(-levels.size // chunk_size))
    with context.active():
        measure_chunks[blocks, threads, context.stream](levels, chunk_size, num_levels, lengths, words)

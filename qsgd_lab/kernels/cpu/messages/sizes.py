"""Exact lengths of chunks without coding them.

A codeword's length depends on floor(log2) alone, so a dense chunk is measured by counting how many levels
reach each power of two, under all codes at once. A sparse chunk is measured by adding up the lengths of its
distances and levels, those of the three codes side by side in one word.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.constants import LANE_BITS, LANE_MASK
from qsgd_lab.kernels.cpu.messages.encode_chunk import nonzero_positions
from qsgd_lab.kernels.jit import njit


@njit(cache=True, fastmath=False)
def count_reached(levels, threshold):
    """Return how many levels have a magnitude of at least `threshold` (of the levels' own type, above 0)."""
    count = np.int32(0)  # 32 bits: a vector unit counts twice as many lanes as with 64
    for i in range(levels.size):
        count = np.int32(count + np.int32((levels[i] >= threshold) | (levels[i] <= -threshold)))
    return count


@njit(cache=True, fastmath=False, nogil=True)
def measure_dense_chunks(levels, chunk_size, first_chunk, last_chunk, reached):
    """Count by chunk the levels with |level| + 1 >= 2^j into `reached` (int32[C, j]), j = 0, 1, ..."""
    for chunk in range(first_chunk, last_chunk):
        part = levels[chunk * chunk_size : min(levels.size, (chunk + 1) * chunk_size)]
        reached[chunk, 0] = part.size
        for j in range(1, reached.shape[1]):
            reached[chunk, j] = count_reached(part, levels.dtype.type((1 << j) - 1))


@njit(cache=True, fastmath=False, nogil=True)
def measure_sparse_chunks(levels, chunk_size, first_chunk, last_chunk, gap_lengths, level_lengths, bits):
    """Write by chunk the bits of its distances, signs and levels into `bits` (int64[C, 3]), for each code.

    ``gap_lengths`` and ``level_lengths`` are uint64, by distance and by |level|, sign included.
    """
    positions = np.empty(chunk_size, np.int32)
    for chunk in range(first_chunk, last_chunk):
        part = levels[chunk * chunk_size : min(levels.size, (chunk + 1) * chunk_size)]
        count = nonzero_positions(part, positions)
        total = np.uint64(0)
        previous = np.int64(-1)
        for i in range(count):
            position = np.int64(positions[i])
            # Lengths under all three codes at once; sums of a chunk stay inside their 21 bits.
            total += gap_lengths[position - previous] + level_lengths[abs(np.int64(part[position]))]
            previous = position
        for code in range(3):
            bits[chunk, code] = np.int64((total >> (LANE_BITS * np.uint64(code))) & LANE_MASK)


@njit(cache=True, fastmath=False, nogil=True)
def chunk_starts(num_words, starts):
    """Write where chunks of as many 32-bit words (uint16[C]) begin, in bytes (int64[C + 1])."""
    byte = np.int64(0)
    for chunk in range(num_words.size):
        starts[chunk] = byte
        byte += np.int64(num_words[chunk]) << 2
    starts[num_words.size] = byte


@njit(cache=True, fastmath=False, nogil=True)
def unfit_chunk(num_coordinates, chunk_size, bits, num_words, num_nonzeros):
    """Return the first chunk with fewer words than its coordinates need, or -1, and whether one counts more.

    Parameters
    ----------
    num_coordinates, chunk_size : int
    bits : int
        The least bits of a coordinate; in the sparse layout, of a level other than 0.
    num_words, num_nonzeros : uint16[C]
        The second is empty but for the sparse layout. A count above the chunk's coordinates goes first.
    """
    short = np.int64(-1)
    for chunk in range(num_words.size):
        size = min(chunk_size, num_coordinates - chunk * chunk_size)
        if num_nonzeros.size:
            if np.int64(num_nonzeros[chunk]) > size:
                return np.int64(chunk), True
            size = np.int64(num_nonzeros[chunk])
        if short < 0 and np.int64(num_words[chunk]) << 5 < size * bits:
            short = np.int64(chunk)
    return short, False

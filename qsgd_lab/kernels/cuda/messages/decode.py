"""Payload to levels or values on the GPU, a block a chunk.

A bad chunk is reported, and nothing of it is written.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from qsgd_lab.kernels.constants import GOOD, NOT_CANONICAL
from qsgd_lab.kernels.cuda.launch import block_per_item
from qsgd_lab.kernels.cuda.messages.decode_chunk import read_chunk
from qsgd_lab.kernels.cuda.messages.encode import MOST_LEVELS, chunk_length
from qsgd_lab.kernels.cuda.messages.scan import MAX_WARPS
from qsgd_lab.kernels.fixed_point import level_step, level_value

MOST_THREADS = 512
#: Rows of the directory of a range of chunks, int64[3, k + 1].
STARTS, CHECKSUMS, NONZEROS = 0, 1, 2
#: A status is the least of (chunk, outcome) as one number; this one means that all is good.
ALL_GOOD = np.int64(2**63 - 1)
OUTCOMES = 4


@cuda.jit(device=True, cache=False, fastmath=False)
def read_entry(words, directory, i, size, scheme, tables, levels, totals, exits, status, chunk):
    """Read entry i of the directory, chunk `chunk`, into shared `levels`; return whether it is good."""
    edges = (directory[STARTS, i], directory[STARTS, i + 1])
    checksum, nonzeros = np.uint32(directory[CHECKSUMS, i]), directory[NONZEROS, i]
    outcome = read_chunk(words, edges, checksum, size, nonzeros, scheme, tables, levels, totals, exits)
    if outcome != GOOD and cuda.threadIdx.x == 0:
        cuda.atomic.min(status, 0, np.int64(chunk) * OUTCOMES + outcome)  # the first bad chunk wins
    return outcome == GOOD


@cuda.jit(cache=True, fastmath=False)
def decode_chunks(words, directory, geometry, scheme, tables, levels, status):
    """Decode a range of chunks, and write the levels of a range of coordinates inside it.

    Parameters
    ----------
    words : uint32
        Payload and two words more.
    directory : int64[3, k + 1]
        Where chunks begin and the last one ends, in words; checksums; numbers of non-zeros. Checked: chunks
        are inside `words`, before its last two.
    geometry : (n, chunk size, first chunk, first coordinate)
        The latter of `levels`.
    scheme, tables
        As `read_chunk` takes them.
    levels : int8 or int16
    status : int64[1]
        Lowered to (chunk * 4 + outcome) of the first bad chunk.
    """
    # A chunk is decoded in shared memory, so that nothing of a bad one reaches the caller's arrays.
    staged = cuda.shared.array(MOST_LEVELS, np.int16)
    totals = cuda.shared.array(MAX_WARPS, np.int64)
    exits = cuda.shared.array(MOST_THREADS, np.int32)
    num_coordinates, chunk_size, first_chunk, origin = geometry
    for i in range(cuda.blockIdx.x, directory.shape[1] - 1, cuda.gridDim.x):
        chunk = first_chunk + i
        low = np.int64(chunk) * chunk_size
        size = chunk_length(num_coordinates, low, chunk_size)
        good = read_entry(words, directory, i, size, scheme, tables, staged, totals, exits, status, chunk)
        if good:
            for j in range(cuda.threadIdx.x, size, cuda.blockDim.x):
                place = low + j - origin
                if 0 <= place < levels.size:  # the range may begin and end inside a chunk
                    levels[place] = staged[j]
        cuda.syncthreads()  # before the shared levels are overwritten


@cuda.jit(device=True, cache=False, fastmath=False)
def bucket_of(offsets, coordinate):
    """Return the bucket of a coordinate by bisection; `offsets` is int64[B + 1]."""
    low, high = np.int64(0), np.int64(offsets.size - 1)
    while high - low > 1:  # once a thread and chunk; from there on it walks
        middle = (low + high) >> 1
        if offsets[middle] <= coordinate:
            low = middle
        else:
            high = middle
    return low


@cuda.jit(cache=True, fastmath=False)
def decode_to_values(words, directory, geometry, scheme, tables, norms, offsets, add, values, status):
    """Decode chunks up to the last one, and write their values or add them.

    Parameters
    ----------
    words, directory, geometry, scheme, tables, status
        As `decode_chunks` takes them.
    norms : float32[B]
    offsets : int64[B + 1]
        Boundaries of the buckets.
    add : bool
    values : float32[n]
    """
    staged = cuda.shared.array(MOST_LEVELS, np.int16)
    totals = cuda.shared.array(MAX_WARPS, np.int64)
    exits = cuda.shared.array(MOST_THREADS, np.int32)
    num_coordinates, chunk_size, first_chunk, _ = geometry
    for i in range(cuda.blockIdx.x, directory.shape[1] - 1, cuda.gridDim.x):
        chunk = first_chunk + i
        low = np.int64(chunk) * chunk_size
        size = chunk_length(num_coordinates, low, chunk_size)
        good = read_entry(words, directory, i, size, scheme, tables, staged, totals, exits, status, chunk)
        if good and cuda.threadIdx.x < size:
            bucket = bucket_of(offsets, low + cuda.threadIdx.x)
            step = np.float64(level_step(norms[bucket], scheme[2]))
            for j in range(cuda.threadIdx.x, size, cuda.blockDim.x):
                if low + j >= offsets[bucket + 1]:  # a division a bucket, not a coordinate
                    while low + j >= offsets[bucket + 1]:
                        bucket += 1
                    step = np.float64(level_step(norms[bucket], scheme[2]))
                if staged[j] != 0 and not step > 0:  # also of NaN, of which every comparison is false
                    cuda.atomic.min(status, 0, np.int64(chunk) * OUTCOMES + NOT_CANONICAL)
                value = np.float32(level_value(staged[j], step))
                values[low + j] = np.float32(values[low + j] + value) if add else value
        cuda.syncthreads()


@cuda.jit(cache=True, fastmath=False)
def find_levels(levels, bounds, status):
    """Lower `status` if a level in one of the ranges ``bounds``, int64[2, k], is not 0."""
    for i in range(cuda.blockIdx.x, bounds.shape[1], cuda.gridDim.x):
        for place in range(bounds[0, i] + cuda.threadIdx.x, bounds[1, i], cuda.blockDim.x):
            if levels[place] != 0:
                cuda.atomic.min(status, 0, np.int64(NOT_CANONICAL))


def launch_find_levels(context, levels, bounds, status):
    """Look for levels other than 0 in ranges; arguments as of `find_levels`, at least one range."""
    blocks, threads = block_per_item(bounds.shape[1])
    with context.active():
        find_levels[blocks, threads, context.stream](levels, bounds, status)


def launch_decode(context, words, directory, geometry, scheme, tables, levels, status):
    """Decode a range of chunks; arguments as of `decode_chunks`."""
    blocks, threads = block_per_item(directory.shape[1] - 1)
    with context.active():
        decode_chunks[blocks, threads, context.stream](
            words, directory, geometry, scheme, tables, levels, status
        )


def launch_decode_to_values(
    context, words, directory, geometry, scheme, tables, norms, offsets, add, values, status
):
    """Write or add the values of all chunks; arguments as of `decode_to_values`."""
    blocks, threads = block_per_item(directory.shape[1] - 1)
    with context.active():
        decode_to_values[blocks, threads, context.stream](
            words, directory, geometry, scheme, tables, norms, offsets, add, values, status
        )

"""Payload to values on the CPU, without the levels of more than eight chunks in between."""

from __future__ import annotations

import numpy as np
from numba import njit

from qsgd_lab.kernels.decode_cpu import GOOD, GROUP, STATE_SIZE, decode_group
from qsgd_lab.kernels.fixed_point import level_step, level_value


@njit(cache=True, fastmath=False)
def write_values(levels, step, values):
    """Write the values of levels that share a bucket."""
    for i in range(levels.size):
        values[i] = level_value(levels[i], step)


@njit(cache=True, fastmath=False)
def add_values(levels, step, values):
    """Add the values of levels that share a bucket."""
    for i in range(levels.size):
        values[i] += level_value(levels[i], step)


@njit(cache=True, fastmath=False)
def deliver_levels(levels, first, bucket, norms, bucket_offsets, num_levels, add, values):
    """Write or add the values of levels that begin at coordinate `first`, in bucket `bucket`."""
    position, last = first, first + levels.size
    while position < last:
        while position >= bucket_offsets[bucket + 1]:
            bucket += 1
        end = min(last, bucket_offsets[bucket + 1])
        step = level_step(norms[bucket], num_levels)
        part = levels[position - first : end - first]
        if add:
            add_values(part, step, values[position:end])
        else:
            write_values(part, step, values[position:end])
        position = end
    return bucket


@njit(cache=True, fastmath=False, nogil=True)
def deliver_chunks(
    stream, directory, geometry, first_chunk, scheme, tables, norms, bucket_offsets, scratch, add, values
):
    """Decode chunks from ``first_chunk`` on, and write or add their values into float32 `values`, shape (n,).

    Parameters as of `decode_chunks`; ``scratch`` holds the levels of `GROUP` chunks. Returns (outcome, chunk)
    as it does; chunks before a bad one have been delivered.
    """
    num_coordinates, chunk_size, last_chunk = geometry
    first = first_chunk * chunk_size
    state = np.empty(STATE_SIZE, np.int64), np.empty(GROUP, np.uint32)
    bucket = np.int64(np.searchsorted(bucket_offsets, first, side="right")) - 1
    for chunk in range(first_chunk, last_chunk, GROUP):
        first = chunk * chunk_size
        last = min(num_coordinates, min(chunk + GROUP, last_chunk) * chunk_size)
        levels = scratch[: last - first]
        outcome, where = decode_group(stream, directory, geometry, chunk, scheme, tables, levels, state)
        if outcome != GOOD:
            return outcome, where
        bucket = deliver_levels(levels, first, bucket, norms, bucket_offsets, scheme[2], add, values)
    return GOOD, last_chunk

"""The last message of a sum: its values are added, the sum is divided, and looked at, while it is in cache.

Separate passes would read and write the sum three times more, which takes as long as decoding.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.constants import GOOD, NOT_CANONICAL
from qsgd_lab.kernels.cpu.float_mode import keep_denormals, set_float_mode
from qsgd_lab.kernels.cpu.messages.decode import GROUP, STATE_SIZE, GroupScratch, decode_group, put_values
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.cpu.wide_vectors import prefer_wide_vectors
from qsgd_lab.kernels.jit import njit

_LARGEST = np.float32(np.finfo(np.float32).max)


@njit(cache=True, fastmath=False)
def is_power_of_2(nodes):
    """Return whether a float32 number, a whole one from 1 to 2**24, is a power of 2."""
    count = np.int64(nodes)
    return count & (count - 1) == 0


@njit(cache=True, fastmath=False)
def divide_part(values, nodes):
    """Divide values by a float32 number, in place; return 0 if all results are finite, else 1."""
    prefer_wide_vectors()
    found = np.int32(0)
    if is_power_of_2(nodes):  # the inverse is exact, hence the products are; they take a fourth of the time
        inverse = np.float32(1.0) / nodes
        for i in range(values.size):
            value = values[i] * inverse
            values[i] = value
            found |= np.int32(not abs(value) <= _LARGEST)  # of a NaN too; no early end: this is vector code
        return found
    for i in range(values.size):
        value = values[i] / nodes
        values[i] = value
        found |= np.int32(not abs(value) <= _LARGEST)
    return found


@njit(cache=True, fastmath=False, nogil=True)
def divide_all(values, nodes):
    """Divide float32 values, shape (n,), by a float32 number, in place; return whether all are finite."""
    mode = keep_denormals()
    found = divide_part(unowned_view(values), nodes)
    set_float_mode(mode)
    return found == 0


@njit(cache=True, fastmath=False)
def add_and_divide_chunks(
    stream, directory, chunks, form, tables, norms, bucket_offsets, scratch, nodes, values
):
    """Do the work of `decode_to_mean`, which sets the float mode."""
    state = GroupScratch(np.empty(STATE_SIZE, np.int64), np.empty(GROUP, np.uint32))
    bucket, found = np.int64(0), np.int32(0)
    for chunk in range(chunks.first, chunks.stop, GROUP):
        first = chunk * chunks.size
        last = min(chunks.num_coordinates, min(chunk + GROUP, chunks.stop) * chunks.size)
        levels = scratch[: last - first]
        outcome, where = decode_group(stream, directory, chunks, chunk, form, tables, levels, state)
        if outcome != GOOD:
            return outcome, where, False
        bucket = put_values(levels, first, bucket, norms, bucket_offsets, form.num_levels, True, values)
        if bucket < 0:
            return NOT_CANONICAL, chunk, False
        found |= divide_part(values[first:last], nodes)
    return GOOD, chunks.stop, found == 0


@njit(cache=True, fastmath=False, nogil=True)
def decode_to_mean(stream, directory, chunks, form, tables, norms, bucket_offsets, scratch, nodes, values):
    """Add the values of all chunks to float32 `values`, shape (n,), and divide these by float32 `nodes`.

    Other parameters as of `decode_to_values`. Returns (outcome, chunk) as it does, and whether all of the
    result is finite.
    """
    mode = keep_denormals()
    values = unowned_view(values)
    found = add_and_divide_chunks(
        stream, directory, chunks, form, tables, norms, bucket_offsets, scratch, nodes, values
    )
    set_float_mode(mode)
    return found

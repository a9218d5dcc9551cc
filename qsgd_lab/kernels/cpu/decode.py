"""Payload to levels on the CPU, chunk after chunk; every chunk is held against its checksum first.

The payload is untrusted. What makes loads legal: chunks lie inside ``stream``, which has eight bytes after
the last of them; and nothing is loaded at a position at or beyond the end of its chunk.

Payload to values on the CPU, without the levels of more than eight chunks in between.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.codeword_reader import is_finished
from qsgd_lab.kernels.constants import DAMAGED, DENSE_SIGNED, FIXED, GOOD, MALFORMED, NOT_CANONICAL, SPARSE
from qsgd_lab.kernels.cpu.decode_dense import decode_dense_bytes, decode_dense_in_turn, finish_singly
from qsgd_lab.kernels.cpu.decode_sparse import decode_four_sparse, decode_sparse_chunk
from qsgd_lab.kernels.cpu.encode import extremes
from qsgd_lab.kernels.cpu.fixed_width import decode_fixed_chunk
from qsgd_lab.kernels.crc32c import crc32c_of_ranges
from qsgd_lab.kernels.fixed_point import level_step, level_value
from qsgd_lab.kernels.jit import njit

STATE_SIZE = 40  # of the chunks that are decoded in turn
#: Chunks that are checked, and decoded in turn, at a time.
GROUP = 8


@njit(cache=True, fastmath=False)
def decode_chunk(stream, start, end, scheme, tables, count, levels):
    """Decode the chunk in bytes start..end-1; return whether it was what an encoder writes.

    ``scheme`` is (layout, code, s, bits of a level in the fixed layout); ``tables`` is (wide, sizes, narrow,
    single levels, distances), of which a layout uses its own; ``count`` is the number of non-zeros.
    """
    layout, code, num_levels, width = scheme
    wide, sizes, narrow, singles, gaps = tables
    first, last = start << 3, end << 3
    if layout == FIXED:
        if end - start != ((levels.size * np.int64(width) + 31) >> 5) << 2:
            return False
        position = decode_fixed_chunk(stream, start, width, levels)
        low, high = extremes(levels)
        return low >= -num_levels and high <= num_levels and is_finished(stream, position, last)
    if layout == SPARSE:
        return decode_sparse_chunk(stream, first, last, (gaps, singles), code, num_levels, count, levels)
    signed = layout == DENSE_SIGNED
    begun = np.int64(0)  # a literal 0 would compile all that takes it twice
    if levels.itemsize == 1:
        bytewise = ((wide, sizes, narrow), singles)
        return decode_dense_bytes(stream, first, last, bytewise, code, num_levels, signed, levels, begun)
    return finish_singly(stream, first, last, singles, code, num_levels, signed, levels, begun)


@njit(cache=True, fastmath=False)
def decode_in_turn(stream, edges, counts, scheme, tables, levels, chunk_size, state):
    """Decode whole chunks in turn, unless fixed: eight or four, of the sparse layout four.

    `edges` is the bytes where they begin and end. Returns whether all were what an encoder writes.
    """
    layout, code, num_levels, _ = scheme
    wide, sizes, narrow, singles, gaps = tables
    if layout == SPARSE:
        pair = (gaps, singles)
        return decode_four_sparse(stream, edges, pair, code, num_levels, counts, levels, chunk_size, state)
    bytewise = ((wide, sizes, narrow), singles)
    signed = layout == DENSE_SIGNED
    return decode_dense_in_turn(stream, edges, bytewise, code, num_levels, signed, levels, chunk_size, state)


@njit(cache=True, fastmath=False)
def decode_group(stream, directory, geometry, chunk, scheme, tables, levels, scratch):
    """Decode up to eight chunks into `levels`; return (outcome, chunk) as `decode_chunks` does.

    Chunks that could be decoded in turn but are not all good are decoded again one by one, to find the bad
    one.
    """
    starts, checksums, num_nonzeros = directory
    state, computed = scratch
    num_coordinates, chunk_size, last_chunk = geometry
    stop = min(chunk + GROUP, last_chunk)
    found = computed[: stop - chunk]
    crc32c_of_ranges(stream, starts[chunk : stop + 1], found)
    for i in range(chunk, stop):
        if found[i - chunk] != checksums[i]:
            return DAMAGED, i
    in_turn = scheme[0] == SPARSE or (scheme[0] != FIXED and levels.itemsize == 1)
    whole = min(stop, num_coordinates // chunk_size) if in_turn else chunk
    done = chunk
    while done + 4 <= whole:
        size = 8 if scheme[0] != SPARSE and done + 8 <= whole else 4
        part = levels[(done - chunk) * chunk_size : (done - chunk + size) * chunk_size]
        edges, counts = starts[done : done + size + 1], num_nonzeros[done : done + size]
        if not decode_in_turn(stream, edges, counts, scheme, tables, part, chunk_size, state):
            break
        done += size
    for i in range(done, stop):
        low = (i - chunk) * chunk_size
        high = min(num_coordinates - chunk * chunk_size, low + chunk_size)
        count = np.int64(num_nonzeros[i]) if num_nonzeros.size else np.int64(0)
        if not decode_chunk(stream, starts[i], starts[i + 1], scheme, tables, count, levels[low:high]):
            return MALFORMED, i
    return GOOD, stop


@njit(cache=True, fastmath=False, nogil=True)
def decode_chunks(stream, directory, geometry, first_chunk, scheme, tables, levels):
    """Decode chunks from ``first_chunk`` on into `levels`, which begins with the first of them.

    Parameters
    ----------
    stream : uint8, read-only
        Payload and eight bytes more.
    directory : (int64[C + 1], uint32[C], uint16[C] or uint16[0])
        Where chunks begin, in bytes; checksums; numbers of non-zeros.
    geometry : (n, chunk size, the chunk to stop before)
    first_chunk : int
    scheme, tables
        As `decode_chunk` takes them.
    levels : int8 or int16

    Returns
    -------
    (int, int)
        GOOD and the chunk to stop before, or what is wrong and with which chunk.
    """
    chunk_size, last_chunk = geometry[1], geometry[2]
    scratch = np.empty(STATE_SIZE, np.int64), np.empty(GROUP, np.uint32)
    for chunk in range(first_chunk, last_chunk, GROUP):
        part = levels[(chunk - first_chunk) * chunk_size :]
        outcome, where = decode_group(stream, directory, geometry, chunk, scheme, tables, part, scratch)
        if outcome != GOOD:
            return outcome, where
    return GOOD, last_chunk


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
def any_level(levels):
    """Return whether a level is not 0."""
    found = levels.dtype.type(0)
    for i in range(levels.size):
        found |= levels[i]
    return found != 0


@njit(cache=True, fastmath=False, nogil=True)
def live_level(levels, norms, bucket_offsets):
    """Return the first bucket of norm 0 or NaN that has a level other than 0; -1 if there is none."""
    for bucket in range(norms.size):
        if not norms[bucket] > 0 and any_level(levels[bucket_offsets[bucket] : bucket_offsets[bucket + 1]]):
            return bucket
    return -1


@njit(cache=True, fastmath=False)
def deliver_levels(levels, first, bucket, norms, bucket_offsets, num_levels, add, values):
    """Write or add the values of levels that begin at coordinate `first`, in bucket `bucket`.

    Returns the bucket in which they end, or -1 if one of norm 0 or NaN has levels other than 0.
    """
    position, last = first, first + levels.size
    while position < last:
        while position >= bucket_offsets[bucket + 1]:
            bucket += 1
        end = min(last, bucket_offsets[bucket + 1])
        step = level_step(norms[bucket], num_levels)
        part = levels[position - first : end - first]
        if not norms[bucket] > 0 and any_level(part):
            return np.int64(-1)
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
        if bucket < 0:
            return NOT_CANONICAL, chunk
    return GOOD, last_chunk

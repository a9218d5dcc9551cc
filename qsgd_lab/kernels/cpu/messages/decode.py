"""Payload to levels, or to their values, on the CPU, chunk after chunk.

Every chunk is compared with its checksum first. The payload is untrusted. What makes loads legal: chunks are
inside ``stream``, which has eight bytes after the last of them; and nothing is loaded at a position at or
beyond the end of its chunk. Where values are asked for, the levels of no more than eight chunks exist.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.kernels.arguments import ChunkFormat, ChunkRange, DecodeTables, ReadDirectory
from qsgd_lab.kernels.codeword_reader import is_finished
from qsgd_lab.kernels.constants import DAMAGED, FIXED, GOOD, MALFORMED, NOT_CANONICAL, SPARSE
from qsgd_lab.kernels.cpu.float_mode import keep_denormals, set_float_mode
from qsgd_lab.kernels.cpu.messages.decode_dense import decode_dense_bytes, decode_dense_in_turn, finish_singly
from qsgd_lab.kernels.cpu.messages.decode_sparse import decode_four_sparse, decode_sparse_chunk
from qsgd_lab.kernels.cpu.messages.divide import divide_part
from qsgd_lab.kernels.cpu.messages.encode import extremes
from qsgd_lab.kernels.cpu.messages.fixed_width import decode_fixed_chunk
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.cpu.wide_vectors import prefer_wide_vectors
from qsgd_lab.kernels.crc32c import crc32c_of_ranges
from qsgd_lab.kernels.fixed_point import level_step, level_value
from qsgd_lab.kernels.jit import njit

STATE_SIZE = 40  # of the chunks that are decoded in turn: five numbers for each of eight
#: Chunks that are checked, and decoded in turn, at a time.
GROUP = 8


class GroupScratch(NamedTuple):
    """Scratch of `decode_group`: the state of chunks decoded in turn, and their checksums as computed."""

    state: NDArray[np.int64]
    checksums: NDArray[np.uint32]


@njit(cache=True, fastmath=False)
def decode_chunk(stream, start, end, form, tables, count, levels):
    """Decode the chunk in bytes start..end-1; return whether it was what an encoder writes.

    ``form`` and ``tables`` are a `ChunkFormat` and `DecodeTables`; ``count`` is the number of non-zeros.
    """
    first, last = start << 3, end << 3  # in bits
    if form.layout == FIXED:
        if end - start != ((levels.size * np.int64(form.width) + 31) >> 5) << 2:
            return False  # before anything is read, since nothing below checks the end
        position = decode_fixed_chunk(stream, start, form.width, levels)
        low, high = extremes(levels)
        return low >= -form.num_levels and high <= form.num_levels and is_finished(stream, position, last)
    if form.layout == SPARSE:
        return decode_sparse_chunk(stream, first, last, form, tables, count, levels)
    begun = np.int64(0)  # a literal 0 would compile all that takes it twice
    if levels.itemsize == 1:  # the joined tables hold levels as bytes
        return decode_dense_bytes(stream, first, last, form, tables, levels, begun)
    return finish_singly(stream, first, last, form, tables.singles, levels, begun)


@njit(cache=True, fastmath=False)
def decode_in_turn(stream, edges, counts, form, tables, levels, chunk_size, state):
    """Decode whole chunks in turn, unless fixed: eight or four, of the sparse layout four.

    `edges` is the bytes where they begin and end. Returns whether all were what an encoder writes.
    """
    if form.layout == SPARSE:
        return decode_four_sparse(stream, edges, form, tables, counts, levels, chunk_size, state)
    return decode_dense_in_turn(stream, edges, form, tables, levels, chunk_size, state)


@njit(cache=True, fastmath=False)
def decode_group(stream, directory, chunks, chunk, form, tables, levels, scratch):
    """Decode up to eight chunks, from `chunk` on, into `levels`; return (outcome, chunk) as `decode_chunks`.

    Chunks that could be decoded in turn but are not all good are decoded again one by one, to find the bad
    one.
    """
    chunk_size = chunks.size
    stop = min(chunk + GROUP, chunks.stop)
    found = scratch.checksums[: stop - chunk]
    crc32c_of_ranges(stream, directory.starts[chunk : stop + 1], found)
    for i in range(chunk, stop):
        if found[i - chunk] != directory.checksums[i]:
            return DAMAGED, i
    # Fixed chunks depend on no earlier codeword, and int16 levels have no joined tables: no turns for them.
    in_turn = form.layout == SPARSE or (form.layout != FIXED and levels.itemsize == 1)
    whole = min(stop, chunks.num_coordinates // chunk_size) if in_turn else chunk
    done = chunk
    while done + 4 <= whole:
        size = 8 if form.layout != SPARSE and done + 8 <= whole else 4
        part = levels[(done - chunk) * chunk_size : (done - chunk + size) * chunk_size]
        edges, counts = directory.starts[done : done + size + 1], directory.num_nonzeros[done : done + size]
        if not decode_in_turn(stream, edges, counts, form, tables, part, chunk_size, scratch.state):
            break
        done += size
    for i in range(done, stop):
        low = (i - chunk) * chunk_size
        high = min(chunks.num_coordinates - chunk * chunk_size, low + chunk_size)
        count = np.int64(directory.num_nonzeros[i]) if directory.num_nonzeros.size else np.int64(0)
        start, end = directory.starts[i], directory.starts[i + 1]
        if not decode_chunk(stream, start, end, form, tables, count, levels[low:high]):
            return MALFORMED, i
    return GOOD, stop


@njit(cache=True, fastmath=False, nogil=True)
def decode_chunks(stream, directory, chunks, form, tables, levels):
    """Decode a range of chunks into `levels`, which begins with the first of them.

    Parameters
    ----------
    stream : uint8, read-only
        Payload and eight bytes more.
    directory, chunks, form, tables
        Fields of `ReadDirectory`, `ChunkRange`, `ChunkFormat` and `DecodeTables`: plain tuples take less
        time a call.
    levels : int8 or int16

    Returns
    -------
    (int, int)
        GOOD and the chunk to stop before, or what is wrong and with which chunk.
    """
    directory, chunks = ReadDirectory(*directory), ChunkRange(*chunks)
    form, tables = ChunkFormat(*form), DecodeTables(*tables)
    scratch = GroupScratch(np.empty(STATE_SIZE, np.int64), np.empty(GROUP, np.uint32))
    for chunk in range(chunks.first, chunks.stop, GROUP):
        part = levels[(chunk - chunks.first) * chunks.size :]
        outcome, where = decode_group(stream, directory, chunks, chunk, form, tables, part, scratch)
        if outcome != GOOD:
            return outcome, where
    return GOOD, chunks.stop


@njit(cache=True, fastmath=False)
def write_values(levels, step, values):
    """Write the values of levels that share a bucket."""
    prefer_wide_vectors()
    for i in range(levels.size):
        values[i] = level_value(levels[i], step)


@njit(cache=True, fastmath=False)
def add_values(levels, step, values):
    """Add the values of levels that share a bucket."""
    prefer_wide_vectors()
    for i in range(levels.size):
        values[i] += level_value(levels[i], step)


@njit(cache=True, fastmath=False)
def any_level(levels):
    """Return whether a level is not 0."""
    found = levels.dtype.type(0)
    for i in range(levels.size):
        found |= levels[i]  # no early end: without a branch the loop is vector code
    return found != 0


@njit(cache=True, fastmath=False, nogil=True)
def live_level(levels, norms, bucket_offsets):
    """Return the first bucket of norm 0 or NaN that has a level other than 0; -1 if there is none."""
    mode = keep_denormals()  # a denormal norm is not 0
    found = -1
    for bucket in range(norms.size):
        # Not "<= 0", which would be false of a NaN.
        if not norms[bucket] > 0 and any_level(levels[bucket_offsets[bucket] : bucket_offsets[bucket + 1]]):
            found = bucket
            break
    set_float_mode(mode)
    return found


@njit(cache=True, fastmath=False)
def put_values(levels, first, bucket, norms, bucket_offsets, num_levels, add, values):
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


@njit(cache=True, fastmath=False)
def put_chunks(stream, directory, chunks, form, tables, norms, bucket_offsets, scratch, add, nodes, values):
    """Do the work of `decode_to_values` and `decode_to_mean`, which set the float mode.

    `nodes` is 0 where nothing is divided. Returns whether all that was divided is finite, too.
    """
    found = np.int32(0)
    state = GroupScratch(np.empty(STATE_SIZE, np.int64), np.empty(GROUP, np.uint32))
    first = chunks.first * chunks.size
    bucket = np.int64(np.searchsorted(bucket_offsets, first, side="right")) - 1
    for chunk in range(chunks.first, chunks.stop, GROUP):
        first = chunk * chunks.size
        last = min(chunks.num_coordinates, min(chunk + GROUP, chunks.stop) * chunks.size)
        levels = scratch[: last - first]
        outcome, where = decode_group(stream, directory, chunks, chunk, form, tables, levels, state)
        if outcome != GOOD:
            return outcome, where, False
        bucket = put_values(levels, first, bucket, norms, bucket_offsets, form.num_levels, add, values)
        if bucket < 0:
            return NOT_CANONICAL, chunk, False
        if nodes > 0:  # now, while it is in the cache: a pass of its own takes as long as decoding
            found |= divide_part(values[first:last], nodes)
    return GOOD, chunks.stop, found == 0


@njit(cache=True, fastmath=False, nogil=True)
def decode_to_values(stream, directory, chunks, form, tables, norms, bucket_offsets, scratch, add, values):
    """Decode a range of chunks, and write or add their values into float32 `values`, shape (n,).

    Parameters as of `decode_chunks`; ``scratch`` holds the levels of `GROUP` chunks. Returns (outcome, chunk)
    as it does; the values of chunks before a bad one are then written.
    """
    mode = keep_denormals()
    none = np.float32(0)
    outcome, chunk, _ = put_chunks(
        stream, directory, chunks, form, tables, norms, bucket_offsets, scratch, add, none, values
    )
    set_float_mode(mode)
    return outcome, chunk


@njit(cache=True, fastmath=False, nogil=True)
def decode_to_mean(stream, directory, chunks, form, tables, norms, bucket_offsets, scratch, nodes, values):
    """Add the values of all chunks to float32 `values`, shape (n,), and divide these by float32 `nodes`.

    Other parameters as of `decode_to_values`. Returns (outcome, chunk) as it does, and whether all of the
    result is finite.
    """
    mode = keep_denormals()
    values = unowned_view(values)
    found = put_chunks(
        stream, directory, chunks, form, tables, norms, bucket_offsets, scratch, True, nodes, values
    )
    set_float_mode(mode)
    return found

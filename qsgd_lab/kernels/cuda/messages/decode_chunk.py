"""One chunk back to levels by one block, without knowing where its codewords begin.

The chunk's bits are divided into regions, one a thread. At first each thread supposes that a codeword begins
where its region does, and reads to the region's end; then it learns where the thread before it ended, and
if that is another place it reads again, until nothing changes. Codes find back into step after a few
codewords, so two or three rounds do; and since the first thread is right from the beginning and every
round makes one more thread right, any bytes whatever come to an end. Then running sums say which coordinate
each thread's first level is, and a last reading writes the levels and judges the bits, which are untrusted:
what it reads is what one thread would have read from the chunk's first bit.

Nothing is loaded at or beyond the chunk's end but the bits of a codeword that begins before it, which the
message's last eight bytes allow; nothing is stored outside the chunk's levels.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from qsgd_lab.kernels.arguments import ChunkFormat
from qsgd_lab.kernels.codeword_reader import (
    dense_level,
    fixed_level,
    nonzero_level,
    number_at,
    only_zeros_left,
    signed_level,
)
from qsgd_lab.kernels.constants import DAMAGED, DENSE_SIGNED, FIXED, GOOD, MALFORMED, SPARSE
from qsgd_lab.kernels.cuda.messages.checksum import warp_checksum
from qsgd_lab.kernels.cuda.messages.encode import MOST_LEVELS
from qsgd_lab.kernels.cuda.messages.scan import sum_before
from qsgd_lab.kernels.cuda.norms import LANES

LEAST_REGION = 32  # bits; shorter ones would only take more rounds

_WORD = np.uint64(32)


@cuda.jit(device=True, cache=False, fastmath=False)
def window_at(words, position):
    """Return the bits of a stream of words that follow bit `position`, at least 33 of them."""
    word = position >> 5
    # Two aligned loads: a GPU has none at any byte.
    pair = np.uint64(words[word]) | (np.uint64(words[word + 1]) << _WORD)
    return pair >> np.uint64(position & 31)


@cuda.jit(device=True, cache=False, fastmath=False)
def next_symbol(words, position, scheme):
    """Return (distance, level, bits) of what begins at a bit; no bits where nothing legal does."""
    form = ChunkFormat(*scheme)
    layout, code, num_levels = form.layout, form.code, form.num_levels
    bits = window_at(words, position)
    gap, size = np.int64(1), np.int64(0)
    if layout == SPARSE:
        number, used = number_at(bits, code)
        if used == 0 or number > MOST_LEVELS:  # further than any chunk reaches
            return gap, np.int64(0), np.int64(0)
        gap, size = np.int64(number), np.int64(used)
        # A window of its own, since distance and level together may exceed 33 bits.
        level, more = nonzero_level(window_at(words, position + size), code, num_levels)
    elif layout == DENSE_SIGNED:
        level, more = signed_level(bits, code, num_levels)
    else:
        level, more = dense_level(bits, code, num_levels)
    return gap, np.int64(level), size + more if more != 0 else np.int64(0)


@cuda.jit(device=True, cache=False, fastmath=False)
def skim(words, position, end, scheme):
    """Read from a bit up to region end `end`; return (where the last codeword ends, levels, distances).

    At illegal bits the rest of the region is skipped.
    """
    count, places = np.int32(0), np.int32(0)
    while position < end:
        gap, _, size = next_symbol(words, position, scheme)
        if size == 0:  # out of step, or malformed: the last reading tells which
            position = end
        else:
            position += size
            places += np.int32(gap)
            count += np.int32(1)
    return position, count, places


@cuda.jit(device=True, cache=False, fastmath=False)
def fall_into_step(words, begin, end, scheme, exits):
    """Return the thread's (first codeword, region end, levels, distances), as one thread would find them.

    ``exits`` (int32, shared) has an entry for each thread.
    """
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    region = (end - begin + threads - 1) // threads
    region = region if region > LEAST_REGION else np.int64(LEAST_REGION)
    position, stop = begin + thread * region, begin + (thread + 1) * region
    position = position if position < end else end
    stop = stop if stop < end else end
    changed = True
    count, places = np.int32(0), np.int32(0)
    found = position
    while True:
        if changed:
            found, count, places = skim(words, position, stop, scheme)
        exits[thread] = np.int32(found - begin)  # relative, which fits 32 bits wherever the chunk is
        cuda.syncthreads()
        entry = begin + np.int64(exits[thread - 1]) if thread > 0 else begin
        changed = entry != position
        position = entry
        # All threads leave in one round, which the barrier inside also needs.
        if not cuda.syncthreads_or(1 if changed else 0):
            return position, stop, count, places


@cuda.jit(device=True, cache=False, fastmath=False)
def read_fixed(words, begin, end, size, scheme, levels):
    """Read a chunk of fixed width; return whether the thread's part was what an encoder writes."""
    form = ChunkFormat(*scheme)
    num_levels, width = form.num_levels, form.width
    step = np.int64(width)
    if (size * step + 31) >> 5 != (end - begin) >> 5:
        return False
    legal = True
    for i in range(cuda.threadIdx.x, size, cuda.blockDim.x):
        level = np.int64(fixed_level(window_at(words, begin + i * step), width))
        legal = legal and -num_levels <= level <= num_levels
        levels[i] = np.int16(level)
    after = begin + size * step
    return bool(legal and only_zeros_left(window_at(words, after), end - after))


@cuda.jit(device=True, cache=False, fastmath=False)
def read_codewords(words, begin, end, size, needed, scheme, levels, totals, exits):
    """Read a chunk of `needed` codewords; return whether the thread's part was what an encoder writes.

    If all parts were, but there are not enough of them, some thread says so.
    """
    sparse = scheme[0] == SPARSE
    if sparse:
        for i in range(cuda.threadIdx.x, size, cuda.blockDim.x):
            levels[i] = np.int16(0)
    position, stop, count, places = fall_into_step(words, begin, end, scheme, exits)
    done, all_counted = sum_before(np.int64(count), totals)
    place = done
    if sparse:
        place, _ = sum_before(np.int64(places), totals)
    if needed == 0:
        return end == begin
    if all_counted < needed:
        return False
    place -= 1  # of the level before the thread's first
    last = done < needed <= done + count
    while done < needed and position < stop:
        gap, level, used = next_symbol(words, position, scheme)
        place += np.int32(gap)
        if used == 0 or position + used > end or place >= size:
            return False
        levels[place] = np.int16(level)
        position += used
        done += 1
    return bool(only_zeros_left(window_at(words, position), end - position)) if last else True


@cuda.jit(device=True, cache=False, fastmath=False)
def read_chunk(words, edges, checksum, size, nonzeros, scheme, tables, levels, totals, exits):
    """Read a chunk into shared `levels` (int16); return GOOD, DAMAGED or MALFORMED to all threads.

    Parameters
    ----------
    words : uint32
        Payload and two words more.
    edges : (int64, int64)
        The words where the chunk begins and ends.
    checksum : uint32
    size, nonzeros : int
        Coordinates of the chunk, and how many levels are not 0, in the sparse layout.
    scheme : (layout, code, s, bits of a level in the fixed layout as uint64)
    tables : (uint32[4, 256], uint32[32])
        Of words, for checksums.
    totals : int64, shared
        An entry for each warp.
    exits : int32, shared
        An entry for each thread.
    """
    first, last = edges
    number = last - first if cuda.threadIdx.x < LANES else np.int64(0)
    found = warp_checksum(words, first, number, tables)
    # Nothing is decoded before the checksum is known to be right; one thread judges, all hear of it.
    if cuda.syncthreads_or(1 if cuda.threadIdx.x == 0 and found != checksum else 0):
        return DAMAGED
    begin, end = first << 5, last << 5
    if scheme[0] == FIXED:
        legal = read_fixed(words, begin, end, size, scheme, levels)
    else:
        needed = nonzeros if scheme[0] == SPARSE else size
        legal = read_codewords(words, begin, end, size, needed, scheme, levels, totals, exits)
    return MALFORMED if cuda.syncthreads_or(0 if legal else 1) else GOOD

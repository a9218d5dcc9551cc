"""Dense chunks back to levels.

The next bits of the stream are the index of a table whose entry gives the levels of all codewords that lie
whole in them, up to eight, and how many bits and levels these are. One 64-bit load serves four look-ups, and
four chunks are decoded in turn, so that each has time to wait for its own: the chain from one position to the
next is what limits a single stream.

A table's entry is empty (no bits, no levels) where its first codeword is longer than the index or not legal;
such are read bit by bit. Fast loops run only while what they may read and write is inside the chunk.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from qsgd_lab.kernels.bits import store32, store64, window
from qsgd_lab.kernels.elias import BAD
from qsgd_lab.kernels.symbol import get_dense_level, get_signed_level, is_finished

LOOKUPS = 4  # of at most 14 bits each
READ_MARGIN = 56
WRITE_MARGIN = 32
WIDE_STORE, NARROW_STORE = 8, 4  # bytes that are stored for an entry, whatever it holds

_SHIFT_MASK = np.uint64(63)
_SIX = np.uint64(6)
_EIGHT = np.uint64(8)
_COUNT_SHIFT = np.uint64(30)


@njit(cache=True, fastmath=False, forceinline=True)
def advance_wide(stream, position, wide, sizes, levels, done):
    """Decode four look-ups of up to eight levels each; return the new (position, done).

    ``sizes`` (uint16) are the bits of an entry, and from bit 8 its number of levels. The lowest six bits of a
    word are what a shift takes without a mask, so that the chain from one look-up to the next, which decoding
    waits for, is short; they also add up over four look-ups without a mask.
    """
    bits = window(stream, position)
    mask = np.uint64(wide.size - 1)
    total = np.uint64(0)
    for _ in range(LOOKUPS):
        index = bits & mask
        size = np.uint64(sizes[index])
        store64(levels, done, wide[index])
        bits >>= size & _SHIFT_MASK
        total += size
        done += np.int64(size >> _EIGHT)
    return position + np.int64(total & _SHIFT_MASK), done


@njit(cache=True, fastmath=False, forceinline=True)
def advance_narrow(stream, position, narrow, levels, done):
    """Decode four look-ups of up to three levels each; return the new (position, done).

    An entry (uint32) is its bits, from bit 6 its levels, and from bit 30 their number.
    """
    bits = window(stream, position)
    mask = np.uint64(narrow.size - 1)
    total = np.uint64(0)
    for _ in range(LOOKUPS):
        entry = np.uint64(narrow[bits & mask])
        store32(levels, done, entry >> _SIX)
        bits >>= entry & _SHIFT_MASK
        total += entry
        done += np.int64(entry >> _COUNT_SHIFT)
    return position + np.int64(total & _SHIFT_MASK), done


@njit(cache=True, fastmath=False)
def run_wide(stream, state, limits, wide, sizes, levels):
    """Decode four chunks in turn by wide entries until one comes near its end or meets an empty entry.

    ``state`` (int64[8]) is four bit positions and four places in `levels`, updated; ``limits`` are the last
    from which a turn is safe.
    """
    p0, p1, p2, p3, o0, o1, o2, o3 = (
        state[0],
        state[1],
        state[2],
        state[3],
        state[4],
        state[5],
        state[6],
        state[7],
    )
    r0, r1, r2, r3, w0, w1, w2, w3 = (
        limits[0],
        limits[1],
        limits[2],
        limits[3],
        limits[4],
        limits[5],
        limits[6],
        limits[7],
    )
    b0, b1, b2, b3 = o0 - 1, o1 - 1, o2 - 1, o3 - 1
    while (
        (p0 <= r0 and p1 <= r1 and p2 <= r2 and p3 <= r3)
        and (o0 <= w0 and o1 <= w1 and o2 <= w2 and o3 <= w3)
        and (o0 != b0 and o1 != b1 and o2 != b2 and o3 != b3)
    ):
        b0, b1, b2, b3 = o0, o1, o2, o3
        p0, o0 = advance_wide(stream, p0, wide, sizes, levels, o0)
        p1, o1 = advance_wide(stream, p1, wide, sizes, levels, o1)
        p2, o2 = advance_wide(stream, p2, wide, sizes, levels, o2)
        p3, o3 = advance_wide(stream, p3, wide, sizes, levels, o3)
    state[0], state[1], state[2], state[3], state[4], state[5], state[6], state[7] = (
        p0,
        p1,
        p2,
        p3,
        o0,
        o1,
        o2,
        o3,
    )


@njit(cache=True, fastmath=False)
def run_narrow(stream, state, limits, narrow, levels):
    """Decode four chunks in turn by narrow entries; otherwise as `run_wide`."""
    p0, p1, p2, p3, o0, o1, o2, o3 = (
        state[0],
        state[1],
        state[2],
        state[3],
        state[4],
        state[5],
        state[6],
        state[7],
    )
    r0, r1, r2, r3, w0, w1, w2, w3 = (
        limits[0],
        limits[1],
        limits[2],
        limits[3],
        limits[4],
        limits[5],
        limits[6],
        limits[7],
    )
    b0, b1, b2, b3 = o0 - 1, o1 - 1, o2 - 1, o3 - 1
    while (
        (p0 <= r0 and p1 <= r1 and p2 <= r2 and p3 <= r3)
        and (o0 <= w0 and o1 <= w1 and o2 <= w2 and o3 <= w3)
        and (o0 != b0 and o1 != b1 and o2 != b2 and o3 != b3)
    ):
        b0, b1, b2, b3 = o0, o1, o2, o3
        p0, o0 = advance_narrow(stream, p0, narrow, levels, o0)
        p1, o1 = advance_narrow(stream, p1, narrow, levels, o1)
        p2, o2 = advance_narrow(stream, p2, narrow, levels, o2)
        p3, o3 = advance_narrow(stream, p3, narrow, levels, o3)
    state[0], state[1], state[2], state[3], state[4], state[5], state[6], state[7] = (
        p0,
        p1,
        p2,
        p3,
        o0,
        o1,
        o2,
        o3,
    )


@njit(cache=True, fastmath=False)
def next_level(stream, position, end, code, num_levels, signed):
    """Return (level, the position after it), or (0, BAD)."""
    if signed:
        return get_signed_level(stream, position, end, code, num_levels)
    return get_dense_level(stream, position, end, code, num_levels)


@njit(cache=True, fastmath=False, forceinline=True)
def single_level(stream, position, end, singles, code, num_levels, signed):
    """Return (level, the position after it) by the table of single levels, else bit by bit; or (0, BAD)."""
    found = np.int64(singles[window(stream, position) & np.uint64(singles.size - 1)])
    if found & 255:
        return found >> 8, position + (found & 255)
    return next_level(stream, position, end, code, num_levels, signed)


@njit(cache=True, fastmath=False)
def finish_singly(stream, position, end, singles, code, num_levels, signed, levels, done):
    """Decode the rest of a chunk level by level; return whether it was what an encoder writes.

    `singles` (int32[2^k]) gives for k bits the first level times 256 and its codeword's length, 0 where there
    is none.
    """
    for i in range(done, levels.size):
        if position >= end:
            return False
        level, position = single_level(stream, position, end, singles, code, num_levels, signed)
        if position == BAD:
            return False
        levels[i] = level
    return is_finished(stream, position, end)


@njit(cache=True, fastmath=False, forceinline=True)
def first_entry(stream, position, joined):
    """Return the entry at a position, 0 if it is empty."""
    wide, sizes, narrow = joined
    bits = window(stream, position)
    if narrow.size > 1:
        return np.int64(narrow[bits & np.uint64(narrow.size - 1)])
    return np.int64(sizes[bits & np.uint64(wide.size - 1)])


@njit(cache=True, fastmath=False)
def step_over(stream, state, ends, i, tables, code, num_levels, signed, levels):
    """Decode one level of chunk i where the joined tables have none; return whether there was one."""
    _, singles = tables
    level, position = single_level(stream, state[i], ends[i], singles, code, num_levels, signed)
    if position == BAD:
        return False
    levels[state[4 + i]] = level
    state[i] = position
    state[4 + i] += 1
    return True


@njit(cache=True, fastmath=False)
def step_wide(stream, position, end, wide, sizes, levels, done):
    """Decode by one wide entry after another while they fit; return the new (position, done)."""
    mask = np.uint64(wide.size - 1)
    while done + WIDE_STORE <= levels.size:
        index = window(stream, position) & mask
        size = np.int64(sizes[index])
        used = size & 63
        if size == 0 or position + used > end:
            break
        store64(levels, done, wide[index])
        position += used
        done += size >> 8
    return position, done


@njit(cache=True, fastmath=False)
def step_narrow(stream, position, end, narrow, levels, done):
    """Decode by one narrow entry after another while they fit; return the new (position, done)."""
    mask = np.uint64(narrow.size - 1)
    while done + NARROW_STORE <= levels.size:
        entry = np.int64(narrow[window(stream, position) & mask])
        used = entry & 63
        if entry == 0 or position + used > end:
            break
        store32(levels, done, np.uint64(entry >> 6))
        position += used
        done += entry >> 30
    return position, done


@njit(cache=True, fastmath=False)
def decode_dense_bytes(stream, position, end, tables, code, num_levels, signed, levels, done):
    """Decode a chunk of int8 levels, `done` of which stand before bit `position`.

    Returns whether it was what an encoder writes.
    """
    joined, singles = tables
    wide, sizes, narrow = joined
    while done + WIDE_STORE <= levels.size:
        if narrow.size > 1:
            position, done = step_narrow(stream, position, end, narrow, levels, done)
        else:
            position, done = step_wide(stream, position, end, wide, sizes, levels, done)
        if done == levels.size:
            break
        if position >= end:
            return False
        level, position = single_level(stream, position, end, singles, code, num_levels, signed)
        if position == BAD:
            return False
        levels[done] = level
        done += 1
    return finish_singly(stream, position, end, singles, code, num_levels, signed, levels, done)


@njit(cache=True, fastmath=False)
def run_four(stream, state, limits, ends, tables, code, num_levels, signed, levels):
    """Decode four chunks in turn until one comes near its end; return whether no codeword was bad so far."""
    joined, _ = tables
    wide, sizes, narrow = joined
    while True:
        if narrow.size > 1:
            run_narrow(stream, state, limits, narrow, levels)
        else:
            run_wide(stream, state, limits, wide, sizes, levels)
        for i in range(8):
            if state[i] > limits[i]:
                return True
        for i in range(4):
            if first_entry(stream, state[i], joined) == 0 and not step_over(
                stream, state, ends, i, tables, code, num_levels, signed, levels
            ):
                return False


@njit(cache=True, fastmath=False)
def decode_four_dense(stream, edges, tables, code, num_levels, signed, levels, chunk_size, state):
    """Decode four whole chunks of int8 levels in turn; return whether all were what an encoder writes.

    `edges` is the five bytes where they begin and end, `levels` of shape (4 chunk_size,), `state` scratch of
    shape (20,).
    """
    places, limits, ends = state[:8], state[8:16], state[16:20]
    for i in range(4):
        places[i], ends[i] = edges[i] << 3, edges[i + 1] << 3
        places[4 + i] = i * chunk_size
        limits[i], limits[4 + i] = ends[i] - READ_MARGIN, (i + 1) * chunk_size - WRITE_MARGIN
    if not run_four(stream, places, limits, ends, tables, code, num_levels, signed, levels):
        return False
    for i in range(4):
        part = levels[i * chunk_size : (i + 1) * chunk_size]
        done = places[4 + i] - i * chunk_size
        if not decode_dense_bytes(stream, places[i], ends[i], tables, code, num_levels, signed, part, done):
            return False
    return True

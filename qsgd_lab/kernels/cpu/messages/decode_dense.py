"""Dense chunks back to levels.

The next bits of the stream are the index of a table whose entry gives the levels of all codewords that are
whole in them, up to eight, and how many bits and levels these are. One 64-bit load serves four look-ups, and
eight or four chunks are decoded in turn (`cpu.decode_dense_interleaved`).

A table's entry is empty (no bits, no levels) where its first codeword is longer than the index or not legal;
such are read bit by bit. Fast loops run only while what they may read and write is inside the chunk.

``form`` and ``tables`` are a `ChunkFormat` and `DecodeTables`; ``state`` is the positions of all chunks in
bits, then their places in `levels`.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.bits import store32, store64, window
from qsgd_lab.kernels.codeword_reader import get_dense_level, get_signed_level, is_finished
from qsgd_lab.kernels.constants import DENSE_SIGNED
from qsgd_lab.kernels.cpu.messages.decode_dense_interleaved import (
    LOOKUPS,
    run_4_narrow,
    run_4_wide,
    run_8_narrow,
    run_8_wide,
)
from qsgd_lab.kernels.elias import BAD
from qsgd_lab.kernels.jit import njit

READ_MARGIN = 56  # bits that a turn may use: four look-ups of 14
WRITE_MARGIN = 32  # levels that a turn may write: four entries of eight
WIDE_STORE, NARROW_STORE = 8, 4  # bytes that are stored for an entry, whatever it holds


@njit(cache=True, fastmath=False)
def safe_turns(state, limits, most):
    """Return how many turns are safe in all chunks, if each writes at most `most` levels."""
    count = state.size // 2
    turns = np.int64(1 << 62)
    for i in range(count):
        for_bits = (limits[i] - state[i]) // READ_MARGIN
        turns = min(turns, for_bits, (limits[count + i] - state[count + i]) // most)
    return turns + 1  # one more: the margins are those of a turn that begins at the limit


@njit(cache=True, fastmath=False)
def next_level(stream, position, end, form):
    """Return (level, the position after it), or (0, BAD)."""
    if form.layout == DENSE_SIGNED:
        return get_signed_level(stream, position, end, form.code, form.num_levels)
    return get_dense_level(stream, position, end, form.code, form.num_levels)


@njit(cache=True, fastmath=False, forceinline=True)
def single_level(stream, position, end, form, singles):
    """Return (level, the position after it) by the table of single levels, else bit by bit; or (0, BAD)."""
    found = np.int64(singles[window(stream, position) & np.uint64(singles.size - 1)])
    if found & 255:
        return found >> 8, position + (found & 255)
    return next_level(stream, position, end, form)


@njit(cache=True, fastmath=False)
def finish_singly(stream, position, end, form, singles, levels, done):
    """Decode the rest of a chunk level by level; return whether it was what an encoder writes.

    `singles` (int32[2^k]) gives for k bits the first level times 256 and its codeword's length, 0 where there
    is none.
    """
    for i in range(done, levels.size):
        if position >= end:  # nothing may be loaded there
            return False
        level, position = single_level(stream, position, end, form, singles)
        if position == BAD:
            return False
        levels[i] = level
    return is_finished(stream, position, end)


@njit(cache=True, fastmath=False, forceinline=True)
def first_entry(stream, position, tables):
    """Return the entry at a position, 0 if it is empty."""
    bits = window(stream, position)
    if tables.narrow.size > 1:  # the layout and s have either narrow entries or wide ones
        return np.int64(tables.narrow[bits & np.uint64(tables.narrow.size - 1)])
    return np.int64(tables.sizes[bits & np.uint64(tables.wide.size - 1)])


@njit(cache=True, fastmath=False)
def step_over(stream, state, ends, i, form, singles, levels):
    """Decode one level of chunk i where the joined tables have none; return whether there was one."""
    level, position = single_level(stream, state[i], ends[i], form, singles)
    if position == BAD:
        return False
    place = state.size // 2 + i
    levels[state[place]] = level
    state[i] = position
    state[place] += 1
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
        store64(levels, done, wide[index])  # all eight bytes; those beyond the entry's levels come next
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
def decode_dense_bytes(stream, position, end, form, tables, levels, done):
    """Decode a chunk of int8 levels, of which `done` are decoded and `position` is the next bit.

    Returns whether it was what an encoder writes.
    """
    while done + WIDE_STORE <= levels.size:
        if tables.narrow.size > 1:
            position, done = step_narrow(stream, position, end, tables.narrow, levels, done)
        else:
            position, done = step_wide(stream, position, end, tables.wide, tables.sizes, levels, done)
        if done == levels.size:
            break
        if position >= end:
            return False
        level, position = single_level(stream, position, end, form, tables.singles)
        if position == BAD:
            return False
        levels[done] = level
        done += 1
    return finish_singly(stream, position, end, form, tables.singles, levels, done)


@njit(cache=True, fastmath=False)
def run_in_turn(stream, state, limits, ends, form, tables, levels):
    """Decode chunks in turn until one comes near its end; return whether no codeword was bad so far."""
    wide, sizes, narrow = tables.wide, tables.sizes, tables.narrow
    most = LOOKUPS * (3 if narrow.size > 1 else 8)
    while True:
        turns = safe_turns(state, limits, most)
        if turns <= 0:
            return True
        if narrow.size > 1 and state.size == 16:
            run_8_narrow(stream, state, turns, narrow, levels)
        elif narrow.size > 1:
            run_4_narrow(stream, state, turns, narrow, levels)
        elif state.size == 16:
            run_8_wide(stream, state, turns, wide, sizes, levels)
        else:
            run_4_wide(stream, state, turns, wide, sizes, levels)
        # A run ends early where a chunk meets an empty entry: all such are stepped over, then turns go on.
        for i in range(ends.size):
            if first_entry(stream, state[i], tables) == 0 and not step_over(
                stream, state, ends, i, form, tables.singles, levels
            ):
                return False


@njit(cache=True, fastmath=False)
def decode_dense_in_turn(stream, edges, form, tables, levels, chunk_size, scratch):
    """Decode eight or four whole chunks of int8 levels in turn; return whether all were as encoders write.

    `edges` is the bytes where they begin and end, one more than there are chunks; `levels` has their length,
    and `scratch` is of shape (40,).
    """
    count = edges.size - 1
    places, limits = scratch[: 2 * count], scratch[2 * count : 4 * count]
    ends = scratch[4 * count : 5 * count]
    for i in range(count):
        places[i], ends[i] = edges[i] << 3, edges[i + 1] << 3
        places[count + i] = i * chunk_size
        limits[i], limits[count + i] = ends[i] - READ_MARGIN, (i + 1) * chunk_size - WRITE_MARGIN
    if not run_in_turn(stream, places, limits, ends, form, tables, levels):
        return False
    for i in range(count):  # what is left of each, with its end checked at every step
        part = levels[i * chunk_size : (i + 1) * chunk_size]
        done = places[count + i] - i * chunk_size
        if not decode_dense_bytes(stream, places[i], ends[i], form, tables, part, done):
            return False
    return True

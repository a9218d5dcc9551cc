"""Sparse chunks back to levels: a look-up for the distance, another for sign and magnitude.

Tables are indexed by the next k bits: ``gaps`` (uint16[2^k]) with the first distance times 16, plus the bits
of its codeword, ``singles`` (int32[2^k]) with the level times 256, plus its bits; 0 where a codeword is
longer or not legal. Such are read bit by bit. Four chunks are decoded in turn, as dense ones are.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.bits import window
from qsgd_lab.kernels.codeword_reader import get_gap_and_level, is_finished
from qsgd_lab.kernels.elias import BAD
from qsgd_lab.kernels.jit import njit

#: A turn reads two look-ups of at most 16 bits.
READ_MARGIN = 32


@njit(cache=True, fastmath=False, forceinline=True)
def peek(stream, position, gaps, singles):
    """Return the entries of the distance and the level at a position; either is 0 if unknown."""
    bits = window(stream, position)
    gap = np.int64(gaps[bits & np.uint64(gaps.size - 1)])
    level = np.int64(singles[(bits >> np.uint64(gap & 15)) & np.uint64(singles.size - 1)])
    return gap, level


@njit(cache=True, fastmath=False)
def read_some(stream, position, end, form, tables, count, levels, place):
    """Decode `count` levels after `place`; return the new (position, place), or BAD and a place."""
    gaps, singles = tables.gaps, tables.singles
    for _ in range(count):
        if position >= end:  # nothing may be loaded there
            return BAD, place
        found, level = peek(stream, position, gaps, singles)
        if found != 0 and level != 0:
            place += found >> 4
            position += (found & 15) + (level & 255)
            level >>= 8
        else:
            gap, level, position = get_gap_and_level(
                stream, position, end, form.code, form.num_levels, levels.size
            )
            place += gap
        if position == BAD or place >= levels.size:
            return BAD, place
        levels[place] = level
    return position, place


@njit(cache=True, fastmath=False)
def decode_sparse_chunk(stream, start, end, form, tables, count, levels):
    """Decode a chunk of `count` non-zero levels; return whether it was what an encoder writes."""
    levels[:] = 0
    place = np.int64(-1)  # the first distance is counted from here
    position, place = read_some(stream, start, end, form, tables, count, levels, place)
    return position != BAD and is_finished(stream, position, end)


@njit(cache=True, fastmath=False)
def run_sparse(stream, state, limits, turns, tables, levels):
    """Decode up to `turns` levels of each of four chunks in turn, as long as tables suffice; return how many.

    ``state`` (int64[8]) is four bit positions and four places in `levels`, updated; ``limits`` are the last
    positions from which a turn is safe, and the last places.
    """
    gaps, singles = tables.gaps, tables.singles
    # Scalars, since only they stay in registers: positions p, places o, and their limits r and w.
    p0, p1, p2, p3 = state[0], state[1], state[2], state[3]
    o0, o1, o2, o3 = state[4], state[5], state[6], state[7]
    r0, r1, r2, r3 = limits[0], limits[1], limits[2], limits[3]
    w0, w1, w2, w3 = limits[4], limits[5], limits[6], limits[7]
    done = 0
    while done < turns and p0 <= r0 and p1 <= r1 and p2 <= r2 and p3 <= r3:
        g0, q0 = peek(stream, p0, gaps, singles)
        g1, q1 = peek(stream, p1, gaps, singles)
        g2, q2 = peek(stream, p2, gaps, singles)
        g3, q3 = peek(stream, p3, gaps, singles)
        if g0 == 0 or g1 == 0 or g2 == 0 or g3 == 0 or q0 == 0 or q1 == 0 or q2 == 0 or q3 == 0:
            break  # before any of the four is written, so that they stay in step
        n0, n1, n2, n3 = o0 + (g0 >> 4), o1 + (g1 >> 4), o2 + (g2 >> 4), o3 + (g3 >> 4)
        if n0 > w0 or n1 > w1 or n2 > w2 or n3 > w3:
            break
        o0, o1, o2, o3 = n0, n1, n2, n3
        levels[o0], levels[o1], levels[o2], levels[o3] = q0 >> 8, q1 >> 8, q2 >> 8, q3 >> 8
        p0 += (g0 & 15) + (q0 & 255)
        p1 += (g1 & 15) + (q1 & 255)
        p2 += (g2 & 15) + (q2 & 255)
        p3 += (g3 & 15) + (q3 & 255)
        done += 1
    state[0], state[1], state[2], state[3] = p0, p1, p2, p3
    state[4], state[5], state[6], state[7] = o0, o1, o2, o3
    return done


@njit(cache=True, fastmath=False)
def read_of_each(stream, state, edges, counts, form, tables, levels, chunk_size, most):
    """Decode up to `most` levels of each of four chunks; return whether all were legal."""
    for i in range(4):
        part = levels[i * chunk_size : (i + 1) * chunk_size]
        count = min(most, counts[i])
        place = state[4 + i] - i * chunk_size
        end = edges[i + 1] << 3
        state[i], place = read_some(stream, state[i], end, form, tables, count, part, place)
        if state[i] == BAD:
            return False
        state[4 + i] = place + i * chunk_size
        counts[i] -= count
    return True


@njit(cache=True, fastmath=False)
def decode_four_sparse(stream, edges, form, tables, num_nonzeros, levels, chunk_size, scratch):
    """Decode four whole chunks in turn; return whether all were what an encoder writes.

    `edges` is the five bytes where they begin and end, `num_nonzeros` their counts, `levels` of shape (4
    chunk_size,), `scratch` int64 of shape (20,).
    """
    state, limits, counts = scratch[:8], scratch[8:16], scratch[16:20]
    levels[:] = 0
    for i in range(4):
        state[i], limits[i] = edges[i] << 3, (edges[i + 1] << 3) - READ_MARGIN
        state[4 + i], limits[4 + i] = i * chunk_size - 1, (i + 1) * chunk_size - 1
        counts[i] = num_nonzeros[i]
    turns = min(counts[0], counts[1], counts[2], counts[3])
    while turns > 0:
        done = run_sparse(stream, state, limits, turns, tables, levels)
        for i in range(4):
            counts[i] -= done
        # A run ends early where a table has no entry or a chunk nears its end: one level each, checked.
        if done < turns and not read_of_each(
            stream, state, edges, counts, form, tables, levels, chunk_size, np.int64(1)
        ):
            return False
        turns = min(counts[0], counts[1], counts[2], counts[3])
    # Counts differ: the rest of each chunk alone.
    if not read_of_each(stream, state, edges, counts, form, tables, levels, chunk_size, chunk_size):
        return False
    finished = True
    for i in range(4):
        finished &= is_finished(stream, state[i], edges[i + 1] << 3)
    return finished

"""Dense chunks decoded in turn: one 64-bit load and four look-ups for each of eight chunks, or of four.

The chain from one look-up to the next is what limits a single stream; with eight of them the processor has
something to do while each waits (against four: 1.15 to 1.2 times as fast). They are written out, since only
then does all of it stay in registers or next to them.

``state`` is int64: the bit positions of all chunks, then their places in `levels`; it is updated. How many
turns are safe is the caller's to know. They end early when a chunk meets an empty entry.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.bits import store32, store64, window
from qsgd_lab.kernels.jit import njit

LOOKUPS = 4  # of at most 14 bits each

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
        store64(levels, done, wide[index])  # eight levels whatever it holds; the next look-up overwrites
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
def run_4_wide(stream, state, turns, wide, sizes, levels):
    """Decode four chunks by wide entries."""
    p0, o0 = state[0], state[4]
    p1, o1 = state[1], state[5]
    p2, o2 = state[2], state[6]
    p3, o3 = state[3], state[7]
    while turns > 0:
        turns -= 1
        q0, o0 = advance_wide(stream, p0, wide, sizes, levels, o0)
        q1, o1 = advance_wide(stream, p1, wide, sizes, levels, o1)
        q2, o2 = advance_wide(stream, p2, wide, sizes, levels, o2)
        q3, o3 = advance_wide(stream, p3, wide, sizes, levels, o3)
        if q0 == p0 or q1 == p1 or q2 == p2 or q3 == p3:  # a chunk that did not move met an empty entry
            turns = np.int64(0)  # the loop's own condition ends it, which is cheaper than a second exit
        p0, p1, p2, p3 = q0, q1, q2, q3
    state[0], state[4] = p0, o0
    state[1], state[5] = p1, o1
    state[2], state[6] = p2, o2
    state[3], state[7] = p3, o3


@njit(cache=True, fastmath=False)
def run_8_wide(stream, state, turns, wide, sizes, levels):
    """Decode eight chunks by wide entries."""
    p0, o0 = state[0], state[8]
    p1, o1 = state[1], state[9]
    p2, o2 = state[2], state[10]
    p3, o3 = state[3], state[11]
    p4, o4 = state[4], state[12]
    p5, o5 = state[5], state[13]
    p6, o6 = state[6], state[14]
    p7, o7 = state[7], state[15]
    while turns > 0:
        turns -= 1
        q0, o0 = advance_wide(stream, p0, wide, sizes, levels, o0)
        q1, o1 = advance_wide(stream, p1, wide, sizes, levels, o1)
        q2, o2 = advance_wide(stream, p2, wide, sizes, levels, o2)
        q3, o3 = advance_wide(stream, p3, wide, sizes, levels, o3)
        q4, o4 = advance_wide(stream, p4, wide, sizes, levels, o4)
        q5, o5 = advance_wide(stream, p5, wide, sizes, levels, o5)
        q6, o6 = advance_wide(stream, p6, wide, sizes, levels, o6)
        q7, o7 = advance_wide(stream, p7, wide, sizes, levels, o7)
        if (q0 == p0 or q1 == p1 or q2 == p2 or q3 == p3) or (q4 == p4 or q5 == p5 or q6 == p6 or q7 == p7):
            turns = np.int64(0)
        p0, p1, p2, p3 = q0, q1, q2, q3
        p4, p5, p6, p7 = q4, q5, q6, q7
    state[0], state[8] = p0, o0
    state[1], state[9] = p1, o1
    state[2], state[10] = p2, o2
    state[3], state[11] = p3, o3
    state[4], state[12] = p4, o4
    state[5], state[13] = p5, o5
    state[6], state[14] = p6, o6
    state[7], state[15] = p7, o7


@njit(cache=True, fastmath=False)
def run_4_narrow(stream, state, turns, narrow, levels):
    """Decode four chunks by narrow entries."""
    p0, o0 = state[0], state[4]
    p1, o1 = state[1], state[5]
    p2, o2 = state[2], state[6]
    p3, o3 = state[3], state[7]
    while turns > 0:
        turns -= 1
        q0, o0 = advance_narrow(stream, p0, narrow, levels, o0)
        q1, o1 = advance_narrow(stream, p1, narrow, levels, o1)
        q2, o2 = advance_narrow(stream, p2, narrow, levels, o2)
        q3, o3 = advance_narrow(stream, p3, narrow, levels, o3)
        if q0 == p0 or q1 == p1 or q2 == p2 or q3 == p3:  # a chunk that did not move met an empty entry
            turns = np.int64(0)  # the loop's own condition ends it, which is cheaper than a second exit
        p0, p1, p2, p3 = q0, q1, q2, q3
    state[0], state[4] = p0, o0
    state[1], state[5] = p1, o1
    state[2], state[6] = p2, o2
    state[3], state[7] = p3, o3


@njit(cache=True, fastmath=False)
def run_8_narrow(stream, state, turns, narrow, levels):
    """Decode eight chunks by narrow entries."""
    p0, o0 = state[0], state[8]
    p1, o1 = state[1], state[9]
    p2, o2 = state[2], state[10]
    p3, o3 = state[3], state[11]
    p4, o4 = state[4], state[12]
    p5, o5 = state[5], state[13]
    p6, o6 = state[6], state[14]
    p7, o7 = state[7], state[15]
    while turns > 0:
        turns -= 1
        q0, o0 = advance_narrow(stream, p0, narrow, levels, o0)
        q1, o1 = advance_narrow(stream, p1, narrow, levels, o1)
        q2, o2 = advance_narrow(stream, p2, narrow, levels, o2)
        q3, o3 = advance_narrow(stream, p3, narrow, levels, o3)
        q4, o4 = advance_narrow(stream, p4, narrow, levels, o4)
        q5, o5 = advance_narrow(stream, p5, narrow, levels, o5)
        q6, o6 = advance_narrow(stream, p6, narrow, levels, o6)
        q7, o7 = advance_narrow(stream, p7, narrow, levels, o7)
        if (q0 == p0 or q1 == p1 or q2 == p2 or q3 == p3) or (q4 == p4 or q5 == p5 or q6 == p6 or q7 == p7):
            turns = np.int64(0)
        p0, p1, p2, p3 = q0, q1, q2, q3
        p4, p5, p6, p7 = q4, q5, q6, q7
    state[0], state[8] = p0, o0
    state[1], state[9] = p1, o1
    state[2], state[10] = p2, o2
    state[3], state[11] = p3, o3
    state[4], state[12] = p4, o4
    state[5], state[13] = p5, o5
    state[6], state[14] = p6, o6
    state[7], state[15] = p7, o7

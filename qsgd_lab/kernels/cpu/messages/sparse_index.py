"""Positions of sparse values: fixed fields, Rice codes of distances, and bitmaps (wire format 2, kind 6).

Streams end in eight zero bytes, so that 64 bits may be loaded at any byte before them; writers are given
zeroed bytes and eight more.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.bits import load64, store64, trailing_zeros, window
from qsgd_lab.kernels.jit import njit

GOOD, DISORDER, OVERRUN, NOT_ZERO = 0, 1, 2, 3

_ONE = np.uint64(1)
_SEVEN = np.int64(7)
_WINDOW = 57  # bits that one load shows, whatever the position


@njit(cache=True, fastmath=False, forceinline=True)
def put(stream, position, code):
    """Set the bits of `code` (uint64, at most 57) from bit `position` on; they were 0."""
    byte = position >> 3
    # Read, OR and store: codes follow each other in order, so that later bytes are still zero.
    store64(stream, byte, load64(stream, byte) | (code << np.uint64(position & _SEVEN)))


@njit(cache=True, fastmath=False, nogil=True)
def write_fields(positions, width, stream):
    """Write positions (int64) in `width` (int, at most 48) bits each."""
    for i in range(positions.size):
        put(stream, i * width, np.uint64(positions[i]))


@njit(cache=True, fastmath=False, nogil=True)
def read_fields(stream, width, bound, positions):
    """Read positions in `width` bits each; return GOOD, or DISORDER unless they ascend below `bound`."""
    mask = (_ONE << np.uint64(width)) - _ONE
    before = np.int64(-1)
    for i in range(positions.size):
        position = np.int64(window(stream, i * width) & mask)
        if position <= before or position >= bound:
            return DISORDER
        positions[i] = before = position
    return GOOD


@njit(cache=True, fastmath=False, nogil=True)
def write_bitmap(positions, stream):
    """Set the bit of each position."""
    for i in range(positions.size):
        stream[positions[i] >> 3] |= np.uint8(1 << (positions[i] & 7))


@njit(cache=True, fastmath=False, nogil=True)
def read_bitmap(stream, size, positions):
    """Read the positions of the ones of `size` bytes; return DISORDER if they are not as many as expected."""
    count = 0
    for byte in range(0, size, 8):
        word = load64(stream, byte)
        if byte + 8 > size:  # bytes after the bitmap belong to others
            word &= (_ONE << np.uint64(8 * (size - byte))) - _ONE
        while word:
            if count == positions.size:
                return DISORDER
            positions[count] = 8 * byte + np.int64(trailing_zeros(word))
            word &= word - _ONE  # clears the lowest one
            count += 1
    return GOOD if count == positions.size else DISORDER


@njit(cache=True, fastmath=False, nogil=True)
def rice_bits(positions, entries, parameter, bits):
    """Write the bits of each chunk of `entries` positions into int64[C], the first of each not counted."""
    for chunk in range(bits.size):
        total = np.int64(0)
        for i in range(chunk * entries + 1, min(positions.size, (chunk + 1) * entries)):
            total += ((positions[i] - positions[i - 1] - 1) >> parameter) + 1 + parameter
        bits[chunk] = total


@njit(cache=True, fastmath=False, nogil=True)
def write_rice(positions, entries, parameter, starts, stream):
    """Write the Rice codes of chunks that begin at bits `starts`, int64[C]."""
    low = (_ONE << np.uint64(parameter)) - _ONE
    for chunk in range(starts.size):
        at = starts[chunk]
        for i in range(chunk * entries + 1, min(positions.size, (chunk + 1) * entries)):
            gap = positions[i] - positions[i - 1] - 1
            at += gap >> parameter
            put(stream, at, ((np.uint64(gap) & low) << _ONE) | _ONE)
            at += 1 + parameter


@njit(cache=True, fastmath=False)
def read_rice_chunk(stream, at, end, parameter, bound, positions):
    """Read a chunk in bits at..end-1, whose first position is there; return what is wrong, or GOOD."""
    low = (_ONE << np.uint64(parameter)) - _ONE
    for i in range(1, positions.size):
        first = at
        while True:
            if at >= end:
                return OVERRUN
            # Only 57 bits are certain, so that a long run of zeros takes more than one window.
            word = window(stream, at) & ((_ONE << np.uint64(_WINDOW)) - _ONE)
            if word:
                at += np.int64(trailing_zeros(word))
                break
            at += _WINDOW
        quotient = at - first
        at += 1 + parameter
        if at > end:
            return OVERRUN
        gap = (quotient << parameter) + np.int64(window(stream, at - parameter) & low)
        position = positions[i - 1] + gap + 1
        if position >= bound:
            return DISORDER
        positions[i] = position
    # Canonical: no whole word left over, and zeros to the end.
    if end - at >= 32 or (window(stream, at) & ((_ONE << np.uint64(end - at)) - _ONE)):
        return NOT_ZERO
    return GOOD


@njit(cache=True, fastmath=False, nogil=True)
def read_rice(stream, starts, firsts, entries, parameter, bound, positions):
    """Read the positions of all chunks.

    Parameters
    ----------
    stream : uint8, read-only
    starts : int64[C + 1]
        Bits where chunks begin and the last one ends.
    firsts : uint64[C]
        The first position of each, as claimed.
    entries, parameter, bound : int
        Entries a chunk; r; n.
    positions : int64[k]

    Returns
    -------
    (int, int)
        GOOD and C, or what is wrong and with which chunk.
    """
    before = np.int64(-1)
    for chunk in range(firsts.size):
        part = positions[chunk * entries : min(positions.size, (chunk + 1) * entries)]
        if firsts[chunk] >= np.uint64(bound) or np.int64(firsts[chunk]) <= before:
            return DISORDER, chunk
        part[0] = np.int64(firsts[chunk])
        outcome = read_rice_chunk(stream, starts[chunk], starts[chunk + 1], parameter, bound, part)
        if outcome != GOOD:
            return outcome, chunk
        before = part[part.size - 1]
    return GOOD, firsts.size

"""The coding loops of layout `ranged` with sixteen states, in vectors: one chunk, or four in turn.

A turn's latency is long and its work short, so that four chunks in turn take little more than one. The loops
give the stream, the symbols and the position of the scalar loops in `ranged`.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.cpu.messages.ranged import BLOCK_BITS, EXCEPTION, LEAST_STATE
from qsgd_lab.kernels.cpu.messages.ranged_turns import decode_turn, encode_turn
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.cpu.wide_vectors import prefer_wide_vectors
from qsgd_lab.kernels.jit import njit

_BITS = np.int64(BLOCK_BITS)
_LEAST = np.uint32(LEAST_STATE)
_EXCEPTION = np.uint32(EXCEPTION)


@njit(cache=True, fastmath=False)
def decode_vectors(words, word, last_word, classes, slots, states, symbols):
    """Decode a chunk; arguments and result as of `ranged.decode_symbols`.

    Up to sixteen words are read from `last_word` on.
    """
    prefer_wide_vectors()
    symbols, states, words = unowned_view(symbols), unowned_view(states), unowned_view(words)
    slots = unowned_view(slots)
    for block in range(classes.size):
        table = np.int64(classes[block]) << 12
        first = block << _BITS
        for i in range(first, min(symbols.size, first + 512), 16):
            word += decode_turn(slots, table, states, 0, words, min(word, last_word), symbols, i)
    return word


@njit(cache=True, fastmath=False)
def decode_four(words, positions, last_words, classes, slots, states, symbols, size):
    """Decode four chunks of `size` symbols, a multiple of 512, in turn.

    Parameters
    ----------
    words : uint16
    positions, last_words : int64[4]
        The first word of each, replaced by the one after the last read.
    classes : uint8
        Of the blocks of all four.
    slots : uint32
    states : uint32[64]
    symbols : uint8[4 size]
    """
    prefer_wide_vectors()
    symbols, states, words = unowned_view(symbols), unowned_view(states), unowned_view(words)
    slots, classes = unowned_view(slots), unowned_view(classes)
    p0, p1, p2, p3 = positions[0], positions[1], positions[2], positions[3]
    e0, e1, e2, e3 = last_words[0], last_words[1], last_words[2], last_words[3]
    blocks = size >> _BITS
    for block in range(blocks):
        t0, t1 = np.int64(classes[block]) << 12, np.int64(classes[blocks + block]) << 12
        t2, t3 = np.int64(classes[2 * blocks + block]) << 12, np.int64(classes[3 * blocks + block]) << 12
        first = block << _BITS
        for i in range(first, first + 512, 16):
            p0 += decode_turn(slots, t0, states, 0, words, min(p0, e0), symbols, i)
            p1 += decode_turn(slots, t1, states, 16, words, min(p1, e1), symbols, size + i)
            p2 += decode_turn(slots, t2, states, 32, words, min(p2, e2), symbols, 2 * size + i)
            p3 += decode_turn(slots, t3, states, 48, words, min(p3, e3), symbols, 3 * size + i)
    positions[0], positions[1], positions[2], positions[3] = p0, p1, p2, p3


@njit(cache=True, fastmath=False)
def encode_vectors(symbols, classes, entries, states, words, flags):
    """Encode a chunk; arguments and result as of `ranged.encode_symbols`.

    Sixteen words are stored over where a turn begins, so `words` has sixteen to spare in front.
    """
    prefer_wide_vectors()
    symbols, states, words = unowned_view(symbols), unowned_view(states), unowned_view(words)
    entries, seen = unowned_view(entries), np.zeros(16, np.uint32)
    for state in range(states.size):
        states[state] = _LEAST
    position = np.int64(words.size)
    for block in range(classes.size - 1, -1, -1):
        table = np.int64(classes[block]) << 8
        first = block << _BITS
        last = min(symbols.size, first + 512)
        for i in range(last - 16, first - 1, -16):
            position -= encode_turn(entries, table, symbols, i, states, 0, seen, 0, words, position)
        flags[block] = take_flag(seen, 0)
    return position


@njit(cache=True, fastmath=False)
def encode_four(symbols, size, classes, entries, states, words, positions, flags):
    """Encode four chunks of `size` symbols, a multiple of 512, in turn.

    Parameters
    ----------
    symbols : uint8[4 size]
    size : int
    classes : uint8
        Of the blocks of all four.
    entries : uint64
    states : uint32[64]
        Written: what a reader begins with.
    words : uint16
        Four equal parts, each written from its end on.
    positions : int64[4]
        Written: where in `words` the words of each chunk begin.
    flags : uint8
        Written: whether a block of these has exceptions.
    """
    prefer_wide_vectors()
    symbols, states, words = unowned_view(symbols), unowned_view(states), unowned_view(words)
    entries, classes, seen = unowned_view(entries), unowned_view(classes), np.zeros(64, np.uint32)
    for state in range(states.size):
        states[state] = _LEAST
    part, blocks = np.int64(words.size >> 2), size >> _BITS
    p0, p1, p2, p3 = part, 2 * part, 3 * part, 4 * part
    for block in range(blocks - 1, -1, -1):
        t0, t1 = np.int64(classes[block]) << 8, np.int64(classes[blocks + block]) << 8
        t2, t3 = np.int64(classes[2 * blocks + block]) << 8, np.int64(classes[3 * blocks + block]) << 8
        first = block << _BITS
        for i in range(first + 496, first - 1, -16):
            p0 -= encode_turn(entries, t0, symbols, i, states, 0, seen, 0, words, p0)
            p1 -= encode_turn(entries, t1, symbols, size + i, states, 16, seen, 16, words, p1)
            p2 -= encode_turn(entries, t2, symbols, 2 * size + i, states, 32, seen, 32, words, p2)
            p3 -= encode_turn(entries, t3, symbols, 3 * size + i, states, 48, seen, 48, words, p3)
        for chunk in range(4):
            flags[chunk * blocks + block] = take_flag(seen, 16 * chunk)
    positions[0], positions[1], positions[2], positions[3] = p0, p1, p2, p3


@njit(cache=True, fastmath=False, forceinline=True)
def take_flag(seen, row):
    """Return whether an exception is among the entries seen by sixteen lanes, and forget them."""
    any_seen = np.uint32(0)
    for lane in range(row, row + 16):
        any_seen |= seen[lane]
        seen[lane] = 0
    return np.uint8((any_seen & _EXCEPTION) != 0)

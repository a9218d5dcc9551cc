"""Chunks of layout `ranged` on the CPU: levels to symbols, low bits, states, words and exceptions.

What a chunk holds is specified in docs/wire-format-2.md; `ranged_read` is the way back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.kernels.cpu.messages.fixed_width import pack_nibbles
from qsgd_lab.kernels.cpu.messages.ranged import BLOCK_BITS, EXCEPTION, encode_symbols
from qsgd_lab.kernels.cpu.messages.ranged_turns import HAS_VECTORS
from qsgd_lab.kernels.cpu.messages.ranged_vector import encode_four, encode_vectors
from qsgd_lab.kernels.jit import njit

#: What a chunk may have wrong.
GOOD, STATE, LENGTH, HAS_FREQUENCY, LOW_BITS, OUT_OF_RANGE, NOT_ZERO, NO_ESCAPE = range(8)
SPARE = 16  # words in front of those of a chunk, over which vectors are stored

_BITS = np.int64(BLOCK_BITS)
_ESCAPE_OF_WIDE = np.int64(0x80)


class WriteBuffer(NamedTuple):
    """Where chunks are written: its bytes and, of the same memory, its words (uint16)."""

    octets: NDArray[np.uint8]
    pairs: NDArray[np.uint16]


class WriteScratch(NamedTuple):
    """Scratch for the longest chunks coded in turn, one or four.

    Attributes
    ----------
    symbols : uint8
    states : uint32
    words : uint16
        As many as symbols, and `SPARE` more, for each chunk.
    flags : uint8
        Of each block, whether it has exceptions.
    """

    symbols: NDArray[np.uint8]
    states: NDArray[np.uint32]
    words: NDArray[np.uint16]
    flags: NDArray[np.uint8]


@njit(cache=True, fastmath=False)
def escape_of(field_bits):
    """Return the byte of fields that no level takes: each at its most negative number."""
    return np.int64(0xAA if field_bits == 2 else 0x88 if field_bits == 4 else 0x80)


@njit(cache=True, fastmath=False, forceinline=True)
def num_symbols(count, form):
    """Return the symbols of a chunk of `count` coordinates, padding included."""
    used = (count * form.field_bits + 7) >> 3
    return (used + form.num_states - 1) // form.num_states * form.num_states


@njit(cache=True, fastmath=False, forceinline=True)
def num_blocks(count, form):
    """Return the blocks of a chunk of `count` coordinates."""
    return (num_symbols(count, form) + 511) >> _BITS


@njit(cache=True, fastmath=False, nogil=True)
def fields_to_symbols(levels, field_bits, symbols):
    """Write levels as fields of 2, 4 or 8 bits, lowest first, then zeros."""
    per_byte = 8 // field_bits
    whole = levels.size // per_byte
    if per_byte == 1:
        for i in range(whole):
            symbols[i] = np.uint8(levels[i])
    elif per_byte == 2:
        pack_nibbles(levels, symbols)
    else:
        for i in range(whole):  # a plain loop on bytes, as that of `pack_nibbles`
            low = (levels[4 * i] & 3) | ((levels[4 * i + 1] & 3) << 2)
            symbols[i] = low | ((levels[4 * i + 2] & 3) << 4) | ((levels[4 * i + 3] & 3) << 6)
    for i in range(whole, symbols.size):
        symbols[i] = 0
    mask = (1 << field_bits) - 1
    for i in range(whole * per_byte, levels.size):
        symbols[whole] |= np.uint8((levels[i] & mask) << (field_bits * (i - whole * per_byte)))


@njit(cache=True, fastmath=False)
def shifted_to_symbols(levels, shifts, classes, symbols):
    """Write levels / 2^k rounded down, k the shift of their block; the escape where that is not a byte."""
    for i in range(levels.size, symbols.size):
        symbols[i] = 0
    for i in range(levels.size):
        high = np.int64(levels[i]) >> np.int64(shifts[classes[i >> _BITS]])
        symbols[i] = np.uint8(high & 255 if -127 <= high <= 127 else _ESCAPE_OF_WIDE)


@njit(cache=True, fastmath=False)
def levels_to_symbols(levels, form, tables, classes, symbols):
    """Write the symbols of a chunk."""
    if form.num_levels <= 127:
        fields_to_symbols(levels, form.field_bits, symbols)
    else:
        shifted_to_symbols(levels, tables.shifts, classes, symbols)


@njit(cache=True, fastmath=False)
def low_bytes(count, shifts, classes):
    """Return the bytes of the low bits of `count` coordinates."""
    bits = np.int64(0)
    for block in range(classes.size):
        first = block << _BITS
        bits += max(0, min(count - first, 512)) * np.int64(shifts[classes[block]])
    return ((bits + 31) >> 5) << 2


@njit(cache=True, fastmath=False)
def write_low_bits(levels, shifts, classes, stream, at):
    """Write the low k bits of each level from byte `at` on; return where they end."""
    size = low_bytes(levels.size, shifts, classes)
    for byte in range(at, at + size):
        stream[byte] = 0
    bit = np.int64(0)
    for i in range(levels.size):
        k = np.int64(shifts[classes[i >> _BITS]])
        low = (np.int64(levels[i]) & ((1 << k) - 1)) << (bit & 7)  # at most 15 bits
        stream[at + (bit >> 3)] |= np.uint8(low & 255)
        if low >> 8:
            stream[at + (bit >> 3) + 1] |= np.uint8(low >> 8)
        bit += k
    return at + size


@njit(cache=True, fastmath=False)
def append_chunk(levels, form, tables, classes, symbols, states, words, flags, stream, at):
    """Write a chunk whose symbols are coded from byte `at` on; return (where it ends, GOOD or NO_ESCAPE).

    ``form`` is a `RangedFormat`, ``tables`` a `RangedTables`, ``words`` those of this chunk alone, and
    ``stream`` a `WriteBuffer`.
    """
    octets, pairs = stream.octets, stream.pairs
    if form.num_levels > 127:
        at = write_low_bits(levels, tables.shifts, classes, octets, at)
    for state in range(states.size):
        pairs[(at >> 1) + 2 * state] = np.uint16(states[state] & np.uint32(0xFFFF))
        pairs[(at >> 1) + 2 * state + 1] = np.uint16(states[state] >> np.uint32(16))
    at += 4 * states.size
    target = pairs[at >> 1 : (at >> 1) + words.size]  # a slice of its own: the loop becomes vectors
    for word in range(words.size):
        target[word] = words[word]
    at += 2 * words.size
    escape = escape_of(form.field_bits)
    for block in range(flags.size):
        if not flags[block]:
            continue
        kind = np.int64(classes[block])
        for i in range(block << _BITS, min(symbols.size, (block + 1) << _BITS)):
            value = np.int64(symbols[i])
            if not tables.entries[(kind << 8) + value] & np.uint64(EXCEPTION):
                continue
            if not tables.frequencies[kind, escape]:
                return at, NO_ESCAPE
            if form.num_levels <= 127:
                octets[at] = np.uint8(value)
                at += 1
            else:
                level = np.int64(levels[i]) if i < levels.size else np.int64(0)
                octets[at] = np.uint8(level & 255)
                octets[at + 1] = np.uint8((level >> 8) & 255)
                at += 2
    while at & 3:
        octets[at] = 0
        at += 1
    return at, GOOD


@njit(cache=True, fastmath=False, nogil=True)
def write_chunks(levels, form, tables, classes, scratch, stream, num_words):
    """Write all chunks; return (bytes, GOOD or what is wrong with a chunk, which).

    ``classes`` is uint8, of the blocks of all chunks; ``stream`` a `WriteBuffer`; `num_words` (uint16[C]) is
    filled. Only what was checked to be in -s..s is given.
    """
    at, block, chunk, done = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    states, words, flags, count = scratch.states, scratch.words, scratch.flags, 1 << form.chunk_bits
    positions = np.empty(4, np.int64)
    while done < levels.size:
        # Vectors code four whole chunks in turn, and what is left of a message one by one.
        four = HAS_VECTORS and form.num_states == 16 and done + 4 * count <= levels.size
        together, each = 4 if four else 1, min(count, levels.size - done)
        size, blocks = num_symbols(each, form), num_blocks(each, form)
        for i in range(together):
            part, own = levels[done + i * each : done + (i + 1) * each], classes[block + i * blocks :]
            levels_to_symbols(part, form, tables, own, scratch.symbols[i * size : (i + 1) * size])
        all_classes, symbols = classes[block : block + together * blocks], scratch.symbols[: together * size]
        space = words[: together * (size + SPARE)]
        if four:
            encode_four(symbols, size, all_classes, tables.entries, states, space, positions, flags)
        elif HAS_VECTORS and form.num_states == 16:
            positions[0] = encode_vectors(symbols, all_classes, tables.entries, states, space, flags)
        else:
            own = states[: form.num_states]
            positions[0] = encode_symbols(
                symbols, all_classes, tables.entries, tables.reciprocals, own, space, flags
            )
        for i in range(together):
            part, row = levels[done : done + each], states[i * form.num_states : (i + 1) * form.num_states]
            coded = space[positions[i] : (i + 1) * (size + SPARE)]
            own, marked = classes[block : block + blocks], flags[i * blocks : (i + 1) * blocks]
            one = symbols[i * size : (i + 1) * size]
            end, outcome = append_chunk(part, form, tables, own, one, row, coded, marked, stream, at)
            if outcome != GOOD:
                return end, outcome, chunk
            num_words[chunk] = np.uint16((end - at) >> 2)
            at, done, block, chunk = end, done + each, block + blocks, chunk + 1
    return at, GOOD, chunk

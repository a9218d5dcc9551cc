"""Chunks of layout `ranged` on the CPU: states, words, exceptions and low bits to levels.

The reader trusts nothing: sizes are compared with the chunk's end before anything is read there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.kernels.bits import load64
from qsgd_lab.kernels.cpu.messages.fixed_width import unpack_nibbles, unpack_pairs
from qsgd_lab.kernels.cpu.messages.ranged import BLOCK_BITS, LEAST_STATE, decode_symbols
from qsgd_lab.kernels.cpu.messages.ranged_chunk import (
    GOOD,
    HAS_FREQUENCY,
    LENGTH,
    LOW_BITS,
    NOT_ZERO,
    OUT_OF_RANGE,
    STATE,
    escape_of,
    low_bytes,
    num_blocks,
    num_symbols,
)
from qsgd_lab.kernels.cpu.messages.ranged_turns import HAS_VECTORS
from qsgd_lab.kernels.cpu.messages.ranged_vector import decode_four, decode_vectors
from qsgd_lab.kernels.jit import njit

_BITS = np.int64(BLOCK_BITS)
_LEAST = np.uint32(LEAST_STATE)
_ESCAPE_OF_WIDE = np.int64(0x80)
_ONES = np.uint64(0x0101010101010101)
_TOPS = np.uint64(0x8080808080808080)


class ReadScratch(NamedTuple):
    """Scratch for the chunks decoded in turn: symbols, states, and levels (int16) of a chunk's exceptions."""

    symbols: NDArray[np.uint8]
    states: NDArray[np.uint32]
    wide: NDArray[np.int16]


@njit(cache=True, fastmath=False)
def holds(symbols, first, last, value):
    """Return whether a byte is among symbols first..last-1."""
    pattern, found = np.uint64(value) * _ONES, np.uint64(0)
    whole = first + ((last - first) & ~7)
    for at in range(first, whole, 8):
        word = load64(symbols, at) ^ pattern
        found |= (word - _ONES) & ~word & _TOPS  # a byte that is 0 sets its top bit, and without one none is
    for at in range(whole, last):
        found |= np.uint64(np.int64(symbols[at]) == value)
    return found != np.uint64(0)


@njit(cache=True, fastmath=False)
def replace_exceptions(stream, at, end, form, tables, classes, symbols, wide):
    """Replace each escape by what follows the words; return (where that ends, GOOD or what is wrong).

    `wide` (int16) gets the levels of exceptions where s > 127, and its symbols stay escapes.
    """
    escape = escape_of(form.field_bits)
    size = 2 if form.num_levels > 127 else 1
    for block in range(classes.size):
        first, last = block << _BITS, min(symbols.size, (block + 1) << _BITS)
        if not holds(symbols, first, last, escape):
            continue
        kind = np.int64(classes[block])
        for i in range(first, last):
            if np.int64(symbols[i]) != escape:
                continue
            if at + size > end:
                return at, LENGTH
            if size == 1:
                value = np.int64(stream[at])
                symbols[i] = np.uint8(value)
                if not tables.allowed[value]:
                    return at, OUT_OF_RANGE
            else:
                level = np.int64(stream[at]) | np.int64(stream[at + 1]) << 8
                level -= (level >> 15) << 16
                wide[i] = np.int16(level)
                high = level >> np.int64(tables.shifts[kind])
                value = high & 255 if -127 <= high <= 127 else np.int64(-1)
            at += size
            if value >= 0 and tables.frequencies[kind, value]:
                return at, HAS_FREQUENCY
    return at, GOOD


@njit(cache=True, fastmath=False)
def symbols_to_fields(symbols, form, tables, levels):
    """Write the levels of fields; return GOOD or what is wrong.

    Exceptions were looked at already, and so were the bytes of tables, unless one is outside of -s..s.
    """
    per_byte = 8 // form.field_bits
    whole = levels.size // per_byte
    if per_byte == 1:
        for i in range(whole):
            levels[i] = np.int8(symbols[i])
    elif per_byte == 2:
        unpack_nibbles(symbols, levels)
    else:
        unpack_pairs(symbols, levels)
    if tables.is_doubtful:
        for i in range(symbols.size):
            if not tables.allowed[np.int64(symbols[i])]:
                return OUT_OF_RANGE
    rest = levels.size - whole * per_byte
    if rest:
        sign, mask = 1 << (form.field_bits - 1), (1 << form.field_bits) - 1
        byte = np.int64(symbols[whole])
        for j in range(rest):
            levels[whole * per_byte + j] = (((byte >> (form.field_bits * j)) & mask) ^ sign) - sign
        if byte >> (form.field_bits * rest):
            return NOT_ZERO
        whole += 1
    for i in range(whole, symbols.size):
        if symbols[i]:
            return NOT_ZERO
    return GOOD


@njit(cache=True, fastmath=False)
def symbols_to_wide(stream, start, form, tables, classes, symbols, wide, levels):
    """Write the levels of symbols and low bits, which begin at byte `start`; return GOOD or what is wrong."""
    bit, s = np.int64(0), np.int64(form.num_levels)
    for i in range(levels.size):
        k = np.int64(tables.shifts[classes[i >> _BITS]])
        at = start + (bit >> 3)
        low = ((np.int64(stream[at]) | np.int64(stream[at + 1]) << 8) >> (bit & 7)) & ((1 << k) - 1)
        bit += k
        symbol = np.int64(symbols[i])
        level = np.int64(wide[i])
        if symbol != _ESCAPE_OF_WIDE:
            level = ((symbol ^ 128) - 128) * (1 << k) + low
        elif level & ((1 << k) - 1) != low:
            return LOW_BITS
        if level < -s or level > s:
            return OUT_OF_RANGE
        levels[i] = level
    last = start + low_bytes(levels.size, tables.shifts, classes)
    while bit < (last - start) << 3:  # what is left of the last word
        if (stream[start + (bit >> 3)] >> np.uint8(bit & 7)) & np.uint8(1):
            return NOT_ZERO
        bit += 1
    for i in range(levels.size, symbols.size):
        if symbols[i] and not (np.int64(symbols[i]) == _ESCAPE_OF_WIDE and wide[i] == 0):
            return NOT_ZERO
    return GOOD


@njit(cache=True, fastmath=False)
def read_states(stream, start, end, count, form, tables, classes, states):
    """Read the states of the chunk in bytes start..end-1; return (where its words begin, GOOD or not)."""
    at = start
    if form.num_levels > 127:
        at += low_bytes(count, tables.shifts, classes)
    if at + 4 * states.size > end:
        return at, LENGTH
    for state in range(states.size):
        x = np.uint32(0)
        for byte in range(4):
            x |= np.uint32(stream[at]) << np.uint32(8 * byte)
            at += 1
        if x < np.uint32(1 << 16):
            return at, STATE
        states[state] = x
    return at, GOOD


@njit(cache=True, fastmath=False)
def finish_chunk(stream, start, word, end, form, tables, classes, states, symbols, wide, levels):
    """Write the levels of decoded symbols; return GOOD or what is wrong.

    `word` is what the loop returned. The first word beyond the end is asked for at the same symbol by every
    form of the loop, after which each reads what it likes: so the length is looked at before the states.
    """
    if 2 * word > end:
        return LENGTH
    for state in range(states.size):
        if states[state] != _LEAST:
            return STATE
    at, outcome = replace_exceptions(stream, 2 * word, end, form, tables, classes, symbols, wide)
    if outcome != GOOD:
        return outcome
    if (at + 3) & ~3 != end:
        return LENGTH
    for i in range(at, end):
        if stream[i]:
            return NOT_ZERO
    if form.num_levels <= 127:
        return symbols_to_fields(symbols, form, tables, levels)
    return symbols_to_wide(stream, start, form, tables, classes, symbols, wide, levels)


@njit(cache=True, fastmath=False)
def read_chunk(stream, words, start, end, form, tables, classes, scratch, levels):
    """Read the chunk in bytes start..end-1; return GOOD or what is wrong."""
    symbols = scratch.symbols[: num_symbols(levels.size, form)]
    states, wide = scratch.states[: form.num_states], scratch.wide
    at, outcome = read_states(stream, start, end, levels.size, form, tables, classes, states)
    if outcome != GOOD:
        return outcome
    if HAS_VECTORS and form.num_states == 16:
        slots = tables.slots.reshape(-1)
        word = decode_vectors(words, at >> 1, end >> 1, classes, slots, states, symbols)
    else:
        word = decode_symbols(words, at >> 1, end >> 1, classes, tables.slots, states, symbols)
    return finish_chunk(stream, start, word, end, form, tables, classes, states, symbols, wide, levels)


@njit(cache=True, fastmath=False)
def read_four(stream, words, starts, form, tables, classes, scratch, levels):
    """Read four whole chunks in turn; return whether all are good, else they are read again one by one."""
    symbols, states, wide = scratch.symbols, scratch.states, scratch.wide
    count = 1 << form.chunk_bits
    size, blocks = num_symbols(count, form), num_blocks(count, form)
    positions, last_words = np.empty(4, np.int64), np.empty(4, np.int64)
    for i in range(4):
        own = classes[i * blocks : (i + 1) * blocks]
        row = states[16 * i : 16 * i + 16]
        at, outcome = read_states(stream, starts[i], starts[i + 1], count, form, tables, own, row)
        if outcome != GOOD:
            return False
        positions[i], last_words[i] = at >> 1, starts[i + 1] >> 1
    decode_four(words, positions, last_words, classes, tables.slots.reshape(-1), states, symbols, size)
    for i in range(4):
        own, part = classes[i * blocks : (i + 1) * blocks], symbols[i * size : (i + 1) * size]
        row, target = states[16 * i : 16 * i + 16], levels[i * count : (i + 1) * count]
        start, end = starts[i], starts[i + 1]
        outcome = finish_chunk(stream, start, positions[i], end, form, tables, own, row, part, wide, target)
        if outcome != GOOD:
            return False
    return True


@njit(cache=True, fastmath=False, nogil=True)
def read_chunks(stream, words, starts, first, form, tables, classes, scratch, levels):
    """Read chunks from number `first` on into `levels`; return (GOOD or what is wrong, with which chunk).

    Parameters
    ----------
    stream : uint8, read-only
        The payload and at least two bytes more.
    words : uint16
        The same bytes.
    starts : int64[C + 1]
        Where chunks begin, in bytes; multiples of 4.
    first : int
    form, tables : RangedFormat, RangedTables
    classes : uint8
        Of the blocks of these chunks.
    scratch : ReadScratch
        Of four chunks where four can be decoded in turn, else of one; wide is of one.
    levels : int8 or int16
    """
    done, block, chunk = np.int64(0), np.int64(0), first
    if HAS_VECTORS and form.num_states == 16:
        four, blocks = np.int64(4) << form.chunk_bits, 4 * num_blocks(1 << form.chunk_bits, form)
        while done + four <= levels.size:
            own, part = classes[block : block + blocks], levels[done : done + four]
            if not read_four(stream, words, starts[chunk : chunk + 5], form, tables, own, scratch, part):
                break
            done, block, chunk = done + four, block + blocks, chunk + 4
    while done < levels.size:
        part = levels[done : min(levels.size, done + (1 << form.chunk_bits))]
        blocks = num_blocks(part.size, form)
        start, end = starts[chunk], starts[chunk + 1]
        own = classes[block : block + blocks]
        outcome = read_chunk(stream, words, start, end, form, tables, own, scratch, part)
        if outcome != GOOD:
            return outcome, chunk
        done, block, chunk = done + part.size, block + blocks, chunk + 1
    return GOOD, chunk

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
    size, pattern = 2 if form.num_levels > 127 else 1, np.uint64(escape) * _ONES
    for block in range(classes.size):
        first, last = block << _BITS, min(symbols.size, (block + 1) << _BITS)
        if not holds(symbols, first, last, escape):
            continue
        kind = np.int64(classes[block])
        i = first
        while i < last:
            if i + 8 <= last:
                word = load64(symbols, i) ^ pattern
                if not (word - _ONES) & ~word & _TOPS:
                    i += 8
                    continue
            i += 1
            if np.int64(symbols[i - 1]) != escape:
                continue
            if at + size > end:
                return at, LENGTH
            if size == 1:
                value = np.int64(stream[at])
                symbols[i - 1] = np.uint8(value)
                if not tables.allowed[value]:
                    return at, OUT_OF_RANGE
            else:
                level = np.int64(stream[at]) | np.int64(stream[at + 1]) << 8
                level -= (level >> 15) << 16
                wide[i - 1] = np.int16(level)
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
def finish_chunk(stream, ends, word, form, tables, classes, states, symbols, wide, levels):
    """Write the levels of decoded symbols; return GOOD or what is wrong.

    `ends` are the first byte of the chunk and the one after its last, and `word` is what the loop returned.
    Every form of the loop asks for the first word beyond the end at the same symbol, after which each reads
    what it likes: so the length is looked at before the states.
    """
    start, end = ends[0], ends[1]
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


@njit(cache=True, fastmath=False, nogil=True)
def read_chunks(stream, words, starts, first, form, tables, classes, scratch, levels):
    """Read chunks from number `first` on into `levels`; return (GOOD or what is wrong, with which chunk).

    Parameters
    ----------
    stream : uint8, read-only
        The payload and at least 32 bytes more.
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
    done, block, chunk, count = np.int64(0), np.int64(0), first, 1 << form.chunk_bits
    states, in_turn = scratch.states, HAS_VECTORS and form.num_states == 16
    positions, last_words = np.empty(4, np.int64), np.empty(4, np.int64)
    while done < levels.size:
        four = in_turn and done + 4 * count <= levels.size
        together, each = 4 if four else 1, min(count, levels.size - done)
        size, blocks, outcome = num_symbols(each, form), num_blocks(each, form), GOOD
        for i in range(together):
            start, end, own = starts[chunk + i], starts[chunk + i + 1], classes[block + i * blocks :]
            row = states[i * form.num_states : (i + 1) * form.num_states]
            at, found = read_states(stream, start, end, each, form, tables, own[:blocks], row)
            positions[i], last_words[i] = at >> 1, end >> 1
            outcome = outcome if outcome != GOOD else found
        if outcome == GOOD:
            symbols, own = scratch.symbols[: together * size], classes[block : block + together * blocks]
            if four:
                decode_four(words, positions, last_words, own, tables.slots, states, symbols, size)
            elif HAS_VECTORS and form.num_states == 16:
                positions[0] = decode_vectors(
                    words, positions[0], last_words[0], own, tables.slots, states, symbols
                )
            else:
                row = states[: form.num_states]
                positions[0] = decode_symbols(
                    words, positions[0], last_words[0], own, tables.slots, row, symbols
                )
        for i in range(together):
            if outcome != GOOD:
                break
            own, one = classes[block + i * blocks : block + (i + 1) * blocks], i * size
            part, row = symbols[one : one + size], states[i * form.num_states : (i + 1) * form.num_states]
            target, ends = levels[done + i * each : done + (i + 1) * each], starts[chunk + i : chunk + i + 2]
            outcome = finish_chunk(
                stream, ends, positions[i], form, tables, own, row, part, scratch.wide, target
            )
        if outcome != GOOD and four:
            in_turn = False  # once more, one by one: which is the first bad chunk, and what is wrong with it
            continue
        if outcome != GOOD:
            return outcome, chunk
        done, block, chunk = done + together * each, block + together * blocks, chunk + together
    return GOOD, chunk

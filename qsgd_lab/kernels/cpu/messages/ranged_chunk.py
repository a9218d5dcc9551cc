"""Chunks of layout `ranged`: levels to symbols, low bits, states, words and exceptions, and back.

What a chunk holds is specified in docs/wire-format-2.md. The reader trusts nothing: sizes are compared with
the chunk's end before anything is read there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.kernels.cpu.messages.ranged import BLOCK_BITS, decode_symbols, encode_symbols
from qsgd_lab.kernels.cpu.messages.ranged_vector import HAS_WIDE_VECTORS, decode_four, decode_wide
from qsgd_lab.kernels.jit import njit

#: What a chunk may have wrong.
GOOD, STATE, LENGTH, HAS_FREQUENCY, LOW_BITS, OUT_OF_RANGE, NOT_ZERO, NO_ESCAPE = range(8)

_BITS = np.int64(BLOCK_BITS)
_ESCAPE_OF_WIDE = np.int64(0x80)


class WriteScratch(NamedTuple):
    """Scratch for the longest chunk: its symbols, the states, and a word more than symbols."""

    symbols: NDArray[np.uint8]
    states: NDArray[np.uint32]
    words: NDArray[np.uint16]


class ReadScratch(NamedTuple):
    """Scratch for the chunks decoded in turn: symbols, states, and levels (int16) of a chunk's exceptions."""

    symbols: NDArray[np.uint8]
    states: NDArray[np.uint32]
    wide: NDArray[np.int16]


@njit(cache=True, fastmath=False)
def escape_of(field_bits):
    """Return the byte of fields that no level takes: each at its most negative number."""
    return np.int64(0xAA if field_bits == 2 else 0x88 if field_bits == 4 else 0x80)


@njit(cache=True, fastmath=False)
def fields_to_symbols(levels, field_bits, symbols):
    """Write levels as fields of 2, 4 or 8 bits, lowest first, then zeros."""
    per_byte = 8 // field_bits
    mask = (1 << field_bits) - 1
    whole = levels.size // per_byte
    if per_byte == 1:
        for i in range(whole):
            symbols[i] = np.uint8(levels[i])
    elif per_byte == 2:
        for i in range(whole):
            symbols[i] = np.uint8((levels[2 * i] & mask) | (levels[2 * i + 1] & mask) << 4)
    else:
        for i in range(whole):
            low = (levels[4 * i] & mask) | (levels[4 * i + 1] & mask) << 2
            high = (levels[4 * i + 2] & mask) | (levels[4 * i + 3] & mask) << 2
            symbols[i] = np.uint8(low | high << 4)
    symbols[whole:] = 0
    for i in range(whole * per_byte, levels.size):
        symbols[whole] |= np.uint8((levels[i] & mask) << (field_bits * (i - whole * per_byte)))


@njit(cache=True, fastmath=False)
def shifted_to_symbols(levels, shifts, classes, symbols):
    """Write levels / 2^k rounded down, k the shift of their block; the escape where that is not a byte."""
    symbols[:] = 0
    for i in range(levels.size):
        high = np.int64(levels[i]) >> np.int64(shifts[classes[i >> _BITS]])
        symbols[i] = np.uint8(high & 255 if -127 <= high <= 127 else _ESCAPE_OF_WIDE)


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
    stream[at : at + size] = 0
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
def write_chunk(levels, form, tables, classes, scratch, stream, at):
    """Write a chunk from byte `at` on; return (where it ends, GOOD or what is wrong).

    ``form`` is a `RangedFormat`, ``tables`` a `RangedTables`, ``scratch`` a `WriteScratch`.
    """
    states, per_byte = scratch.states, 8 // form.field_bits
    symbols = scratch.symbols[
        : ((levels.size + per_byte - 1) // per_byte + states.size - 1) // states.size * states.size
    ]
    if form.num_levels <= 127:
        fields_to_symbols(levels, form.field_bits, symbols)
    else:
        shifted_to_symbols(levels, tables.shifts, classes, symbols)
        at = write_low_bits(levels, tables.shifts, classes, stream, at)
    words = scratch.words[: symbols.size + 1]
    first = encode_symbols(symbols, classes, tables.entries, tables.reciprocals, states, words)
    for state in range(states.size):
        for byte in range(4):
            stream[at] = np.uint8((states[state] >> np.uint32(8 * byte)) & np.uint32(255))
            at += 1
    for word in range(first, words.size):
        stream[at] = np.uint8(words[word] & np.uint16(255))
        stream[at + 1] = np.uint8(words[word] >> np.uint16(8))
        at += 2
    escape = escape_of(form.field_bits)
    for i in range(symbols.size):
        kind, value = np.int64(classes[i >> _BITS]), np.int64(symbols[i])
        if tables.frequencies[kind, value] and not (form.num_levels > 127 and value == escape):
            continue
        if not tables.frequencies[kind, escape]:
            return at, NO_ESCAPE
        if form.num_levels <= 127:
            stream[at] = np.uint8(value)
            at += 1
        else:
            level = np.int64(levels[i]) if i < levels.size else np.int64(0)
            stream[at] = np.uint8(level & 255)
            stream[at + 1] = np.uint8((level >> 8) & 255)
            at += 2
    while at & 3:
        stream[at] = 0
        at += 1
    return at, GOOD


@njit(cache=True, fastmath=False, nogil=True)
def write_chunks(levels, form, tables, classes, scratch, stream, num_words):
    """Write all chunks; return (bytes, GOOD or what is wrong with a chunk, which).

    ``classes`` is uint8, of the blocks of all chunks; `num_words` (uint16[C]) is filled. Only what was
    checked to be in -s..s is given.
    """
    at, block = np.int64(0), np.int64(0)
    for chunk in range(num_words.size):
        part = levels[chunk << form.chunk_bits : min(levels.size, (chunk + 1) << form.chunk_bits)]
        blocks = num_blocks(part.size, form)
        end, outcome = write_chunk(part, form, tables, classes[block : block + blocks], scratch, stream, at)
        if outcome != GOOD:
            return at, outcome, chunk
        num_words[chunk] = np.uint16((end - at) >> 2)
        at, block = end, block + blocks
    return at, GOOD, 0


@njit(cache=True, fastmath=False, forceinline=True)
def num_symbols(count, form):
    """Return the symbols of a chunk of `count` coordinates, padding included."""
    used = (count * form.field_bits + 7) >> 3
    return (used + form.num_states - 1) // form.num_states * form.num_states


@njit(cache=True, fastmath=False, forceinline=True)
def num_blocks(count, form):
    """Return the blocks of a chunk of `count` coordinates."""
    return (num_symbols(count, form) + 511) >> _BITS


@njit(cache=True, fastmath=False)
def replace_exceptions(stream, at, end, form, tables, classes, symbols, wide):
    """Replace each escape by what follows the words; return (where that ends, GOOD or what is wrong).

    `wide` (int16) gets the levels of exceptions where s > 127, and its symbols stay escapes.
    """
    escape = escape_of(form.field_bits)
    size = 2 if form.num_levels > 127 else 1
    for i in range(symbols.size):
        if np.int64(symbols[i]) != escape:
            continue
        if at + size > end:
            return at, LENGTH
        kind = np.int64(classes[i >> _BITS])
        if size == 1:
            value = np.int64(stream[at])
            symbols[i] = np.uint8(value)
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
def symbols_to_fields(symbols, form, levels):
    """Write the levels of fields; return GOOD or what is wrong."""
    per_byte = 8 // form.field_bits
    sign, mask = 1 << (form.field_bits - 1), (1 << form.field_bits) - 1
    s, worst = np.int64(form.num_levels), np.int64(0)
    whole = levels.size // per_byte
    if per_byte == 1:
        for i in range(whole):
            levels[i] = np.int8(symbols[i])
            worst = max(worst, abs(np.int64(levels[i])))
    else:
        for i in range(whole):
            byte = np.int64(symbols[i])
            for j in range(per_byte):
                field = (((byte >> (form.field_bits * j)) & mask) ^ sign) - sign
                levels[per_byte * i + j] = field
                worst = max(worst, abs(field))
    rest = levels.size - whole * per_byte
    if rest:
        byte = np.int64(symbols[whole])
        for j in range(rest):
            field = (((byte >> (form.field_bits * j)) & mask) ^ sign) - sign
            levels[whole * per_byte + j] = field
            worst = max(worst, abs(field))
        if byte >> (form.field_bits * rest):
            return NOT_ZERO
        whole += 1
    for i in range(whole, symbols.size):
        if symbols[i]:
            return NOT_ZERO
    return GOOD if worst <= s else OUT_OF_RANGE


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
def finish_chunk(stream, start, word, end, form, tables, classes, symbols, wide, levels):
    """Write the levels of decoded symbols, `word` being what the loop returned; return GOOD or not."""
    if word < 0:
        return STATE
    if 2 * word > end:
        return LENGTH
    at, outcome = replace_exceptions(stream, 2 * word, end, form, tables, classes, symbols, wide)
    if outcome != GOOD:
        return outcome
    if (at + 3) & ~3 != end:
        return LENGTH
    for i in range(at, end):
        if stream[i]:
            return NOT_ZERO
    if form.num_levels <= 127:
        return symbols_to_fields(symbols, form, levels)
    return symbols_to_wide(stream, start, form, tables, classes, symbols, wide, levels)


@njit(cache=True, fastmath=False)
def read_chunk(stream, words, start, end, form, tables, classes, scratch, levels):
    """Read the chunk in bytes start..end-1; return GOOD or what is wrong."""
    symbols = scratch.symbols[: num_symbols(levels.size, form)]
    states, wide = scratch.states[: form.num_states], scratch.wide
    at, outcome = read_states(stream, start, end, levels.size, form, tables, classes, states)
    if outcome != GOOD:
        return outcome
    if HAS_WIDE_VECTORS and form.num_states == 16:
        word = decode_wide(words, at >> 1, end >> 1, classes, tables.slots.reshape(-1), states, symbols)
    else:
        word = decode_symbols(words, at >> 1, end >> 1, classes, tables.slots, states, symbols)
    return finish_chunk(stream, start, word, end, form, tables, classes, symbols, wide, levels)


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
        target = levels[i * count : (i + 1) * count]
        start, end = starts[i], starts[i + 1]
        outcome = finish_chunk(stream, start, positions[i], end, form, tables, own, part, wide, target)
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
    if HAS_WIDE_VECTORS and form.num_states == 16:
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

"""The layout `ranged` of docs/wire-format-2.md, byte for byte and slowly; nothing is imported."""

from __future__ import annotations

TOTAL = 4096


def fields_of(s):
    """Return the bits of a level in a symbol, and the escape's byte."""
    return (2, 0xAA) if s == 1 else (4, 0x88) if s <= 7 else (8, 0x80)


def symbol_count(count, s, states):
    """Return how many symbols a chunk of `count` coordinates has."""
    bytes_used = -(-count * fields_of(s)[0] // 8)
    return -(-bytes_used // states) * states


def chunk_limits(s, states):
    """Return the least and largest log2 of the coordinates of a chunk."""
    per_byte = 8 // fields_of(s)[0]
    most = (32768 if states == 16 else 4096) * per_byte
    return 12, most.bit_length() - 1


def bits_of(data):
    """Return the bits of bytes, lowest first."""
    return [byte >> i & 1 for byte in data for i in range(8)]


def number(bits):
    """Return the number of bits, lowest first."""
    return sum(bit << i for i, bit in enumerate(bits))


def read_tables(take, count, s, refuse_unless):
    """Return [(shift, frequencies)] from bytes that `take(size)` gives."""
    tables = []
    for _ in range(count):
        head = take(33)
        shift, bitmap = head[0], bits_of(head[1:])
        refuse_unless(shift <= (8 if s > 127 else 0))
        known = [value for value in range(256) if bitmap[value]]
        bits = bits_of(take(-(-12 * len(known) // 8)))
        refuse_unless(not any(bits[12 * len(known) :]))
        frequencies = [0] * 256
        for i, value in enumerate(known):
            frequencies[value] = number(bits[12 * i : 12 * i + 12])
            refuse_unless(1 <= frequencies[value] <= 4095)
        refuse_unless(sum(frequencies) == TOTAL)
        tables.append((shift, frequencies))
    return tables


def low_bit_bytes(count, classes, tables):
    """Return the bytes of the low bits of a chunk."""
    bits = sum(tables[classes[i // 512]][0] for i in range(count))
    return -(-bits // 32) * 4


def decode_chunk(data, count, s, states, tables, classes, refuse_unless):
    """Return the levels of a chunk, of which `data` is all bytes and `classes` those of its blocks."""
    width, escape = fields_of(s)
    size = low_bit_bytes(count, classes, tables) if s > 127 else 0
    refuse_unless(size + 4 * states <= len(data))
    low, at = bits_of(data[:size]), size
    x = []
    for _ in range(states):
        x.append(number(bits_of(data[at : at + 4])))
        refuse_unless(x[-1] >= 65536)
        at += 4
    symbols = []
    for i in range(symbol_count(count, s, states)):
        frequencies = tables[classes[i // 512]][1]
        state, slot, start, value = x[i % states], x[i % states] % TOTAL, 0, 0
        while start + frequencies[value] <= slot:
            start += frequencies[value]
            value += 1
        state = frequencies[value] * (state // TOTAL) + slot - start
        if state < 65536:
            refuse_unless(at + 2 <= len(data))
            state = state * 65536 + data[at] + 256 * data[at + 1]
            at += 2
        x[i % states] = state
        symbols.append(value)
    refuse_unless(all(state == 65536 for state in x))
    exceptions = {}
    for i, value in enumerate(symbols):
        if value != escape:
            continue
        shift, frequencies = tables[classes[i // 512]]
        step = 2 if s > 127 else 1
        refuse_unless(at + step <= len(data))
        found = int.from_bytes(data[at : at + step], "little", signed=step == 2)
        at += step
        exceptions[i] = found
        high = found >> shift if step == 2 else found
        if step == 1 or -127 <= high <= 127:
            refuse_unless(frequencies[high % 256] == 0)
    refuse_unless(len(data) - at < 4 and not any(data[at:]))
    if s <= 127:
        bits = bits_of([exceptions.get(i, value) for i, value in enumerate(symbols)])
        refuse_unless(not any(bits[count * width :]))
        fields = [number(bits[i * width : (i + 1) * width]) for i in range(count)]
        levels = [field - 2**width if field >= 2 ** (width - 1) else field for field in fields]
    else:
        levels, bit = [], 0
        for i in range(len(symbols)):
            shift = tables[classes[i // 512]][0] if i < count else 0
            lows = number(low[bit : bit + shift])
            bit += shift
            if i in exceptions:
                refuse_unless(exceptions[i] % 2**shift == lows)
                levels.append(exceptions[i])
            else:
                high = symbols[i] - 256 if symbols[i] >= 128 else symbols[i]
                levels.append(high * 2**shift + lows)
        refuse_unless(not any(low[bit:]) and not any(levels[count:]))
        levels = levels[:count]
    refuse_unless(all(abs(level) <= s for level in levels))
    return levels


def encode_chunk(levels, s, states, tables, classes):
    """Return the bytes of a chunk, coded from its last symbol to its first."""
    width, escape = fields_of(s)
    size = symbol_count(len(levels), s, states)
    low, tail, wanted = [], b"", []
    if s <= 127:
        bits = [level >> i & 1 for level in levels for i in range(width)]
        bits += [0] * (8 * size - len(bits))
        wanted = [number(bits[8 * i : 8 * i + 8]) for i in range(size)]
    else:
        for i, level in enumerate(levels):
            shift = tables[classes[i // 512]][0]
            low += [level >> j & 1 for j in range(shift)]
            high = level >> shift
            wanted.append(high % 256 if -127 <= high <= 127 else None)
        wanted += [0] * (size - len(levels))
    low += [0] * (-len(low) % 32)
    symbols = []
    for i, value in enumerate(wanted):
        if value is not None and tables[classes[i // 512]][1][value]:
            symbols.append(value)
            continue
        symbols.append(escape)
        level = levels[i] if i < len(levels) else 0
        tail += level.to_bytes(2, "little", signed=True) if s > 127 else bytes([value])
    x, words = [65536] * states, []
    for i in range(size - 1, -1, -1):
        frequencies = tables[classes[i // 512]][1]
        frequency, start = frequencies[symbols[i]], sum(frequencies[: symbols[i]])
        state = x[i % states]
        if state >= 2**20 * frequency:
            words.insert(0, state % 65536)
            state //= 65536
        x[i % states] = TOTAL * (state // frequency) + state % frequency + start
    data = bytes(number(low[8 * i : 8 * i + 8]) for i in range(len(low) // 8))
    data += b"".join(state.to_bytes(4, "little") for state in x)
    data += b"".join(word.to_bytes(2, "little") for word in words) + tail
    return data + bytes(-len(data) % 4)

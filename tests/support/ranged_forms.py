"""What the coding loops of layout `ranged` make of fixed symbols, as lines of text.

    NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES= python tests/support/ranged_forms.py

prints them under the instructions of another processor: the first line is the form of the loops, and the rest
must be the same for all of them.
"""

from __future__ import annotations

import hashlib
import sys

import numpy as np

from qsgd_lab.kernels.arguments import RangedFormat
from qsgd_lab.kernels.cpu.messages.ranged import decode_symbols, encode_symbols
from qsgd_lab.kernels.cpu.messages.ranged_turns import FORM
from qsgd_lab.kernels.cpu.messages.ranged_vector import (
    decode_four,
    decode_vectors,
    encode_four,
    encode_vectors,
)
from qsgd_lab.wire import ranged, ranged_choice

#: s, the spread of levels, tables: few byte values, many, and a few again.
CASES = [(1, 0.4, 1), (7, 2.0, 4), (127, 20.0, 8), (100, 0.5, 1)]
SIZE = 1024  # symbols of each of four chunks; the fifth has REST
REST = 528
FLIPS = 40


def symbols_and_tables(s, spread, kinds):
    """Return symbols of five chunks, their classes, and tables of a part of them: there are exceptions."""
    rng = np.random.default_rng(s)
    form = RangedFormat(s, ranged.field_bits(s), 12, 16)
    per_byte, escape = 8 // form.field_bits, ranged.escape_byte(form.field_bits)
    levels = np.clip(np.rint(spread * rng.standard_normal((4 * SIZE + REST, per_byte))), -s, s)
    fields = levels.astype(np.int64) & ((1 << form.field_bits) - 1)
    symbols = (fields << np.arange(0, 8, form.field_bits)).sum(axis=1).astype(np.uint8)
    classes = rng.integers(0, kinds, 4 * SIZE // 512 + 2).astype(np.uint8)
    counts = [np.bincount(symbols[kind :: kinds + 6], minlength=256) for kind in range(kinds)]
    frequencies = np.array([ranged_choice.fit_table(row, escape, 8) for row in counts])
    tables = ranged.kernel_tables(np.zeros(kinds, np.uint8), frequencies, form)
    return symbols, classes, tables


def encode(symbols, classes, tables):
    """Return states, words and marks of each of five chunks."""
    found, scalar = [], (tables.entries, tables.reciprocals)
    if FORM:
        space, marks, positions = (
            np.empty(4 * (SIZE + 16), np.uint16),
            np.empty(8, np.uint8),
            np.empty(4, int),
        )
        states = np.empty(64, np.uint32)
        encode_four(symbols[: 4 * SIZE], SIZE, classes[:8], tables.entries, states, space, positions, marks)
        for i, position in enumerate(positions):
            words = space[position : (i + 1) * (SIZE + 16)]
            found.append((states[16 * i : 16 * i + 16], words, marks[2 * i : 2 * i + 2]))
    for i in range(len(found), 5):
        part, own = symbols[i * SIZE : (i + 1) * SIZE], classes[2 * i : 2 * i + 2]
        states, space, marks = (
            np.empty(16, np.uint32),
            np.empty(part.size + 16, np.uint16),
            np.empty(2, np.uint8),
        )
        if FORM:
            first = encode_vectors(part, own, tables.entries, states, space, marks)
        else:
            first = encode_symbols(part, own, *scalar, states, space, marks)
        found.append((states, space[first:], marks))
    return found


def decode(words, positions, ends, classes, states, tables):
    """Return (where the words of each chunk end, states, symbols) of five chunks."""
    found, positions, states = np.zeros(4 * SIZE + REST, np.uint8), positions.copy(), states.copy()
    if FORM:
        four = np.array(positions[:4])
        decode_four(words, four, ends[:4], classes[:8], tables.slots, states[:64], found[: 4 * SIZE], SIZE)
        positions[:4] = four
    for i in range(4 if FORM else 0, 5):
        part, own = found[i * SIZE : (i + 1) * SIZE], classes[2 * i : 2 * i + 2]
        loop, row = decode_vectors if FORM else decode_symbols, states[16 * i : 16 * i + 16]
        positions[i] = loop(words, positions[i], ends[i], own, tables.slots, row, part)
    return positions, states, found


def digest(*arrays):
    """Return a digest of arrays."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def lines():
    """Return the form and, for each case, digests of streams and symbols, and verdicts on changed words."""
    text = [str(FORM)]
    for case in CASES:
        symbols, classes, tables = symbols_and_tables(*case)
        coded = encode(symbols, classes, tables)
        text += [f"s = {case[0]}, marks {[marks.tolist() for *_, marks in coded]}"]
        text += [digest(states, words) for states, words, _ in coded]
        words = np.concatenate([*(words for _, words, _ in coded), np.zeros(16, np.uint16)])
        states = np.concatenate([states for states, *_ in coded])
        ends = np.cumsum([words.size for _, words, _ in coded])
        begins = np.append(0, ends[:4])
        rng = np.random.default_rng(1)
        for flip in (None, *rng.integers(0, 16 * int(ends[-1]), FLIPS)):
            changed = words.copy()
            if flip is not None:
                changed[flip >> 4] ^= 1 << (flip & 15)
            after, rows, found = decode(changed, begins, ends, classes, states, tables)
            inside = after <= ends  # beyond its end a chunk is refused, and each form reads what it likes
            verdict = inside & (after == ends) & (rows.reshape(5, 16) == 1 << 16).all(axis=1)
            parts = [found[i * SIZE : (i + 1) * SIZE] for i in range(5) if inside[i]]
            text.append(f"{verdict.astype(int)} {inside.astype(int)} {digest(after[inside], *parts)}")
    return text


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()) + "\n")

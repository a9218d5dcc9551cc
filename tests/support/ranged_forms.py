"""What the coding loops of layout `ranged` make of fixed levels, as lines of text.

    NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES= python tests/support/ranged_forms.py

prints them under the instructions of another processor: the first line is the form of the loops, and the rest
must be the same for all of them.
"""

from __future__ import annotations

import hashlib
import sys

import numpy as np

from qsgd_lab.errors import MessageError
from qsgd_lab.kernels.cpu.messages.ranged_turns import FORM
from qsgd_lab.wire import ranged, ranged_choice

#: s, coordinates, tables: four chunks in turn and more, one whole chunk and less, one byte value, exceptions.
CASES = [(1, 21001, 1), (7, 20483, 4), (127, 16384, 8), (127, 16, 1), (15, 4099, 1), (100, 18000, 1)]
FLIPS = 24


def some_levels(s: int, count: int) -> np.ndarray:
    """Return levels of which large ones are rare."""
    rng = np.random.default_rng(count)
    spread = rng.standard_normal(count) * np.repeat(rng.exponential(s / 6, -(-count // 64)), 64)[:count]
    return np.clip(np.rint(spread), -s, s).astype(np.int8)


def code_of(levels: np.ndarray, s: int, kinds: int) -> tuple[ranged.RangedCode, ranged.Sizes]:
    """Return tables of a part of the levels, so that some bytes are exceptions, and random classes."""
    sizes = ranged.sizes_of(levels.size, s, 12, 16)
    classes = np.random.default_rng(s).integers(0, kinds, sizes.num_blocks).astype(np.uint8)
    escape = ranged.escape_byte(sizes.form.field_bits)
    tables = []
    for kind in range(kinds):
        seen = np.unpackbits(levels[kind :: kinds + 3].view(np.uint8)[:, None], axis=1, bitorder="little")
        width = sizes.form.field_bits
        packed = np.packbits(seen[:, :width].reshape(-1), bitorder="little")
        tables.append(ranged_choice.fit_table(np.bincount(packed, minlength=256), escape, 8))
    shifts = np.zeros(kinds, np.uint8)
    return ranged.RangedCode(12, 16, shifts, np.array(tables), classes), sizes


def outcome(stream: np.ndarray, lengths: np.ndarray, code: ranged.RangedCode, sizes: ranged.Sizes) -> str:
    """Return a digest of the levels of a stream, or why it is refused."""
    starts = np.zeros(lengths.size + 1, np.int64)
    np.cumsum(4 * lengths.astype(np.int64), out=starts[1:])
    body = np.append(stream, np.zeros(ranged.TAIL_BYTES, np.uint8))
    body.flags.writeable = False
    try:
        levels = ranged.read_levels(body, starts, code, sizes, 0, sizes.num_coordinates)
    except MessageError as error:
        return str(error)
    return hashlib.sha256(levels).hexdigest()


def lines() -> list[str]:
    """Return the form and, for each case, digests of stream and levels, and the verdicts on changed bits."""
    found = [str(FORM)]
    for s, count, kinds in CASES:
        levels = some_levels(s, count)
        code, sizes = code_of(levels, s, kinds)
        lengths, stream = ranged.write_levels(levels, code, sizes)
        read = outcome(stream, lengths, code, sizes)
        assert read == hashlib.sha256(levels).hexdigest()
        found += [f"{s} {count}", hashlib.sha256(stream).hexdigest(), read]
        rng = np.random.default_rng(count)
        for bit in rng.integers(0, 8 * stream.size, FLIPS):
            changed = stream.copy()
            changed[bit >> 3] ^= 1 << (bit & 7)
            found.append(outcome(changed, lengths, code, sizes))
    return found


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()) + "\n")

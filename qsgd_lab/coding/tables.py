"""Tables of codewords, by which kernels encode many levels at once.

An entry is a codeword (bit 0 is read first) in the low 58 bits of a uint64 and its length in the six above.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.codewords import codeword
from qsgd_lab.coding.layouts import MAX_CHUNK_SIZE

_LENGTH_SHIFT = np.uint64(58)
_CODE_MASK = np.uint64((1 << 58) - 1)


class EncodeTables(NamedTuple):
    """What the encoding kernels look up.

    Attributes
    ----------
    field_bits : int
        Width of the fields that index `joined`: 2, 4 or 8; 0 where there is no such table.
    joined : uint64, shape (65536,) or (1,)
        By 16 bits of two's complement fields, lowest first: the codewords of all of them.
    single : uint64, shape (2 s + 1,)
        By level + s: the codeword of a level, its sign included.
    gaps : uint64, shape (4097,) or (1,)
        By distance: its codeword.
    """

    field_bits: int
    joined: NDArray[np.uint64]
    single: NDArray[np.uint64]
    gaps: NDArray[np.uint64]


_NONE = np.zeros(1, np.uint64)


def entry(bits: str) -> int:
    """Return the table entry of a string of bits in reading order."""
    return int(bits[::-1] or "0", 2) | len(bits) << 58


def spell_level(level: int, layout: str, code: str) -> str:
    """Return the bits of one level in a layout, the distance of sparse ones apart."""
    sign = "1" if level < 0 else "0"
    if layout == "sparse":
        return sign + codeword(abs(level), code) if level else ""
    word = codeword(abs(level) + 1, code)
    if layout == "dense-signed":
        return sign + word
    return word + sign if level else word


def join_fields(single: NDArray[np.uint64], num_levels: int, field_bits: int) -> NDArray[np.uint64]:
    """Return the joined codewords of the levels in 16 bits of fields; levels beyond s have none."""
    index = np.arange(65536)
    code, size = np.zeros(65536, np.uint64), np.zeros(65536, np.uint64)
    for shift in range(0, 16, field_bits):
        level = (index >> shift) & (2**field_bits - 1)
        level -= (level >> (field_bits - 1)) << field_bits
        known = np.abs(level) <= num_levels
        part = np.where(known, single[np.clip(level + num_levels, 0, 2 * num_levels)], np.uint64(0))
        code |= (part & _CODE_MASK) << size
        size += part >> _LENGTH_SHIFT
    return code | size << _LENGTH_SHIFT


@lru_cache(maxsize=64)
def encode_tables(layout: str, code: str, num_levels: int) -> EncodeTables:
    """Return the tables of a layout and code (any code for the fixed layout, which needs none)."""
    if layout == "fixed":
        return EncodeTables(0, _NONE, _NONE, _NONE)
    levels = range(-num_levels, num_levels + 1)
    single = np.array([entry(spell_level(level, layout, code)) for level in levels], np.uint64)
    if layout == "sparse":
        gaps = [0, *(entry(codeword(gap, code)) for gap in range(1, MAX_CHUNK_SIZE + 1))]
        return EncodeTables(0, _NONE, single, np.array(gaps, np.uint64))
    field_bits = 2 if num_levels == 1 else 4 if num_levels <= 7 else 8 if num_levels <= 127 else 0
    joined = join_fields(single, num_levels, field_bits) if field_bits else _NONE
    return EncodeTables(field_bits, joined, single, _NONE)

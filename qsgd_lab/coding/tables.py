"""Tables by which kernels encode many levels, and decode many codewords, at once.

An entry for encoding is a codeword (bit 0 is read first) in the low 58 bits of a uint64 and its length in the
six above. For decoding, a window is the next k bits of a stream, the first of them lowest; a table of every
window of k bits answers by one look-up what the stream goes on with.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.elias import codeword
from qsgd_lab.coding.layouts import MAX_CHUNK_SIZE
from qsgd_lab.kernels.arguments import DecodeTables, EncodeTables
from qsgd_lab.kernels.constants import CODE_MASK, LENGTH_SHIFT

_NONE = np.zeros(1, np.uint64)


def entry(bits: str) -> int:
    """Return the table entry of a string of bits in reading order."""
    return int(bits[::-1] or "0", 2) | len(bits) << int(LENGTH_SHIFT)


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
        level -= (level >> (field_bits - 1)) << field_bits  # two's complement
        known = np.abs(level) <= num_levels  # the rest cannot occur: kernels check levels before
        part = np.where(known, single[np.clip(level + num_levels, 0, 2 * num_levels)], np.uint64(0))
        code |= (part & CODE_MASK) << size
        size += part >> LENGTH_SHIFT
    return code | size << LENGTH_SHIFT


@lru_cache(maxsize=64)
def encode_tables(layout: str, code: str, num_levels: int) -> EncodeTables:
    """Return the tables of a layout and code (any code for the fixed layout, which needs none)."""
    if layout == "fixed":
        return EncodeTables(0, _NONE, _NONE, _NONE)
    levels = range(-num_levels, num_levels + 1)  # indexed by level + s, so that no sign is asked for
    single = np.array([entry(spell_level(level, layout, code)) for level in levels], np.uint64)
    if layout == "sparse":
        gaps = [0, *(entry(codeword(gap, code)) for gap in range(1, MAX_CHUNK_SIZE + 1))]
        return EncodeTables(0, _NONE, single, np.array(gaps, np.uint64))
    field_bits = 2 if num_levels == 1 else 4 if num_levels <= 7 else 8 if num_levels <= 127 else 0
    joined = join_fields(single, num_levels, field_bits) if field_bits else _NONE
    return EncodeTables(field_bits, joined, single, _NONE)


#: Entries of up to eight levels for s <= 7, in tables of 40 KiB for s = 1, where eight levels seldom take
#: more bits, and of 160 KiB above; of up to three levels for s > 7, in one of 64 KiB.
TERNARY_WINDOW, SMALL_WINDOW, LARGE_WINDOW = 12, 14, 14
SINGLE_WINDOW = 13
GAP_WINDOW = 14


#: Of the dtypes of those that are there: kernels are compiled once for all layouts.
_NO_TABLES = DecodeTables(
    wide=np.zeros(1, np.uint64),
    sizes=np.zeros(1, np.uint16),
    narrow=np.zeros(1, np.uint32),
    singles=np.zeros(1, np.int32),
    gaps=np.zeros(1, np.uint16),
)


def first_symbols(symbols: Iterable[tuple[int, str]], window_bits: int) -> NDArray[np.int32]:
    """Return by window the value and length (value * 256 + bits) of the codeword that it begins with, or 0.

    Parameters
    ----------
    symbols : iterable of (value, bits in reading order)
        A prefix code.
    window_bits : int
        k.
    """
    table = np.zeros(2**window_bits, np.int32)
    for value, bits in symbols:
        if len(bits) <= window_bits:
            # All windows whose lowest bits are the codeword: one stride.
            table[int(bits[::-1], 2) :: 2 ** len(bits)] = value * 256 + len(bits)
    return table


def join_symbols(
    singles: NDArray[np.int32], most: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]:
    """Return by window its levels (a byte each, up to `most`), their bits and their number."""
    windows = np.arange(singles.size)
    window_bits = singles.size.bit_length() - 1
    levels = np.zeros(singles.size, np.uint64)
    used, count = np.zeros(singles.size, np.int64), np.zeros(singles.size, np.int64)
    whole = np.ones(singles.size, bool)
    for place in range(most):  # for all windows at once, one codeword further in each round
        found = singles[windows >> used]
        # The windows' upper bits are shifted in as zeros, so that a codeword may seem to end beyond them.
        whole &= (found != 0) & (used + (found & 255) <= window_bits)
        byte = ((found >> 8) & 255).astype(np.uint64) << np.uint64(8 * place)
        levels |= np.where(whole, byte, np.uint64(0))
        used += np.where(whole, found & 255, 0)
        count += whole
    return levels, used.astype(np.uint64), count.astype(np.uint64)


def wide_entries(singles: NDArray[np.int32]) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """Return joined entries of up to eight levels, and their sizes."""
    levels, used, count = join_symbols(singles, 8)
    return levels, (used | count << np.uint64(8)).astype(np.uint16)


def narrow_entries(singles: NDArray[np.int32]) -> NDArray[np.uint32]:
    """Return joined entries of up to three levels."""
    levels, used, count = join_symbols(singles, 3)
    entries: NDArray[np.uint32] = (used | levels << np.uint64(6) | count << np.uint64(30)).astype(np.uint32)
    return entries


@lru_cache(maxsize=64)
def decode_tables(layout: str, code: str, num_levels: int) -> DecodeTables:
    """Return the tables of a layout and code."""
    if layout == "fixed":
        return _NO_TABLES
    spelled = [(q, spell_level(q, layout, code)) for q in range(-num_levels, num_levels + 1)]
    symbols = [(q, bits) for q, bits in spelled if bits]
    if layout == "sparse":
        gaps = first_symbols(((gap, codeword(gap, code)) for gap in range(1, MAX_CHUNK_SIZE)), GAP_WINDOW)
        entries = (gaps >> 8 << 4) | (gaps & 255)
        return _NO_TABLES._replace(
            singles=first_symbols(symbols, SINGLE_WINDOW), gaps=entries.astype(np.uint16)
        )
    if num_levels > 127:  # int16 levels: joined entries hold bytes
        return _NO_TABLES._replace(singles=first_symbols(symbols, SINGLE_WINDOW))
    # As wide as the longest codeword, so that a legal one is always found.
    singles = first_symbols(symbols, max(len(bits) for _, bits in symbols))
    if num_levels > 7:
        narrow = narrow_entries(first_symbols(symbols, LARGE_WINDOW))
        return _NO_TABLES._replace(narrow=narrow, singles=singles)
    window = TERNARY_WINDOW if num_levels == 1 else SMALL_WINDOW
    wide, sizes = wide_entries(first_symbols(symbols, window))
    return _NO_TABLES._replace(wide=wide, sizes=sizes, singles=singles)

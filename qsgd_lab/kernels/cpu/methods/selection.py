"""Selection of the largest of n keys on the CPU: Top-K's coordinates, and the words of a random mask.

A key is a 32-bit pattern, of which some bits are cleared and some flipped first: magnitudes of float32 are
ordered by their bits without the sign, and the smallest words are the largest of their complements. The k-th
largest key is found digit by digit, from histograms; then a pass in order of position writes what is above
it, and of those equal to it the first.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.jit import njit

#: Bits of the three digits of a key, the highest first, and the histogram of the largest.
_DIGITS = 2048
#: Histograms side by side: neighbours of equal digit would wait for each other's addition.
_COPIES = 4
#: Keys that are compared together before any is looked at alone.
_LANES = 16


@njit(cache=True, fastmath=False, forceinline=True)
def last_digit_of(counts, wanted):
    """Return (the digit in which the `wanted`-th largest key is, how many of it are still wanted there)."""
    digit = counts.size - 1
    while counts[digit] < wanted:
        wanted -= counts[digit]
        digit -= 1
    return digit, wanted


@njit(cache=True, fastmath=False)
def digits_of(keys, cleared, flipped, shift, wanted, table):
    """Return `last_digit_of` the digit that begins at bit `shift`; `table` is int64, shape (4, 2048)."""
    table[:] = 0
    mask = np.uint32(_DIGITS - 1)
    whole = keys.size // _COPIES * _COPIES
    for start in range(0, whole, _COPIES):
        for copy in range(_COPIES):
            key = (keys[start + copy] & cleared) ^ flipped
            table[copy, np.int64((key >> shift) & mask)] += 1
    for i in range(whole, keys.size):
        table[0, np.int64((((keys[i] & cleared) ^ flipped) >> shift) & mask)] += 1
    counts = table[0]
    for copy in range(1, _COPIES):
        for digit in range(_DIGITS):
            counts[digit] += table[copy, digit]
    digit, left = last_digit_of(counts, wanted)
    return np.uint32(digit), left, counts[digit]


@njit(cache=True, fastmath=False)
def keys_of_digit(keys, cleared, flipped, shift, digit, found):
    """Write the keys of one digit, cleared and flipped, to `found`, which holds as many."""
    at, count = 0, found.size
    for i in range(keys.size):
        key = (keys[i] & cleared) ^ flipped
        if key >> shift == digit and at < count:
            found[at] = key
            at += 1


@njit(cache=True, fastmath=False, nogil=True)
def largest(keys, cleared, flipped, indices):
    """Write the positions of the k largest keys, ascending; of equal ones the first.

    Parameters
    ----------
    keys : uint32, shape (n,)
    cleared, flipped : uint32
        A key counts as ``(key & cleared) ^ flipped``.
    indices : int64, shape (k,)
        k is at least 1 and at most n.
    """
    keys, indices = unowned_view(keys), unowned_view(indices)
    table = np.empty((_COPIES, _DIGITS), np.int64)
    first, wanted, count = digits_of(keys, cleared, flipped, np.uint32(21), indices.size, table)
    found = np.empty(count, np.uint32)
    keys_of_digit(keys, cleared, flipped, np.uint32(21), first, found)
    every, none = np.uint32(0xFFFFFFFF), np.uint32(0)
    second, wanted, count = digits_of(found, every, none, np.uint32(10), wanted, table)
    fewer = np.empty(count, np.uint32)
    keys_of_digit(found, every, none, np.uint32(10), (first << np.uint32(11)) | second, fewer)
    # Ten bits are left; in a histogram of eleven their neighbour is the same in all.
    third, wanted, _ = digits_of(fewer, np.uint32(0x3FF), none, np.uint32(0), wanted, table)
    least = (first << np.uint32(21)) | (second << np.uint32(10)) | third
    write_positions(keys, cleared, flipped, least, wanted, indices)


@njit(cache=True, fastmath=False)
def write_positions(keys, cleared, flipped, least, equal, indices):
    """Write the positions of the keys above `least`, and of the first `equal` that are equal to it."""
    at, whole = 0, keys.size // _LANES * _LANES
    for start in range(0, keys.size, _LANES):
        stop = min(start + _LANES, keys.size)
        if start < whole:
            part = keys[start : start + _LANES]
            top = np.uint32(0)
            for lane in range(_LANES):
                top = max(top, (part[lane] & cleared) ^ flipped)
            if top < least:
                continue
        for i in range(start, stop):
            key = (keys[i] & cleared) ^ flipped
            if key > least or (key == least and equal > 0):
                equal -= np.int64(key == least)
                indices[at] = i
                at += 1

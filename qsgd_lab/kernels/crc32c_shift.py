"""CRC-32C in parallel: checksums of pieces, moved past what follows them and added.

Without its initial and final inversion a CRC is linear: it is the sum of the data's 32-bit words, each times
x^32 for every word from it to the end, modulo the polynomial. Any number of threads may therefore add up
words of their own. The initial inversion is that of the first word.

An element is a uint32 in the CRC's reflected order: bit 31 is the coefficient of 1, bit 0 that of x^31.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

from qsgd_lab.kernels.crc32c import POLYNOMIAL

LANES = 32  # threads that share a piece, every 32nd word being one thread's
ONE = 0x80000000
_POLYNOMIAL = np.uint32(POLYNOMIAL)
_ZERO = np.uint32(0)
_BIT = np.uint32(1)
_TOP = np.uint32(31)


@njit(cache=True, fastmath=False)
def times(a, b):
    """Return the product of two elements, uint32."""
    product = _ZERO
    for _ in range(32):
        product ^= a & np.uint32(_ZERO - (b >> _TOP))
        b = np.uint32(b << _BIT)
        a = np.uint32((a >> _BIT) ^ (_POLYNOMIAL & np.uint32(_ZERO - (a & _BIT))))
    return product


class ShiftTables(NamedTuple):
    """What threads that take turns need, for units (words, or pieces of them) of one size.

    Attributes
    ----------
    by_turn : uint32, shape (4, 256)
        Entry (j, b): b in byte j of an element, moved past 32 units.
    by_lane : uint32, shape (32,)
        The factor that moves what lane l ends with past the units that follow its last one.
    """

    by_turn: np.ndarray
    by_lane: np.ndarray


def _product(a: int, b: int) -> int:
    """Return the product of two elements, in plain Python: tables are made before anything is compiled."""
    product = 0
    for bit in range(31, -1, -1):
        if b >> bit & 1:
            product ^= a
        a = (a >> 1) ^ (POLYNOMIAL if a & 1 else 0)
    return product


def past_words(count: int) -> int:
    """Return the element x^(32 count), by which multiplying moves a CRC past `count` words."""
    power, square = ONE, ONE >> 1
    for bit in f"{32 * count:b}"[::-1]:
        if bit == "1":
            power = _product(power, square)
        square = _product(square, square)
    return power


@lru_cache(maxsize=8)
def shift_tables(unit: int, behind: int) -> ShiftTables:
    """Return tables for units of as many words, of which the last is moved past `behind` words more."""
    turn = past_words(LANES * unit)
    by_bit = [_product(1 << bit, turn) for bit in range(32)]
    by_turn = np.zeros((4, 256), np.uint32)
    for byte in range(256):
        for place in range(4):
            for bit in range(8):
                if byte >> bit & 1:
                    by_turn[place, byte] ^= np.uint32(by_bit[8 * place + bit])
    lanes = [past_words(unit * (LANES - 1 - lane) + behind) for lane in range(LANES)]
    return ShiftTables(by_turn, np.array(lanes, np.uint32))


def word_tables() -> ShiftTables:
    """Return the tables by which a warp computes the checksum of words."""
    return shift_tables(1, 1)


def piece_tables(piece: int) -> ShiftTables:
    """Return the tables by which a warp joins the checksums of neighbouring pieces of as many words."""
    return shift_tables(piece, 0)

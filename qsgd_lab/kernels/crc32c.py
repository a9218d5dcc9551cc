"""CRC-32C (Castagnoli) of byte ranges: reflected polynomial 0x82F63B78, initial and final value 0xFFFFFFFF.

The check value of the nine ASCII digits ``123456789`` is 0xE3069283. Where the processor has an instruction
for it (SSE 4.2), eight bytes take three cycles; elsewhere eight tables take about as many nanoseconds.

Checksums of pieces can be computed in parallel, moved past what follows them and added. Without its initial
and final inversion a CRC is linear: it is the sum of the data's 32-bit words, each times x^32 for every word
from it to the end, modulo the polynomial. Any number of threads may therefore add up words of their own. The
initial inversion is that of the first word.

An element is a uint32 in the CRC's reflected order: bit 31 is the coefficient of 1, bit 0 that of x^31.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from qsgd_lab.kernels.bits import load64
from qsgd_lab.kernels.jit import IS_COMPILED, njit

POLYNOMIAL = 0x82F63B78
_ONES = np.uint64(0xFFFFFFFF)
_BYTE = np.uint64(0xFF)
_EIGHT = np.uint64(8)
_SEVEN = np.int64(7)


def _make_tables():
    """Return uint64[8, 256]: entry (j, b) is the CRC of byte b followed by j zero bytes."""
    tables = np.empty((8, 256), np.uint64)
    crc = np.arange(256, dtype=np.uint64)
    for _ in range(8):
        crc = (crc >> np.uint64(1)) ^ (np.uint64(POLYNOMIAL) * (crc & np.uint64(1)))
    tables[0] = crc
    for j in range(1, 8):
        crc = (crc >> _EIGHT) ^ tables[0][crc & _BYTE]
        tables[j] = crc
    return tables


_TABLES = _make_tables()


def _has_instruction() -> bool:
    """Whether kernels are compiled for a processor with SSE 4.2."""
    # Other settings of Numba may compile for a processor that does not have it, or ask for checks.
    if config.CPU_NAME or config.CPU_FEATURES or config.BOUNDSCHECK or not IS_COMPILED:
        return False
    x86 = binding.get_default_triple().startswith("x86_64")
    return bool(x86 and binding.get_host_cpu_features().get("sse4.2", False))


@njit(cache=True, fastmath=False, forceinline=True)
def _step1_tables(crc, byte):
    """Return the state after one byte (state and byte are uint64)."""
    return (crc >> _EIGHT) ^ _TABLES[0, (crc ^ byte) & _BYTE]


@njit(cache=True, fastmath=False)
def _step8_tables(crc, word):
    """Return the state after eight bytes, given as a little-endian uint64."""
    word ^= crc  # the state is added to the first four bytes; the rest is linear
    crc = np.uint64(0)
    for j in range(8):
        crc ^= _TABLES[7 - j, (word >> np.uint64(8 * j)) & _BYTE]
    return crc


@intrinsic
def _step8_instruction(typing_context, crc, word):
    """Return the state after eight bytes, by the processor's own instruction."""

    def codegen(context, builder, signature, args):
        word_type = ir.IntType(64)
        function_type = ir.FunctionType(word_type, [word_type, word_type])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.x86.sse42.crc32.64.64")
        return builder.call(function, args)

    return types.uint64(types.uint64, types.uint64), codegen


_step8 = _step8_instruction if _has_instruction() else _step8_tables


@njit(cache=True, fastmath=False)
def continue_crc(data, start, stop, crc):
    """Return the checksum of which `crc` (uint64) is the state before bytes start..stop-1."""
    position = start
    while position + 8 <= stop:
        crc = _step8(crc, load64(data, position))
        position += 8
    while position < stop:
        crc = _step1_tables(crc, np.uint64(data[position]))
        position += 1
    return np.uint32(crc ^ _ONES)


@njit(cache=True, fastmath=False, nogil=True)
def crc32c(data, start, stop):
    """Return the CRC-32C of bytes start..stop-1 of a uint8 array."""
    return continue_crc(data, start, stop, _ONES)


@njit(cache=True, fastmath=False)
def crc32c_of_four(data, edges, checksums):
    """Write the CRC-32C (uint32) of four neighbouring ranges of bytes, whose five edges are given.

    They are computed in turn, since each step waits for the one before.
    """
    e0, e1, e2, e3, e4 = edges[0], edges[1], edges[2], edges[3], edges[4]
    c0 = c1 = c2 = c3 = _ONES
    common = min(e1 - e0, e2 - e1, e3 - e2, e4 - e3) & ~_SEVEN  # as far as all four go
    for offset in range(0, common, 8):
        c0 = _step8(c0, load64(data, e0 + offset))
        c1 = _step8(c1, load64(data, e1 + offset))
        c2 = _step8(c2, load64(data, e2 + offset))
        c3 = _step8(c3, load64(data, e3 + offset))
    checksums[0] = continue_crc(data, e0 + common, e1, c0)
    checksums[1] = continue_crc(data, e1 + common, e2, c1)
    checksums[2] = continue_crc(data, e2 + common, e3, c2)
    checksums[3] = continue_crc(data, e3 + common, e4, c3)


@njit(cache=True, fastmath=False)
def crc32c_of_ranges(data, edges, checksums):
    """Write the CRC-32C of neighbouring ranges of bytes: `edges` is int64[k + 1], `checksums` uint32[k]."""
    count = checksums.size
    for i in range(0, count & ~3, 4):
        crc32c_of_four(data, edges[i : i + 5], checksums[i : i + 4])
    for i in range(count & ~3, count):
        checksums[i] = crc32c(data, edges[i], edges[i + 1])


LANES = 32  # threads that share a piece, every 32nd word being one thread's
ONE = 0x80000000
LONG_RANGE = 1 << 15  # bytes from which four CRCs in turn gain more than the products that join them cost
_POLYNOMIAL = np.uint32(POLYNOMIAL)
_ZERO = np.uint32(0)
_BIT = np.uint32(1)
_TOP = np.uint32(31)


@njit(cache=True, fastmath=False)
def times(a, b):
    """Return the product of two elements, uint32."""
    product = _ZERO
    for _ in range(32):
        product ^= a & np.uint32(_ZERO - (b >> _TOP))  # a mask of ones where the bit is set: no branch
        b = np.uint32(b << _BIT)
        a = np.uint32((a >> _BIT) ^ (_POLYNOMIAL & np.uint32(_ZERO - (a & _BIT))))
    return product


@njit(cache=True, fastmath=False)
def past_bytes(count):
    """Return the element x^(8 count), by which multiplying moves a CRC past `count` bytes."""
    power, square = np.uint32(ONE), np.uint32(ONE >> 8)  # 1 and x^8, squared once for each bit of the count
    while count > 0:
        if count & 1:
            power = times(power, square)
        square = times(square, square)
        count >>= 1
    return power


@njit(cache=True, fastmath=False, nogil=True)
def crc32c_after(data, start, stop, before):
    """Return the CRC-32C of bytes start..stop-1 of a uint8 array, after bytes whose CRC is `before` (uint32).

    Long ranges are computed as four in turn, since each step of one waits for the one before.
    """
    if stop - start < LONG_RANGE:
        return continue_crc(data, start, stop, np.uint64(before) ^ _ONES)
    edges, parts = np.empty(5, np.int64), np.empty(4, np.uint32)
    quarter = ((stop - start) >> 2) & ~_SEVEN
    for i in range(4):
        edges[i] = start + i * quarter
    edges[4] = stop
    crc32c_of_four(data, edges, parts)
    crc, step = before, past_bytes(quarter)  # three quarters are of one length, and share the factor
    for i in range(3):
        crc = np.uint32(times(crc, step) ^ parts[i])
    return np.uint32(times(crc, past_bytes(stop - edges[3])) ^ parts[3])


@njit(cache=True, fastmath=False, nogil=True)
def crc32c_around(data, first, second, third, stop):
    """Return the CRC-32C of bytes 0..first-1 followed by bytes second..third-1, and of third..stop-1."""
    joined = continue_crc(data, second, third, np.uint64(continue_crc(data, 0, first, _ONES)) ^ _ONES)
    return joined, crc32c_after(data, third, stop, np.uint32(0))


@njit(cache=True, fastmath=False, nogil=True)
def seal_message(data, start):
    """Enter the three checksums of a message of version 2, whose payload begins at `start`."""
    head = crc32c_around(data, 14, 16, 32, 32)[0]
    for i in range(2):
        data[14 + i] = np.uint8((head >> np.uint32(8 * i)) & np.uint32(255))
    payload = crc32c_after(data, start, data.size, np.uint32(0))
    for i in range(4):
        data[36 + i] = np.uint8((payload >> np.uint32(8 * i)) & np.uint32(255))
    front = crc32c_around(data, 32, 36, start, start)[0]
    for i in range(4):
        data[32 + i] = np.uint8((front >> np.uint32(8 * i)) & np.uint32(255))


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

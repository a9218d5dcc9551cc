"""Conversion of float32 to half of its bits and back on the CPU, by integer arithmetic on the patterns."""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.jit import njit

#: Patterns of float32: its infinity, and the smallest number that float16 rounds to with all its bits.
_INFINITY = np.uint32(0x7F800000)
_NORMAL16 = np.uint32(0x38800000)
#: 1/2: the last bit of a float32 from there to 1 is 2^-24, that of float16's smallest numbers.
_HALF = np.float32(0.5)
_HALF_BITS = np.uint32(0x3F000000)
#: Coordinates whose scratch stays in the nearest cache.
PIECE = 1024


@njit(cache=True, fastmath=False, nogil=True)
def to_bfloat16(bits, out):
    """Write the nearest bfloat16, ties to even, uint16; every NaN becomes 0x7FC0. `bits` are uint32."""
    bits, out = unowned_view(bits), unowned_view(out)
    for i in range(bits.size):
        word = bits[i]
        # Half a unit of what is cut off, less one where the last bit kept is 0: ties go to even.
        rounded = (word + np.uint32(0x7FFF) + ((word >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        is_nan = (word & np.uint32(0x7FFFFFFF)) > _INFINITY
        out[i] = np.uint16(np.uint32(0x7FC0) if is_nan else rounded)


@njit(cache=True, fastmath=False, nogil=True)
def to_float16(x, bits, scratch, scratch_bits, out):
    """Write the patterns of the nearest float16, ties to even, uint16; every NaN becomes 0x7E00.

    `bits` (uint32) are the patterns of `x` (float32), and `scratch_bits` those of `scratch`, of 1024 each.
    """
    x, bits, out = unowned_view(x), unowned_view(bits), unowned_view(out)
    scratch, scratch_bits = unowned_view(scratch), unowned_view(scratch_bits)
    for low in range(0, x.size, PIECE):
        high = min(x.size, low + PIECE)
        part, words, own = x[low:high], bits[low:high], out[low:high]
        for j in range(part.size):  # rounds to multiples of 2^-24 where the sum is below 1
            scratch[j] = abs(part[j]) + _HALF
        for j in range(part.size):
            word = words[j]
            magnitude = word & np.uint32(0x7FFFFFFF)
            odd = (magnitude >> np.uint32(13)) & np.uint32(1)
            # The exponent's bias falls by 112; rounding carries into it, and beyond 65504 to infinity.
            normal = (magnitude - np.uint32(112 << 23) + np.uint32(0xFFF) + odd) >> np.uint32(13)
            small = scratch_bits[j] - _HALF_BITS
            code = small if magnitude < _NORMAL16 else normal
            code = np.uint32(0x7C00) if magnitude >= np.uint32(0x47800000) else code
            code |= (word >> np.uint32(16)) & np.uint32(0x8000)
            own[j] = np.uint16(np.uint32(0x7E00) if magnitude > _INFINITY else code)


@njit(cache=True, fastmath=False, nogil=True)
def from_bfloat16(codes, bits):
    """Write the patterns of bfloat16 (uint16) widened to float32 (uint32)."""
    codes, bits = unowned_view(codes), unowned_view(bits)
    for i in range(codes.size):
        bits[i] = np.uint32(codes[i]) << np.uint32(16)


@njit(cache=True, fastmath=False, nogil=True)
def from_float16(codes, values, bits):
    """Write float16 patterns (uint16) widened to float32; `bits` (uint32) are the same memory as `values`."""
    codes, values, bits = unowned_view(codes), unowned_view(values), unowned_view(bits)
    for low in range(0, codes.size, PIECE):
        high = min(codes.size, low + PIECE)
        own, wide, words = codes[low:high], values[low:high], bits[low:high]
        for j in range(own.size):  # of the numbers below 2^-14, which are multiples of 2^-24
            wide[j] = np.float32(np.int32(own[j] & np.uint16(0x7FFF))) * np.float32(2.0**-24)
        for j in range(own.size):
            code = np.uint32(own[j])
            magnitude = code & np.uint32(0x7FFF)
            bias = np.uint32(224 << 23) if magnitude >= np.uint32(0x7C00) else np.uint32(112 << 23)
            word = (magnitude << np.uint32(13)) + bias if magnitude >= np.uint32(0x400) else words[j]
            words[j] = word | ((code & np.uint32(0x8000)) << np.uint32(16))

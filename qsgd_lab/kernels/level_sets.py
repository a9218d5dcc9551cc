"""Scalar arithmetic of rounding to a set of levels, for every set that is not QSGD's own.

A coordinate becomes its position among the levels with 32 fraction bits, and rounding at random adds a 32-bit
word and drops the fraction: the level above is taken with the probability of the fraction. Levels that are
powers of two need no logarithm, because the bits of a float are such a position already: exponent and
mantissa are a piecewise linear logarithm. No float add follows a float multiply that rounds, so that CPU and
NumPy agree bit for bit.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from qsgd_lab.kernels.jit import IS_COMPILED, njit

#: The sets of levels, signed. UNIFORM: 0, 1/s, ..., 1 of the scale. EXPONENTIAL: 0, 2^(1-s), ..., 1/2, 1 of
#: it. WITHOUT_ZERO: the same without 0; code q >= 0 is +2^(q+1-s), code q < 0 is -2^(-q-s). POWERS: 0 and
#: every power of two of float32, without a scale; code 255 is NaN.
UNIFORM, EXPONENTIAL, WITHOUT_ZERO, POWERS = 0, 1, 2, 3

LARGEST_POWER, NOT_FINITE = 254, 255  # codes of 2^127 and of NaN

_BIAS = 1023  # of the exponent of float64
_FRACTION = np.int64(32)
_ABOVE_FRACTION = np.int64(20)  # 52 bits of mantissa, 32 of fraction
_NINE = np.int64(9)  # 32 bits of fraction, 23 of mantissa
_UNIT = 2.0**32
_LIMIT = np.int64(1 << 32)
_ONE = np.float64(1.0)
_ZERO = np.float32(0.0)


@intrinsic
def _bits_of_double(typing_context, value):
    """Return the bits of a float64 as int64."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(types.int64))

    return types.int64(types.float64), codegen


def _bits_of_double_python(value):
    return np.float64(value).view(np.int64)


bits_of_double = _bits_of_double if IS_COMPILED else _bits_of_double_python


@njit(cache=True, fastmath=False, forceinline=True)
def ratio_of(x, scale):
    """Return |x| relative to a positive, finite scale (float64), at most 1."""
    return min(np.float64(abs(x)) / scale, _ONE)


@njit(cache=True, fastmath=False, forceinline=True)
def uniform_level(x, scale, top, word):
    """Return the signed level of a coordinate on the grid 0, 1/s, ..., 1; `top` is s 2^32, word uint32."""
    position = np.int64(ratio_of(x, scale) * top)
    level = (position + np.int64(word)) >> _FRACTION
    return -level if x < _ZERO else level


@njit(cache=True, fastmath=False, forceinline=True)
def power_level(ratio, most, offset, word):
    """Return the level 0..s of a ratio: 0, then 2^(1-s) to 1; `most` is 2^(s-1), `offset` `power_offset`."""
    low = np.int64(min(ratio * most, _ONE) * _UNIT)
    high = (bits_of_double(ratio) >> _ABOVE_FRACTION) - offset
    # A choice of two numbers, not of two paths, which a processor would have to guess.
    position = low if low < _LIMIT else high
    return (position + np.int64(word)) >> _FRACTION


@njit(cache=True, fastmath=False, forceinline=True)
def power_offset(num_levels):
    """Return what the position of a ratio of 2^0 = level s exceeds s 2^32 by."""
    return np.int64(_BIAS - num_levels) << _FRACTION


@njit(cache=True, fastmath=False, forceinline=True)
def exponential_level(x, scale, most, offset, word):
    """Return the signed level of a coordinate on the grid of 0 and powers of two."""
    level = power_level(ratio_of(x, scale), most, offset, word)
    return -level if x < _ZERO else level


@njit(cache=True, fastmath=False, forceinline=True)
def code_without_zero(x, scale, most, offset, word):
    """Return the code of a coordinate on the grid of powers of two without 0."""
    ratio = ratio_of(x, scale)
    if ratio * most >= _ONE:
        level = power_level(ratio, most, offset, word)
        return -level if x < _ZERO else level - 1
    signed = -(ratio * most) if x < _ZERO else ratio * most  # between the two levels around 0
    return np.int64(0) if np.int64(word) < np.int64((signed + _ONE) * (_UNIT / 2)) else np.int64(-1)


@njit(cache=True, fastmath=False, forceinline=True)
def power_code(bits, word):
    """Return the code 0..255 of a float32 of these bits (uint32): 0, 2^(code - 127), or `NOT_FINITE`."""
    position = np.int64(bits & np.uint32(0x7FFFFFFF)) << _NINE
    code = min((position + np.int64(word)) >> _FRACTION, np.int64(LARGEST_POWER))
    return np.int64(NOT_FINITE) if position >= np.int64(NOT_FINITE) << _FRACTION else code

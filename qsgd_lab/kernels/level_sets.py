"""Rounding to a set of levels: what one coordinate undergoes, for every set that is not QSGD's own.

A coordinate becomes its position among the levels with 32 fraction bits, and rounding at random adds a 32-bit
word and drops the fraction: the level above is taken with the probability of the fraction. Levels that are
powers of two need no logarithm, because the bits of a float are such a position already: exponent and
mantissa are a piecewise linear logarithm. No float add follows a float multiply that rounds, so that CPU and
NumPy agree bit for bit.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

#: The sets of levels, signed. UNIFORM: 0, 1/s, ..., 1 of the scale. EXPONENTIAL: 0, 2^(1-s), ..., 1/2, 1 of
#: it. WITHOUT_ZERO: the same without 0; code q >= 0 is +2^(q+1-s), code q < 0 is -2^(-q-s). POWERS: 0 and
#: every power of two of float32, without a scale; code 255 is NaN.
UNIFORM, EXPONENTIAL, WITHOUT_ZERO, POWERS = 0, 1, 2, 3

LARGEST_POWER, NOT_FINITE = 254, 255  # codes of 2^127 and of NaN

_BIAS = 1023  # of the exponent of float64
_FRACTION = np.uint64(32)
_ABOVE_FRACTION = np.uint64(20)  # 52 bits of mantissa, 32 of fraction
_NINE = np.uint64(9)  # 32 bits of fraction, 23 of mantissa
_UNIT = 2.0**32
_ONE = np.float64(1.0)
_ZERO = np.float32(0.0)


@intrinsic
def bits_of_double(typing_context, value):
    """Return the bits of a float64 as uint64."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(types.uint64))

    return types.uint64(types.float64), codegen


@njit(cache=True, fastmath=False, forceinline=True)
def power_level(ratio, most, num_levels, word):
    """Return the level 0..s of a ratio of at most 1: 0, then 2^(1-s) to 1; `most` is 2^(s-1)."""
    if ratio * most < _ONE:
        position = np.uint64(ratio * most * _UNIT)
    else:
        offset = np.uint64(_BIAS - num_levels) << _FRACTION
        position = (bits_of_double(ratio) >> _ABOVE_FRACTION) - offset
    return np.int64((position + np.uint64(word)) >> _FRACTION)


@njit(cache=True, fastmath=False, forceinline=True)
def scaled_level(x, scale, grid, most, num_levels, word):
    """Return the signed code of a coordinate relative to a positive, finite scale; `word` is uint32.

    `most` is 2^(s-1), by which products are exact.
    """
    ratio = min(np.float64(abs(x)) / np.float64(scale), _ONE)
    if grid == UNIFORM:
        position = np.uint64(ratio * (np.float64(num_levels) * _UNIT))
        level = np.int64((position + np.uint64(word)) >> _FRACTION)
    elif grid == EXPONENTIAL or ratio * most >= _ONE:
        level = power_level(ratio, most, num_levels, word)
    else:  # between the two levels around 0
        signed = -(ratio * most) if x < _ZERO else ratio * most
        return np.int64(0) if np.uint64(word) < np.uint64((signed + _ONE) * (_UNIT / 2)) else np.int64(-1)
    if grid == WITHOUT_ZERO:
        return -level if x < _ZERO else level - 1
    return -level if x < _ZERO else level


@njit(cache=True, fastmath=False, forceinline=True)
def power_code(bits, word):
    """Return the code 0..255 of a float32 of these bits (uint32): 0, 2^(code - 127), or `NOT_FINITE`."""
    magnitude = np.uint64(bits & np.uint32(0x7FFFFFFF))
    position = magnitude << _NINE
    if position >= np.uint64(NOT_FINITE) << _FRACTION:
        return np.int64(NOT_FINITE)
    code = np.int64((position + np.uint64(word)) >> _FRACTION)
    return min(code, np.int64(LARGEST_POWER))

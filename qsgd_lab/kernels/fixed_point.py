"""Scalar quantization arithmetic: float to fixed point, random rounding, and back to a value.

A coordinate x of a bucket with norm M and s levels becomes ``y = trunc(|x| * (s 2^F / M))``, its level with F
fraction bits; adding a uniform F-bit word and dropping the fraction rounds it up with the probability of its
fraction. No float add follows a float multiply anywhere, so contraction to FMA cannot change a result, and
CPU, GPU and NumPy agree bit for bit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qsgd_lab.kernels.jit import njit

FLOAT32_MAX = np.float32(3.4028235e38)
INFINITY_BITS = np.int32(0x7F800000)
MAGNITUDE_MASK = np.int32(0x7FFFFFFF)

# Below this norm s 2^F / norm could leave the float32 range; bucket and norm are then first multiplied by
# 2^96, exactly.
SMALL_NORM = np.float32(2.0**-64)
SMALL_NORM_FACTOR = np.float32(2.0**96)

ROUND_UP = np.float32(1 + 2.0**-23)  # times this, a float32 grows by one or two units in the last place
HALF_WORD = np.uint32(0x80000000)  # the word that makes rounding "nearest", ties away from zero
_WORD_BITS = np.uint32(32)
_SHIFT_MASK = np.uint32(31)
_ONE = np.float32(1.0)
_ZERO = np.float32(0.0)


class BucketFactors(NamedTuple):
    """What the coordinates of a bucket are multiplied by, one after the other, both float32."""

    factor: np.float32
    scale: np.float32


def fraction_bits(num_levels: int) -> int:
    """Return F, the fraction bits of fixed-point levels: 24, or fewer where s 2^F would reach 2^31."""
    return min(24, 31 - int(num_levels).bit_length())


@njit(cache=True, fastmath=False, forceinline=True)
def storable_norm(norm):
    """Return the float32 stored for a float64 norm: NaN if not finite, at most the largest float32."""
    if not math.isfinite(norm):
        return np.float32(np.nan)
    if norm > np.float64(FLOAT32_MAX):  # as an l2 norm may; this one still dominates all |x|
        return FLOAT32_MAX
    return np.float32(norm)


@njit(cache=True, fastmath=False, forceinline=True)
def bucket_factors(norm, top):
    """Return `BucketFactors`: fixed-point level = |x| * factor * scale, for ``top`` = float32(s 2^F).

    The scale is rounded up where rounding would leave the norm itself short of `top`: a coordinate that
    attains the norm then gets level s for certain, and a one-hot bucket is sent without any error.
    """
    if norm == _ZERO or math.isnan(norm):
        return BucketFactors(_ZERO, _ZERO)  # a scale of 0 tells the caller to write zeros
    factor = SMALL_NORM_FACTOR if norm < SMALL_NORM else _ONE
    scaled = np.float32(norm * factor)
    scale = np.float32(top / scaled)
    if np.float32(scaled * scale) < top:
        scale = np.float32(scale * ROUND_UP)
    return BucketFactors(factor, scale)


@njit(cache=True, fastmath=False, forceinline=True)
def round_level(x, factor, scale, word, fraction, num_levels):
    """Return the signed level (int32) of coordinate x; `word` is its random uint32.

    `fraction` is F as uint32 and `num_levels` s as uint32. The sum stays below 2^32 for every |x| <= norm.
    """
    magnitude = np.float32(abs(x) * factor)  # exact: a power of two, or 1
    # Rounded to float32 before the conversion, which truncates; int32 first, since vector units have that.
    fixed = np.uint32(np.int32(np.float32(magnitude * scale)))
    # The masks say that shifts are below 32; without that the compiler shifts in 64 bits, at twice the cost.
    dither = np.uint32(word >> np.uint32((_WORD_BITS - fraction) & _SHIFT_MASK))
    level = np.uint32(np.uint32(fixed + dither) >> np.uint32(fraction & _SHIFT_MASK))
    # A product rounded up may exceed s 2^F by a little, and then carry into s + 1.
    signed = np.int32(level if level < num_levels else num_levels)
    return np.int32(-signed) if x < _ZERO else signed  # -0.0 is not below 0, and its level is 0


@njit(cache=True, fastmath=False, forceinline=True)
def level_step(norm, num_levels):
    """Return the float64 distance of neighbouring values of a bucket."""
    return np.float64(norm) / np.float64(num_levels)


@njit(cache=True, fastmath=False, forceinline=True)
def level_value(level, step):
    """Return the float32 value of a level. A float64 product: level s gives back the norm exactly."""
    return np.float32(np.float64(level) * step)

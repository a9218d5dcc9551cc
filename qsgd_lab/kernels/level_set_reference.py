"""Rounding to a set of levels in plain NumPy: no code of the kernels, whose every bit it predicts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.kernels.reference import norm_of, philox_words

_UNIT = 2.0**32
UNIFORM, EXPONENTIAL, WITHOUT_ZERO, POWERS = range(4)


def random_words(
    tensor_offsets: NDArray[np.int64], seed: int, node: int, step: int, tensor: int
) -> NDArray[np.uint32]:
    """Return the word of each coordinate, shape (n,), of the stream that its tensor draws from."""
    words = [
        philox_words(int(size), seed, node, step, (tensor + t) & 0xFFFFFFFF)
        for t, size in enumerate(np.diff(tensor_offsets))
    ]
    return np.concatenate([*words, np.empty(0, np.uint32)])


def bucket_norms(x: NDArray[np.float32], offsets: NDArray[np.int64], norm: str) -> NDArray[np.float32]:
    """Return the float32 norm of every bucket, shape (B,)."""
    return np.array([norm_of(x[low:high], norm) for low, high in pairwise(offsets)], np.float32)


def sign_sums(
    x: NDArray[np.float32], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the sums of a bucket's coordinates below 0 and of the others, (B, 2), and their numbers."""
    sums, counts = np.zeros((offsets.size - 1, 2)), np.zeros((offsets.size - 1, 2), np.int64)
    for bucket, (low, high) in enumerate(pairwise(offsets)):
        part = x[low:high].astype(np.float64)
        for column, chosen in enumerate((part[part < 0], part[~(part < 0)])):
            counts[bucket, column] = chosen.size
            sums[bucket, column] = np.add.accumulate(np.append(0.0, chosen))[-1]  # in order
    return sums, counts


def sign_bits(
    x: NDArray[np.float32], offsets: NDArray[np.int64], is_dead: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return whether each coordinate is not below 0; False throughout a dead bucket."""
    return np.asarray(~(x < 0) & ~np.repeat(is_dead, np.diff(offsets)))


def round_to_levels(
    x: NDArray[np.float32],
    words: NDArray[np.uint32],
    scales: NDArray[np.float32],
    grid: int,
    num_levels: int,
) -> NDArray[np.int16]:
    """Return the codes of coordinates; `scales` has the scale of each coordinate, shape (n,)."""
    word = words.astype(np.uint64)
    if grid == POWERS:
        magnitude = (x.view(np.uint32) & np.uint32(0x7FFFFFFF)).astype(np.uint64)
        code = np.minimum(((magnitude << np.uint64(9)) + word) >> np.uint64(32), np.uint64(254))
        code = np.where(np.isfinite(x), code, np.uint64(255)).astype(np.int16)
        return np.where(x < 0, -code, code)
    alive = scales > 0
    ratio = np.minimum(np.abs(np.where(alive, x, 0)).astype(np.float64) / np.where(alive, scales, 1), 1.0)
    least = 2.0 ** (1 - num_levels)
    if grid == UNIFORM:
        position = ratio * (num_levels * _UNIT)
    else:
        mantissa, exponent = np.frexp(ratio)  # ratio = mantissa 2^exponent, mantissa in [1/2, 1)
        # Whole levels and fraction apart: their sum in float64 would round the fraction.
        above = np.ldexp(exponent + num_levels - 1.0, 32) + np.floor(np.ldexp(2 * mantissa - 1, 32))
        position = np.where(ratio < least, ratio / least * _UNIT, above)
    level = ((position.astype(np.uint64) + word) >> np.uint64(32)).astype(np.int16)
    codes = np.where(x < 0, -level, level)
    if grid == WITHOUT_ZERO:
        chance = (np.where(x < 0, -ratio, ratio) / least + 1) * (_UNIT / 2)
        around = np.where(word < np.clip(chance, 0, _UNIT).astype(np.uint64), 0, -1)
        codes = np.where(ratio < least, around, np.where(x < 0, -level, level - 1))
    return np.where(alive, codes, 0).astype(np.int16)

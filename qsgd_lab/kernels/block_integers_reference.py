"""Blocks of small integers in plain NumPy, sharing no code with the kernels, whose bits it predicts."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.kernels.rotation_reference import transform

Floats = NDArray[np.float32]


def smoothed(x: Floats) -> Floats:
    """Return a block over 32, padded to a multiple of 32, with the transform of each group of 32."""
    padded = np.zeros(-(-x.size // 32) * 32, np.float32)
    padded[: x.size] = x * np.float32(1 / 32)
    return np.concatenate([np.empty(0, np.float32), *map(transform, padded.reshape(-1, 32))])


def compress(
    x: Floats, block: int, bits: int, is_smooth: bool, words: NDArray[np.uint32] | None
) -> tuple[NDArray[np.int8], Floats]:
    """Return (codes, scales); `words` of stochastic rounding, one a code; None for nearest integers."""
    codes, scales, most = [np.empty(0, np.int8)], [], 2 ** (bits - 1) - 1
    for low in range(0, x.size, block):
        with np.errstate(invalid="ignore"):
            y = smoothed(x[low : low + block]) if is_smooth else x[low : low + block]
        largest = float(np.abs(y).max())
        if not math.isfinite(largest):
            codes.append(np.zeros(y.size, np.int8))
            scales.append(math.nan)
            continue
        scale = float(np.float32(largest / most))
        if scale * most < largest:
            scale = float(np.float32(max(scale * (1 + 2.0**-23), scale + 2.0**-149)))
        scales.append(scale)
        if scale == 0:
            codes.append(np.zeros(y.size, np.int8))
        elif words is None:
            codes.append(np.rint(y.astype(np.float64) * (1 / scale)).astype(np.int8))
        else:
            fixed = np.floor(y.astype(np.float64) * (1 / scale * 2.0**32)).astype(np.int64)
            up = words[low : low + y.size].astype(np.int64) < (fixed & 0xFFFFFFFF)
            codes.append(((fixed >> 32) + up).astype(np.int8))
    return np.concatenate(codes), np.array(scales, np.float32)


def decompress(
    codes: NDArray[np.int8], scales: Floats, num_coordinates: int, block: int, is_smooth: bool
) -> Floats:
    """Return the values."""
    values = [np.empty(0, np.float32)]
    for b, scale in enumerate(scales):
        own = codes[b * block : (b + 1) * block].astype(np.float32)
        if not scale > 0:
            values.append(np.full(own.size, scale, np.float32))
            continue
        if is_smooth:
            own = np.concatenate([transform(group) for group in own.reshape(-1, 32)])
        with np.errstate(over="ignore"):
            values.append(own * scale)
    return np.concatenate(values)[:num_coordinates]

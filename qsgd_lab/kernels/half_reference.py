"""Conversion of float32 to half of its bits in plain NumPy: no code of the kernels, which it predicts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the patterns of the nearest bfloat16, ties to even; every NaN becomes 0x7FC0.

    Values above the largest bfloat16 (3.39e38) round to infinity.
    """
    bits = values.view(np.uint32)
    # Half a unit of what is cut off, less one where the last bit kept is 0: ties go to even.
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype(np.uint16)


def to_float16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the patterns of the nearest float16, ties to even; every NaN becomes 0x7E00."""
    with np.errstate(over="ignore"):  # an infinity is the answer
        patterns = values.astype(np.float16).view(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7E00), patterns)


def widened(codes: NDArray[np.uint16], is_bfloat16: bool) -> NDArray[np.uint32]:
    """Return the patterns of values widened to float32; a NaN keeps its payload."""
    if is_bfloat16:
        return codes.astype(np.uint32) << np.uint32(16)
    wide = codes.view(np.float16).astype(np.float32).view(np.uint32)
    word = codes.astype(np.uint32)
    is_nan = (word & np.uint32(0x7FFF)) > 0x7C00  # processors make a NaN quiet
    sign, payload = (word & 0x8000) << np.uint32(16), (word & 0x3FF) << np.uint32(13)
    return np.where(is_nan, sign | np.uint32(0x7F800000) | payload, wide).astype(np.uint32)

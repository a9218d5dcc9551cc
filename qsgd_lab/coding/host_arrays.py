"""The arrays of a quantized gradient as the coders take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.arrays import is_torch
from qsgd_lab.quantization import QuantizedGradient, level_dtype


def host_arrays(quantized: QuantizedGradient) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Return levels and norms as NumPy arrays of the sizes that the partition implies."""
    levels, norms = quantized.levels, quantized.norms
    if is_torch(levels):
        levels, norms = levels.numpy(), norms.numpy()
    levels = np.ascontiguousarray(levels.reshape(-1), dtype=level_dtype(quantized.num_levels))
    parts = quantized.partition
    if levels.size != parts.num_coordinates or norms.size != parts.num_buckets:
        raise ValueError(
            f"{levels.size} levels and {norms.size} norms do not fit a partition of "
            f"{parts.num_coordinates} coordinates and {parts.num_buckets} buckets"
        )
    return levels, np.ascontiguousarray(norms, dtype=np.float32)

"""The arrays of a quantized gradient on a device, as the coders take them, and memory for theirs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from qsgd_lab.quantization import QuantizedGradient, level_dtype


def device_arrays(quantized: QuantizedGradient) -> tuple[Any, Any, Any]:
    """Return home, levels and norms as Numba arrays of the sizes that the partition implies.

    Raises
    ------
    TypeError
        If either lives in host memory or has another dtype than its own.
    ValueError
        If either is not contiguous, they do not fit the partition, or there is no device.
    """
    from qsgd_lab.kernels.device_arrays_cuda import device_view, home_of

    home = home_of(quantized.levels, "levels")
    levels = device_view(quantized.levels, level_dtype(quantized.num_levels), "levels").reshape(-1)
    norms = device_view(quantized.norms, np.float32, "norms").reshape(-1)
    parts = quantized.partition
    if levels.size != parts.num_coordinates or norms.size != parts.num_buckets:
        raise ValueError(
            f"{levels.size} levels and {norms.size} norms do not fit a partition of "
            f"{parts.num_coordinates} coordinates and {parts.num_buckets} buckets"
        )
    return home, levels, norms


@contextmanager
def device_memory(purpose: str, size: int) -> Iterator[None]:
    """Turn the libraries' different errors for a lack of device memory into one.

    Raises
    ------
    MemoryError
        If there is not enough inside the ``with``: it names the purpose and its `size` in bytes.
    """
    try:
        yield
    except Exception as error:
        said = f"{type(error).__name__} {error}".lower().replace("_", "").replace(" ", "")
        if "outofmemory" not in said:
            raise
        raise MemoryError(f"{purpose} takes {size} bytes of device memory, which are not free") from error

"""Exact lengths of payloads whose levels live on a device, without coding them and without copying them.

The arrays of a quantized gradient on a device, as the coders take them, and memory for theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from qsgd_lab.coding.device.tables import codeword_lengths
from qsgd_lab.coding.elias import LENGTHS
from qsgd_lab.coding.index import WORD_BYTES
from qsgd_lab.coding.layouts import WORD_BITS, fixed_width
from qsgd_lab.coding.payload import out_of_range
from qsgd_lab.quantization import QuantizedGradient, level_dtype


def device_arrays(quantized: QuantizedGradient) -> tuple[Any, Any, Any]:
    """Return context, levels and norms as Numba arrays of the sizes that the partition implies.

    Raises
    ------
    TypeError
        If either lives in host memory or has another dtype than its own.
    ValueError
        If either is not contiguous, they do not fit the partition, or there is no device.
    """
    from qsgd_lab.kernels.cuda.device import context_of, device_view

    context = context_of(quantized.levels, "levels")
    levels = device_view(quantized.levels, level_dtype(quantized.num_levels), "levels").reshape(-1)
    norms = device_view(quantized.norms, np.float32, "norms").reshape(-1)
    parts = quantized.partition
    if levels.size != parts.num_coordinates or norms.size != parts.num_buckets:
        raise ValueError(
            f"{levels.size} levels and {norms.size} norms do not fit a partition of "
            f"{parts.num_coordinates} coordinates and {parts.num_buckets} buckets"
        )
    return context, levels, norms


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
        # torch, CuPy and Numba have each their own class and words for it.
        said = f"{type(error).__name__} {error}".lower().replace("_", "").replace(" ", "")
        if "outofmemory" not in said:
            raise
        raise MemoryError(f"{purpose} takes {size} bytes of device memory, which are not free") from error


def device_payload_bytes(quantized: QuantizedGradient, chunk_size: int) -> dict[tuple[str, str], int]:
    """Return the payload's exact length in bytes by (layout, code), as `payload_bytes` does.

    Raises
    ------
    ValueError, TypeError
        If the arrays are not what a quantizer makes, or a level is outside -s..s.
    """
    from qsgd_lab.kernels.cuda.device import to_host
    from qsgd_lab.kernels.cuda.messages.sizes import (
        BEYOND,
        DENSE,
        DENSE_SIGNED,
        SPARSE,
        TOTALS,
        launch_measure,
    )

    context, levels, _ = device_arrays(quantized)
    num_levels = quantized.num_levels
    with context.active():
        words = context.to_device(np.zeros(TOTALS, np.int64))
        launch_measure(context, levels, chunk_size, num_levels, codeword_lengths(context, num_levels), words)
        totals = to_host(words)
    if totals[BEYOND]:
        raise out_of_range(num_levels)
    sizes = {("fixed", "none"): _fixed_bytes(levels.size, num_levels, chunk_size)}
    for place, layout in ((DENSE, "dense"), (DENSE_SIGNED, "dense-signed"), (SPARSE, "sparse")):
        sizes |= {(layout, code): WORD_BYTES * int(totals[place + i]) for i, code in enumerate(LENGTHS)}
    return sizes


def _fixed_bytes(size: int, num_levels: int, chunk_size: int) -> int:
    whole, rest = divmod(size, chunk_size)
    width = fixed_width(num_levels)
    return WORD_BYTES * (whole * (chunk_size * width // WORD_BITS) + -(-rest * width // WORD_BITS))

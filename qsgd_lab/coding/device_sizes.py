"""Exact lengths of payloads whose levels live on a device, without coding them and without copying them."""

from __future__ import annotations

import numpy as np

from qsgd_lab.coding.device_arrays import device_arrays
from qsgd_lab.coding.device_tables import codeword_lengths
from qsgd_lab.coding.index import WORD_BYTES
from qsgd_lab.coding.layouts import WORD_BITS, fixed_width
from qsgd_lab.coding.lengths import LENGTHS
from qsgd_lab.coding.payload import out_of_range
from qsgd_lab.quantization import QuantizedGradient


def device_payload_bytes(quantized: QuantizedGradient, chunk_size: int) -> dict[tuple[str, str], int]:
    """Return the payload's exact length in bytes by (layout, code), as `payload_bytes` does.

    Raises
    ------
    ValueError, TypeError
        If the arrays are not what a quantizer makes, or a level lies outside -s..s.
    """
    from qsgd_lab.kernels.device_arrays_cuda import to_host
    from qsgd_lab.kernels.measure_cuda import BEYOND, DENSE, DENSE_SIGNED, SPARSE, TOTALS, launch_measure

    home, levels, _ = device_arrays(quantized)
    num_levels = quantized.num_levels
    with home.active():
        words = home.to_device(np.zeros(TOTALS, np.int64))
        launch_measure(home, levels, chunk_size, num_levels, codeword_lengths(home, num_levels), words)
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

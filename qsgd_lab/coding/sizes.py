"""Exact lengths of messages under every layout and code, without coding."""

from __future__ import annotations

from qsgd_lab.arrays import not_compiled
from qsgd_lab.coding.codec import codec_for
from qsgd_lab.coding.header import HEADER_BYTES, TAIL_BYTES
from qsgd_lab.coding.index import index_bytes
from qsgd_lab.coding.layouts import DEFAULT_CHUNK_SIZE, check_chunk_size
from qsgd_lab.quantization import QuantizedGradient, check_quantized
from qsgd_lab.threads import num_threads
from qsgd_lab.wire.kinds.levels import Levels
from qsgd_lab.wire.message import size


@not_compiled
def message_sizes(
    quantized: QuantizedGradient,
    *,
    version: int = 1,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    threads: int | None = 1,
    backend: str = "auto",
) -> dict[tuple[str, str], int]:
    """Return the exact length in bytes of the message under every layout and code, without encoding.

    Parameters
    ----------
    quantized : QuantizedGradient
    version : {1, 2}
        Of the wire format.
    chunk_size, threads
        As in `encode`.
    backend : {"auto", "cpu", "cuda"}
        Auto works where the levels live.

    Returns
    -------
    dict
        ``len(encode(quantized, code, layout))`` by (layout, code); the code of the layouts "fixed" and, of
        version 2, "base3" is "none".

    Raises
    ------
    TypeError
        If it is not a quantized gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from qsgd_lab import encode, quantize
    >>> q = quantize(np.float32([3, -4, 0, 0]), bits=2, norm="max", rounding="nearest")
    >>> message_sizes(q)["sparse", "omega"] == len(encode(q, "omega", "sparse"))
    True
    """
    check_quantized(quantized, "message_sizes")
    threads = num_threads(threads)
    if version == 2:
        # Not "ranged", whose length only coding tells: `qsgd_lab.wire.ranged_choice.estimated_bytes`.
        layouts = ["fixed", "base3"] if quantized.num_levels == 1 else ["fixed"]
        return {(layout, "none"): size(Levels.of(quantized, layout)) // 8 for layout in layouts}
    check_chunk_size(chunk_size)
    parts = quantized.partition
    payloads = codec_for(quantized.levels, backend).payload_bytes(quantized, chunk_size, threads)
    lists = len(parts.tensor_sizes) + len(quantized.shape)
    chunks = -(-parts.num_coordinates // chunk_size)
    around = {
        layout: HEADER_BYTES + index_bytes(lists, parts.num_buckets, chunks, layout) + TAIL_BYTES
        for layout, _ in payloads
    }
    return {(layout, code): around[layout] + size for (layout, code), size in payloads.items()}

"""What a message will weigh: exact lengths under every layout and code, without coding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.arrays import not_compiled, resolve_backend
from qsgd_lab.coding.elias import LENGTHS, lengths_side_by_side, num_classes
from qsgd_lab.coding.header import HEADER_BYTES, TAIL_BYTES
from qsgd_lab.coding.index import WORD_BYTES, index_bytes
from qsgd_lab.coding.layouts import (
    DEFAULT_CHUNK_SIZE,
    MAX_CHUNK_SIZE,
    WORD_BITS,
    check_chunk_size,
    fixed_width,
)
from qsgd_lab.coding.shortest import shortest_of
from qsgd_lab.coding.threads import num_threads, run_ranges
from qsgd_lab.quantization import QuantizedGradient, check_quantized, host_arrays
from qsgd_lab.wire.kinds.levels import LAYOUTS, Levels
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
        If it is no quantized gradient.

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
        layouts = [layout for layout in LAYOUTS if layout == "fixed" or quantized.num_levels == 1]
        return {(layout, "none"): size(Levels.of(quantized, layout)) // 8 for layout in layouts}
    check_chunk_size(chunk_size)
    parts = quantized.partition
    if resolve_backend(quantized.levels, backend) == "cuda":
        from qsgd_lab.coding.device.sizes import device_payload_bytes

        payloads = device_payload_bytes(quantized, chunk_size)
    else:
        levels, _ = host_arrays(quantized)
        payloads = payload_bytes(levels, quantized.num_levels, chunk_size, threads)
    lists = len(parts.tensor_sizes) + len(quantized.shape)
    chunks = -(-parts.num_coordinates // chunk_size)
    around = {
        layout: HEADER_BYTES + index_bytes(lists, parts.num_buckets, chunks, layout) + TAIL_BYTES
        for layout, _ in payloads
    }
    return {(layout, code): around[layout] + size for (layout, code), size in payloads.items()}


def payload_bytes(
    levels: NDArray[Any], num_levels: int, chunk_size: int, threads: int | None = 1
) -> dict[tuple[str, str], int]:
    """Return the payload's exact length in bytes by (layout, code)."""
    return {
        choice: _word_bytes(bits)
        for choice, bits in chunk_bits(levels, num_levels, chunk_size, threads).items()
    }


def chunk_bits(
    levels: NDArray[Any], num_levels: int, chunk_size: int, threads: int | None = 1
) -> dict[tuple[str, str], NDArray[np.int64]]:
    """Return the exact bits of each chunk, int64[C], before it is padded to words, by (layout, code)."""
    bits = _fixed_bits(levels.size, num_levels, chunk_size)
    bits |= _dense_bits(levels, num_levels, chunk_size, threads)
    return bits | _sparse_bits(levels, num_levels, chunk_size, threads)


def _word_bytes(bits: NDArray[np.int64]) -> int:
    """Return the bytes of chunks of as many bits, each padded to whole words."""
    return WORD_BYTES * int((-(-bits // WORD_BITS)).sum())


def _fixed_bits(size: int, num_levels: int, chunk_size: int) -> dict[tuple[str, str], NDArray[np.int64]]:
    sizes = np.full(-(-size // chunk_size), chunk_size, np.int64)
    sizes[size // chunk_size :] = size % chunk_size
    return {("fixed", "none"): sizes * fixed_width(num_levels)}


def _dense_bits(
    levels: NDArray[Any], num_levels: int, chunk_size: int, threads: int | None
) -> dict[tuple[str, str], NDArray[np.int64]]:
    from qsgd_lab.kernels.cpu.sizes import measure_dense_chunks

    chunks = -(-levels.size // chunk_size)
    reached = np.zeros((chunks, num_classes(num_levels)), np.int32)
    run_ranges(lambda a, b: measure_dense_chunks(levels, chunk_size, a, b, reached), chunks, threads)
    exactly = reached.astype(np.int64)
    exactly[:, :-1] -= reached[:, 1:]
    nonzeros = reached[:, 1].astype(np.int64)
    sizes = {}
    for code, length in LENGTHS.items():
        bits = exactly @ np.array([length(2**j) for j in range(exactly.shape[1])], np.int64)
        sizes["dense", code] = bits + nonzeros
        sizes["dense-signed", code] = bits + reached[:, 0]
    return sizes


def _sparse_bits(
    levels: NDArray[Any], num_levels: int, chunk_size: int, threads: int | None
) -> dict[tuple[str, str], NDArray[np.int64]]:
    from qsgd_lab.kernels.cpu.sizes import measure_sparse_chunks

    chunks = -(-levels.size // chunk_size)
    bits = np.zeros((chunks, len(LENGTHS)), np.int64)
    gaps, magnitudes = lengths_side_by_side(MAX_CHUNK_SIZE, 0), lengths_side_by_side(num_levels, 1)
    run_ranges(
        lambda a, b: measure_sparse_chunks(levels, chunk_size, a, b, gaps, magnitudes, bits), chunks, threads
    )
    return {("sparse", code): bits[:, i] for i, code in enumerate(LENGTHS)}


def shortest(
    levels: NDArray[Any], num_levels: int, code: str, layout: str, chunk_size: int, threads: int | None = 1
) -> tuple[str, str]:
    """Return the (code, layout) of the shortest message among those that "auto" in either place leaves open.

    Only the payload and the directory's counts depend on the choice.
    """
    sizes = payload_bytes(levels, num_levels, chunk_size, threads)
    return shortest_of(sizes, -(-levels.size // chunk_size), code, layout)

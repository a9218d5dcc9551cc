"""What a message will weigh: exact lengths under every layout and code, without coding."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.header import HEADER_BYTES, TAIL_BYTES
from qsgd_lab.coding.host_arrays import host_arrays
from qsgd_lab.coding.index import WORD_BYTES, index_bytes
from qsgd_lab.coding.layouts import DEFAULT_CHUNK_SIZE, MAX_CHUNK_SIZE, WORD_BITS, fixed_width
from qsgd_lab.coding.lengths import LENGTHS
from qsgd_lab.coding.tally import num_classes
from qsgd_lab.coding.threads import run_ranges
from qsgd_lab.quantization import QuantizedGradient

_LANE_BITS = 21

#: What "auto" chooses from; the first among equals. (The dense-signed layout is never shorter than the dense
#: one.)
_PREFERENCE = [*((layout, code) for layout in ("dense", "sparse") for code in LENGTHS), ("fixed", "none")]


def message_sizes(
    quantized: QuantizedGradient, *, chunk_size: int = DEFAULT_CHUNK_SIZE, threads: int | None = 1
) -> dict[tuple[str, str], int]:
    """Return the exact length in bytes of the message under every layout and code, without encoding.

    Parameters
    ----------
    quantized : QuantizedGradient
    chunk_size, threads
        As in `encode`.

    Returns
    -------
    dict
        ``len(encode(quantized, code, layout))`` by (layout, code); the fixed layout's code is "none".

    Examples
    --------
    >>> import numpy as np
    >>> from qsgd_lab import encode, quantize
    >>> q = quantize(np.float32([3, -4, 0, 0]), bits=2, norm="max", rounding="nearest")
    >>> message_sizes(q)["sparse", "omega"] == len(encode(q, "omega", "sparse"))
    True
    """
    levels, norms = host_arrays(quantized)
    payloads = payload_bytes(levels, quantized.num_levels, chunk_size, threads)
    lists = len(quantized.partition.tensor_sizes) + len(quantized.shape)
    chunks = -(-levels.size // chunk_size)
    around = {
        layout: HEADER_BYTES + index_bytes(lists, norms.size, chunks, layout) + TAIL_BYTES
        for layout, _ in payloads
    }
    return {(layout, code): around[layout] + size for (layout, code), size in payloads.items()}


def payload_bytes(
    levels: NDArray[Any], num_levels: int, chunk_size: int, threads: int | None = 1
) -> dict[tuple[str, str], int]:
    """Return the payload's exact length in bytes by (layout, code)."""
    sizes = _fixed_bytes(levels.size, num_levels, chunk_size)
    sizes |= _dense_bytes(levels, num_levels, chunk_size, threads)
    return sizes | _sparse_bytes(levels, num_levels, chunk_size, threads)


def _word_bytes(bits: NDArray[np.int64]) -> int:
    """Return the bytes of chunks of as many bits, each padded to whole words."""
    return WORD_BYTES * int((-(-bits // WORD_BITS)).sum())


def _fixed_bytes(size: int, num_levels: int, chunk_size: int) -> dict[tuple[str, str], int]:
    sizes = np.full(size // chunk_size, chunk_size, np.int64)
    bits = np.append(sizes, size % chunk_size) * fixed_width(num_levels)
    return {("fixed", "none"): _word_bytes(bits)}


def _dense_bytes(
    levels: NDArray[Any], num_levels: int, chunk_size: int, threads: int | None
) -> dict[tuple[str, str], int]:
    from qsgd_lab.kernels.measure_cpu import measure_dense_chunks

    chunks = -(-levels.size // chunk_size)
    reached = np.zeros((chunks, num_classes(num_levels)), np.int32)
    run_ranges(lambda a, b: measure_dense_chunks(levels, chunk_size, a, b, reached), chunks, threads)
    exactly = reached.astype(np.int64)
    exactly[:, :-1] -= reached[:, 1:]
    nonzeros = reached[:, 1].astype(np.int64)
    sizes = {}
    for code, length in LENGTHS.items():
        bits = exactly @ np.array([length(2**j) for j in range(exactly.shape[1])], np.int64)
        sizes["dense", code] = _word_bytes(bits + nonzeros)
        sizes["dense-signed", code] = _word_bytes(bits + reached[:, 0])
    return sizes


@lru_cache(maxsize=16)
def _lengths_side_by_side(largest: int, extra: int) -> NDArray[np.uint64]:
    """Return by k, 0 to `largest`, its codewords' lengths, 21 bits each, with `extra` added unless k = 0."""
    lanes = [[0, *(length(k) + extra for k in range(1, largest + 1))] for length in LENGTHS.values()]
    return sum(
        (np.array(lane, np.uint64) << np.uint64(_LANE_BITS * i) for i, lane in enumerate(lanes)),
        np.zeros(largest + 1, np.uint64),
    )


def _sparse_bytes(
    levels: NDArray[Any], num_levels: int, chunk_size: int, threads: int | None
) -> dict[tuple[str, str], int]:
    from qsgd_lab.kernels.measure_cpu import measure_sparse_chunks

    chunks = -(-levels.size // chunk_size)
    bits = np.zeros((chunks, len(LENGTHS)), np.int64)
    gaps, magnitudes = _lengths_side_by_side(MAX_CHUNK_SIZE, 0), _lengths_side_by_side(num_levels, 1)
    run_ranges(
        lambda a, b: measure_sparse_chunks(levels, chunk_size, a, b, gaps, magnitudes, bits), chunks, threads
    )
    return {("sparse", code): _word_bytes(bits[:, i]) for i, code in enumerate(LENGTHS)}


def shortest(
    levels: NDArray[Any], num_levels: int, code: str, layout: str, chunk_size: int, threads: int | None = 1
) -> tuple[str, str]:
    """Return the (code, layout) of the shortest message among those that "auto" in either place leaves open.

    Only the payload and the directory's counts depend on the choice.
    """
    sizes = payload_bytes(levels, num_levels, chunk_size, threads)
    chunks = -(-levels.size // chunk_size)
    around = {kind: index_bytes(0, 0, chunks, kind) for kind, _ in sizes}
    candidates = [
        choice for choice in _PREFERENCE if layout in ("auto", choice[0]) and code in ("auto", choice[1])
    ]
    if layout == "dense-signed":
        candidates = [(layout, name) for name in LENGTHS]
    kind, name = min(candidates, key=lambda choice: sizes[choice] + around[choice[0]])
    return name, kind

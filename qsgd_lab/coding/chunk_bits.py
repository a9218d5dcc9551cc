"""Exact bits of every chunk under every layout and code, counted without coding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.elias import LENGTHS, lengths_side_by_side, num_classes
from qsgd_lab.coding.index import WORD_BYTES
from qsgd_lab.coding.layouts import MAX_CHUNK_SIZE, WORD_BITS, fixed_width
from qsgd_lab.coding.shortest import shortest_of
from qsgd_lab.coding.threads import run_ranges


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
    sizes[size // chunk_size :] = size % chunk_size  # the last chunk, if it is short
    return {("fixed", "none"): sizes * fixed_width(num_levels)}


def _dense_bits(
    levels: NDArray[Any], num_levels: int, chunk_size: int, threads: int | None
) -> dict[tuple[str, str], NDArray[np.int64]]:
    from qsgd_lab.kernels.cpu.sizes import measure_dense_chunks

    chunks = -(-levels.size // chunk_size)
    reached = np.zeros((chunks, num_classes(num_levels)), np.int32)
    run_ranges(lambda a, b: measure_dense_chunks(levels, chunk_size, a, b, reached), chunks, threads)
    exactly = reached.astype(np.int64)  # from "at least 2^j" to "from 2^j to below 2^(j + 1)"
    exactly[:, :-1] -= reached[:, 1:]
    nonzeros = reached[:, 1].astype(np.int64)
    sizes = {}
    for code, length in LENGTHS.items():
        bits = exactly @ np.array([length(2**j) for j in range(exactly.shape[1])], np.int64)
        sizes["dense", code] = bits + nonzeros  # a sign each; in the signed layout one of every level
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

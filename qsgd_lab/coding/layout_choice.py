"""The choice of layout (dense, sparse or fixed) and code that makes a message shortest.

Exact bits of every chunk under every layout and code are counted without coding.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.elias import LENGTHS, lengths_side_by_side
from qsgd_lab.coding.index import WORD_BYTES, index_bytes
from qsgd_lab.coding.layouts import MAX_CHUNK_SIZE, WORD_BITS, fixed_width
from qsgd_lab.levels import num_classes
from qsgd_lab.threads import run_ranges

#: (layout, code) in the order in which the kernels count them; the fixed layout, which needs no counting,
#: comes last.
COUNTED = [(layout, code) for layout in ("dense", "sparse") for code in LENGTHS]
CHOICES = [*COUNTED, ("fixed", "none")]
#: (layout, code) in the order in which the bits of chunks are counted here.
_MEASURED = [
    ("fixed", "none"),
    *((layout, code) for code in LENGTHS for layout in ("dense", "dense-signed")),
    *(("sparse", code) for code in LENGTHS),
]


def shortest(
    levels: NDArray[Any], num_levels: int, code: str, layout: str, chunk_size: int, threads: int | None = 1
) -> tuple[str, str]:
    """Return the (code, layout) of the shortest message among those that "auto" in either place leaves open.

    Only the payload and the directory's counts depend on the choice.
    """
    sizes = payload_bytes(levels, num_levels, chunk_size, threads)
    return shortest_of(sizes, -(-levels.size // chunk_size), code, layout)


def shortest_of(sizes: dict[tuple[str, str], int], chunks: int, code: str, layout: str) -> tuple[str, str]:
    """Return the (code, layout) of the shortest message, given the sizes of its payload and its chunks."""
    sparse = index_bytes(0, 0, chunks, "sparse") - index_bytes(0, 0, chunks, "dense")  # its directory counts
    best, shortest = ("", ""), -1
    for choice in _candidates(code, layout):
        size = sizes[choice] + (sparse if choice[0] == "sparse" else 0)
        if shortest < 0 or size < shortest:  # the first among equals
            best, shortest = choice, size
    return best[1], best[0]


@lru_cache(maxsize=32)
def _candidates(code: str, layout: str) -> list[tuple[str, str]]:
    """Return the (layout, code) that "auto" in either place leaves open."""
    if layout == "dense-signed":  # never shorter than the dense one, but a code may be chosen for it
        return [(layout, name) for name in LENGTHS]
    return [choice for choice in CHOICES if layout in ("auto", choice[0]) and code in ("auto", choice[1])]


def payload_bytes(
    levels: NDArray[Any], num_levels: int, chunk_size: int, threads: int | None = 1
) -> dict[tuple[str, str], int]:
    """Return the payload's exact length in bytes by (layout, code)."""
    bits = _bits_side_by_side(levels, num_levels, chunk_size, threads)
    words = (bits + (WORD_BITS - 1)) // WORD_BITS  # each chunk is padded to whole words
    return dict(zip(_MEASURED, (WORD_BYTES * words.sum(axis=0)).tolist(), strict=True))


def chunk_bits(
    levels: NDArray[Any], num_levels: int, chunk_size: int, threads: int | None = 1
) -> dict[tuple[str, str], NDArray[np.int64]]:
    """Return the exact bits of each chunk, int64[C], before it is padded to words, by (layout, code)."""
    return dict(zip(_MEASURED, _bits_side_by_side(levels, num_levels, chunk_size, threads).T, strict=True))


def _bits_side_by_side(
    levels: NDArray[Any], num_levels: int, chunk_size: int, threads: int | None
) -> NDArray[np.int64]:
    """Return the exact bits of each chunk, int64[C, 10], in the order of `_MEASURED`."""
    from qsgd_lab.kernels.cpu.messages.sizes import measure_dense_chunks

    chunks = -(-levels.size // chunk_size)
    reached = np.zeros((chunks, num_classes(num_levels)), np.int32)
    run_ranges(lambda a, b: measure_dense_chunks(levels, chunk_size, a, b, reached), chunks, threads)
    bits = np.empty((chunks, len(_MEASURED)), np.int64)
    counted = len(LENGTHS)
    np.matmul(reached, _bits_of_reaching(num_levels), out=bits[:, :-counted])
    bits[:, -counted:] = _sparse_bits(levels, num_levels, chunk_size, threads)
    return bits


@lru_cache(maxsize=64)
def _bits_of_reaching(num_levels: int) -> NDArray[np.int64]:
    """Return the bits that a level adds by reaching |level| + 1 >= 2^j, int64[K, 7]; not for sparse."""
    columns = np.zeros((num_classes(num_levels), 1 + 2 * len(LENGTHS)), np.int64)
    columns[0, 0] = fixed_width(num_levels)  # every level reaches 2^0
    for i, length in enumerate(LENGTHS.values()):
        steps = np.diff([length(2**j) for j in range(len(columns))], prepend=0)
        columns[:, 1 + 2 * i] = columns[:, 2 + 2 * i] = steps
        columns[1, 1 + 2 * i] += 1  # a sign of each level other than 0
        columns[0, 2 + 2 * i] += 1  # in the signed layout one of every level
    return columns


def _sparse_bits(
    levels: NDArray[Any], num_levels: int, chunk_size: int, threads: int | None
) -> NDArray[np.int64]:
    """Return the bits of sparse chunks, int64[C, 3], by code."""
    from qsgd_lab.kernels.cpu.messages.sizes import measure_sparse_chunks

    chunks = -(-levels.size // chunk_size)
    bits = np.zeros((chunks, len(LENGTHS)), np.int64)
    gaps, magnitudes = lengths_side_by_side(MAX_CHUNK_SIZE, 0), lengths_side_by_side(num_levels, 1)
    run_ranges(
        lambda a, b: measure_sparse_chunks(levels, chunk_size, a, b, gaps, magnitudes, bits), chunks, threads
    )
    return bits

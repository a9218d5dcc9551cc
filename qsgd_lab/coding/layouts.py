"""Layouts: the forms in which the levels of a chunk are written in bits.

fixed
    Each level in two's complement, lowest bit first, in the magnitude's bits and one for the sign.
dense
    For each level its codeword of |level| + 1, then, where the level is not 0, its sign (1 is negative).
dense-signed
    For each level its sign, then its codeword of |level| + 1: the form of the QSGD paper. The sign of 0 is 0.
sparse
    For each level other than 0 the codeword of its distance from the one before (from position -1 for the
    first), its sign, and the codeword of |level|.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from qsgd_lab.coding.elias import CODES, LENGTHS
from qsgd_lab.kernels.arguments import ChunkFormat
from qsgd_lab.kernels.constants import CHUNK_SIZE, DENSE, DENSE_SIGNED, FIXED, SPARSE
from qsgd_lab.levels import magnitude_bits

_LEAST_BITS = {"dense": 1, "dense-signed": 2, "sparse": 3}
#: Layout -> its number in messages and kernels.
LAYOUTS = {"fixed": FIXED, "dense": DENSE, "dense-signed": DENSE_SIGNED, "sparse": SPARSE}

DEFAULT_CHUNK_SIZE = CHUNK_SIZE
#: Chunks are a multiple of this, so that at any fixed width they fill whole words.
CHUNK_UNIT = 32
#: The directory spends at least six bytes on a chunk, which bounds what a message can make a receiver
#: allocate.
MAX_CHUNK_SIZE = CHUNK_SIZE
WORD_BITS = 32


def fixed_width(num_levels: int) -> int:
    """Return the bits of a level of a quantizer with s levels at fixed width, its sign included.

    Examples
    --------
    >>> [fixed_width(s) for s in (1, 3, 7, 8, 127)]
    [2, 3, 4, 5, 8]
    """
    return magnitude_bits(num_levels) + 1


@lru_cache(maxsize=64)
def chunk_format(layout: str, code: str, num_levels: int) -> ChunkFormat:
    """Return a layout, a code (any, where it has no part) and s as the kernels take them."""
    return ChunkFormat(LAYOUTS[layout], CODES.get(code, 0), num_levels, np.uint64(fixed_width(num_levels)))


@lru_cache(maxsize=64)
def max_bits_per_coordinate(layout: str, code: str, num_levels: int) -> int:
    """Return an upper bound on the bits of any one coordinate in any chunk.

    A sparse chunk is longest where every level is non-zero or gaps are 2: no code takes more than 2 bits a
    coordinate for gaps.
    """
    if layout == "fixed":
        return fixed_width(num_levels)
    if layout == "sparse":
        return 2 + 1 + LENGTHS[code](num_levels)  # distance, sign, magnitude
    return LENGTHS[code](num_levels + 1) + 1  # codes begin at 1, so that |level| + 1 is sent


def min_bits_per_coordinate(layout: str, num_levels: int) -> int:
    """Return a lower bound on the bits of a coordinate; in the sparse layout, of a level other than 0."""
    return fixed_width(num_levels) if layout == "fixed" else _LEAST_BITS[layout]


def check_chunk_size(chunk_size: int) -> None:
    """Check the number of coordinates of a chunk.

    Raises
    ------
    ValueError
        If it is not a multiple of 32 from 32 to 4096.
    """
    if chunk_size % CHUNK_UNIT or not CHUNK_UNIT <= chunk_size <= MAX_CHUNK_SIZE:
        raise ValueError(
            f"chunk size is {chunk_size}; it must be a multiple of {CHUNK_UNIT}, at most {MAX_CHUNK_SIZE}"
        )

"""Layout fixed of levels: fields of one width, the sign included, in one string of bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.levels import magnitude_bits
from qsgd_lab.quantization import level_dtype
from qsgd_lab.wire.checks import Bytes, require


def last_piece(width: int, body: Bytes, count: int) -> Bytes:
    """Return the last piece of a string of fixed fields, padded with zeros as kernels take it.

    Raises
    ------
    MessageError
        If bits after the last level are not 0.
    """
    from qsgd_lab.kernels.cpu.messages.level_string import PIECE

    used = count * width
    require(
        not used % 8 or int(body[used // 8]) >> used % 8 == 0,
        "zeros",
        "bits after the last level are not zero",
    )
    at = (count - 1) // PIECE * (PIECE * width // 8)
    return np.concatenate([body[at:], np.zeros(16, np.uint8)])


def write(levels: NDArray[Any], num_levels: int, buffer: Bytes) -> bool:
    """Write levels; return whether all are in -s..s."""
    from qsgd_lab.kernels.cpu.messages.level_string import write_level_string

    return bool(write_level_string(levels, num_levels, np.uint64(magnitude_bits(num_levels) + 1), buffer))


def read(body: Bytes, num_levels: int, count: int, start: int, stop: int) -> NDArray[Any] | None:
    """Return levels start..stop-1 of a string of `count`; None if one is outside -s..s."""
    from qsgd_lab.kernels.cpu.messages.level_string import PIECE, read_level_string

    width = magnitude_bits(num_levels) + 1
    first, end = start // PIECE, min(count, -(-stop // PIECE) * PIECE)
    levels = np.empty(max(0, end - first * PIECE), level_dtype(num_levels))
    last = last_piece(width, body, count)
    good = read_level_string(body, last, np.uint64(width), num_levels, first, levels)
    return levels[start - first * PIECE : stop - first * PIECE] if good else None

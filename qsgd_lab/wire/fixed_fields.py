"""Layout fixed of levels: fields of one width, the sign included, in one string of bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.levels import magnitude_bits
from qsgd_lab.quantization import level_dtype
from qsgd_lab.wire.checks import Bytes, check_bits_after, require


def last_piece(width: int, body: Bytes, count: int) -> Bytes:
    """Return the last piece of a string of fixed fields, padded with zeros as kernels take it.

    Raises
    ------
    MessageError
        If bits after the last level are not 0.
    """
    from qsgd_lab.kernels.cpu.messages.level_string import PIECE

    check_bits_after(body, count * width, "the last level")
    at = (count - 1) // PIECE * (PIECE * width // 8)
    return np.concatenate([body[at:], np.zeros(16, np.uint8)])


def size(options: Any, count: int) -> int:
    """Return the bytes of `count` levels."""
    return -(-count * (magnitude_bits(options.num_levels) + 1) // 8)


def write(levels: NDArray[Any], num_levels: int, buffer: Bytes) -> bool:
    """Write levels; return whether all are in -s..s."""
    from qsgd_lab.kernels.cpu.messages.level_string import write_level_string

    return bool(write_level_string(levels, num_levels, np.uint64(magnitude_bits(num_levels) + 1), buffer))


def read(
    options: Any, _side: Bytes, body: Bytes, count: int, start: int, stop: int, out: Any = None
) -> tuple[NDArray[Any], None]:
    """Return levels start..stop-1 of a string of `count` (of all, in `out`), and no code.

    Raises
    ------
    MessageError
        If one is outside -s..s, or bits after the last level are not 0.
    """
    from qsgd_lab.kernels.cpu.messages.level_string import PIECE, read_level_string

    s, width = options.num_levels, magnitude_bits(options.num_levels) + 1
    first, end = start // PIECE, min(count, -(-stop // PIECE) * PIECE)
    levels = np.empty(max(0, end - first * PIECE), level_dtype(s)) if out is None else out
    last = last_piece(width, body, count)
    good = read_level_string(body, last, np.uint64(width), s, first, levels)
    require(good, "code", f"a level is outside -{s}..{s}")
    return (levels[start - first * PIECE : stop - first * PIECE] if out is None else out), None

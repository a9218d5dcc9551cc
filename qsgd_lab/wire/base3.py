"""Layout base 3 of ternary levels: five a byte."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.wire.checks import Bytes, require

DIGITS = 5  # ternary levels a byte
_LARGEST = 242  # all five are 2
_PLACES = np.array([1, 3, 9, 27, 81], np.uint8)
_BLOCK = 1 << 15  # bytes that are worked on at a time


def size(_options: Any, count: int) -> int:
    """Return the bytes of `count` levels."""
    return -(-count // DIGITS)


def write(levels: NDArray[Any], _num_levels: int, buffer: Bytes) -> bool:
    """Write ternary levels; return whether all are."""
    step = _BLOCK * DIGITS
    for start in range(0, levels.size, step):
        part = levels[start : start + step]
        if part.min() < -1 or part.max() > 1:
            return False
        digits = np.zeros(-(-part.size // DIGITS) * DIGITS, np.uint8)
        digits[: part.size] = part.view(np.uint8) & 3  # 0, 1, -1 become 0, 1, 3
        digits -= digits >> 1  # and then 0, 1, 2
        at = start // DIGITS
        buffer[at : at + digits.size // DIGITS] = digits.reshape(-1, DIGITS) @ _PLACES
    return True


def read(
    _options: Any, _side: Bytes, body: Bytes, count: int, start: int, stop: int, _out: Any = None
) -> tuple[NDArray[Any], None]:
    """Return levels start..stop-1 of a string of `count`, and that no code belongs to them.

    Raises
    ------
    MessageError
        If a byte is above 242, or digits after the last level are not 0.
    """
    first, end = start // DIGITS, -(-stop // DIGITS)
    used, table = body[first:end], _digit_table()
    require(used.max(initial=0) <= _LARGEST, "code", f"a byte of five levels is above {_LARGEST}")
    levels = np.empty((used.size, DIGITS), np.int8)
    for at in range(0, used.size, _BLOCK):  # by blocks: the look-up makes eight bytes of each index
        levels[at : at + _BLOCK] = table[used[at : at + _BLOCK]]
    flat = levels.reshape(-1)
    require(not flat[count - first * DIGITS :].any(), "zeros", "digits after the last level are not zero")
    return flat[start - first * DIGITS : stop - first * DIGITS], None


@lru_cache(maxsize=1)
def _digit_table() -> NDArray[np.int8]:
    """Return the five levels of each byte, int8[243, 5]."""
    digits = np.arange(243)[:, None] // _PLACES % 3
    table: NDArray[np.int8] = np.array([0, 1, -1], np.int8)[digits]
    return table

"""Codes of up to 8 bits in two's complement, one string of fields: what kinds of blocks have as payload."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.wire.checks import Bytes, check_scales, require


def write_codes(codes: NDArray[np.int8], bits: int, least: int, buffer: Bytes) -> None:
    """Write codes of `bits` bits; raises a MessageError if one is below `least` or above 2^(bits-1) - 1."""
    from qsgd_lab.kernels.cpu.messages.level_string import write_level_string

    most = (1 << (bits - 1)) - 1
    good = codes.size == 0 or (codes.min() >= least and codes.max() <= most)
    require(good, "code", f"a code is outside {least}..{most}")
    write_level_string(codes, 1 << (bits - 1), np.uint64(bits), buffer)


def read_codes(bits: int, body: Bytes, count: int) -> NDArray[np.int8]:
    """Return `count` codes; raises a MessageError if bits after the last one are not 0."""
    from qsgd_lab.kernels.cpu.messages.level_string import PIECE, read_level_string

    codes = np.empty(count, np.int8)
    if count:
        used = count * bits
        beyond = int(body[used // 8]) >> used % 8 if used % 8 else 0
        require(beyond == 0, "zeros", "bits after the last code are not zero")
        last = np.concatenate([body[(count - 1) // PIECE * (PIECE * bits // 8) :], np.zeros(16, np.uint8)])
        read_level_string(body, last, np.uint64(bits), 1 << (bits - 1), 0, codes)
    return codes


def check_dead_blocks(scales: NDArray[np.float32], codes: NDArray[np.int8], block_size: int) -> None:
    """Check the patterns of scales, and that blocks of scale 0 or NaN have no codes other than 0.

    Raises
    ------
    MessageError
        If a rule does not hold.
    """
    if check_scales(scales):
        dead = ~(scales > 0)
        full = codes.size // block_size
        blocks = codes[: full * block_size].reshape(full, block_size)[dead[:full]]
        last = codes[full * block_size :] if full < dead.size and dead[-1] else codes[:0]
        zero = not blocks.any() and not last.any()
        require(zero, "canonical", "a block of scale 0 or NaN has codes other than 0")

"""Levels as one string of fixed-width fields, without chunks: the form of wire format 2.

Pieces of 4096 levels fill whole bytes at every width, so that a piece is packed like a chunk of version 1.
What makes loads legal: they reach at most seven bytes beyond a piece, and the last one is read from a padded
copy.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.cpu.float_mode import keep_denormals, set_float_mode
from qsgd_lab.kernels.cpu.messages.decode import put_values
from qsgd_lab.kernels.cpu.messages.encode import extremes
from qsgd_lab.kernels.cpu.messages.fixed_width import decode_fixed_chunk, encode_fixed_chunk
from qsgd_lab.kernels.jit import njit

PIECE = 4096
GOOD, OUT_OF_RANGE, NOT_ZERO = 0, 1, 2


@njit(cache=True, fastmath=False, nogil=True)
def write_level_string(levels, num_levels, width, stream):
    """Write levels in `width` (uint64) bits each; return whether all are in -s..s.

    `stream` (uint8) is as long as the string and eight bytes more, over which stores run.
    """
    step = np.int64(width) * PIECE // 8
    for piece in range((levels.size + PIECE - 1) // PIECE):
        part = levels[piece * PIECE : min(levels.size, (piece + 1) * PIECE)]
        low, high = extremes(part)  # fields of `width` bits would cut a larger level without a word
        if low < -num_levels or high > num_levels:
            return False
        encode_fixed_chunk(part, width, stream, piece * step)
    return True


@njit(cache=True, fastmath=False)
def read_piece(stream, piece, last, width, num_levels, levels):
    """Read one piece of a level string; return whether all its levels are in -s..s.

    `last` is the last piece of the string, padded with eight bytes or more; it is read where too little
    follows in `stream`.
    """
    start = piece * (np.int64(width) * PIECE // 8)
    if start + np.int64(width) * PIECE // 8 + 8 <= stream.size:
        decode_fixed_chunk(stream, start, width, levels)
    else:
        decode_fixed_chunk(last, 0, width, levels)
    low, high = extremes(levels)
    return low >= -num_levels and high <= num_levels


@njit(cache=True, fastmath=False, nogil=True)
def read_level_string(stream, last, width, num_levels, first, levels):
    """Read levels from piece ``first`` on; return whether all are in -s..s.

    Parameters
    ----------
    stream : uint8, read-only
        The string, up to the end of the message.
    last : uint8, read-only
        Its last piece and eight zeros or more.
    width : uint64
    num_levels : int
        s.
    first : int
    levels : int8 or int16
    """
    for done in range(0, levels.size, PIECE):
        part = levels[done : min(levels.size, done + PIECE)]
        if not read_piece(stream, first + done // PIECE, last, width, num_levels, part):
            return False
    return True


@njit(cache=True, fastmath=False)
def put_string(stream, last, width, num_levels, norms, bucket_offsets, scratch, add, values):
    """Do the work of `level_string_to_values`."""
    bucket = np.int64(0)
    for first in range(0, values.size, PIECE):
        levels = scratch[: min(PIECE, values.size - first)]  # in cache from unpacking to values
        if not read_piece(stream, first // PIECE, last, width, num_levels, levels):
            return OUT_OF_RANGE
        bucket = put_values(levels, first, bucket, norms, bucket_offsets, num_levels, add, values)
        if bucket < 0:
            return NOT_ZERO
    return GOOD


@njit(cache=True, fastmath=False, nogil=True)
def level_string_to_values(stream, last, width, num_levels, norms, bucket_offsets, scratch, add, values):
    """Write or add the values of a level string into float32 `values`; return what is wrong, or GOOD.

    ``scratch`` holds the levels of a piece; the rest as `read_level_string` and `put_values` take it.
    """
    mode = keep_denormals()
    found = put_string(stream, last, width, num_levels, norms, bucket_offsets, scratch, add, values)
    set_float_mode(mode)
    return found

"""CRC-32C on the GPU: a warp goes over a range 32 words at a time, and adds up what its lanes found.

The words are aligned to the range's end, so that every lane's last word is in the last turn; what comes
before the first word counts as zeros, which change nothing.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from qsgd_lab.kernels.crc32c import LANES, times
from qsgd_lab.kernels.cuda.launch import current_launch_shape
from qsgd_lab.kernels.cuda.norms import ALL_LANES

INVERSION = np.uint32(0xFFFFFFFF)
PIECE = 1024  # words of a piece, where one range is divided among many warps

_BYTE = np.uint32(0xFF)
_EIGHT = np.uint32(8)
_SIXTEEN = np.uint32(16)
_TWENTY_FOUR = np.uint32(24)
_ZERO = np.uint32(0)


@cuda.jit(device=True, cache=False, fastmath=False)
def moved_past_turn(state, by_turn):
    """Return a lane's state (uint32) moved past a turn."""
    return np.uint32(
        by_turn[0, state & _BYTE]
        ^ by_turn[1, (state >> _EIGHT) & _BYTE]
        ^ by_turn[2, (state >> _SIXTEEN) & _BYTE]
        ^ by_turn[3, state >> _TWENTY_FOUR]
    )


@cuda.jit(device=True, cache=False, fastmath=False)
def warp_state(words, first, count, inverted, tables):
    """Return to all lanes of a warp the CRC state of `count` words from `first` on.

    With `inverted`, the first word is inverted, as it is where data begin. Every lane of the block comes
    here; other warps may have other ranges, none among them.
    """
    by_turn, by_lane = tables
    lane = cuda.threadIdx.x % LANES
    turns = (count + LANES - 1) // LANES
    i = count - turns * LANES + lane  # negative in the first turn of a range that is not a multiple of 32
    state = _ZERO
    for _ in range(turns):
        state = moved_past_turn(state, by_turn)
        if i >= 0:
            state = np.uint32(state ^ words[first + i])
            if inverted and i == 0:
                state = np.uint32(state ^ INVERSION)
        i += LANES
    state = np.uint32(times(state, by_lane[lane]))  # past the words that follow the lane's last one
    for half in (16, 8, 4, 2, 1):
        # As int32, since numba-cuda shuffles no unsigned numbers.
        state = np.uint32(state ^ np.uint32(cuda.shfl_xor_sync(ALL_LANES, np.int32(state), half)))
    return state


@cuda.jit(device=True, cache=False, fastmath=False)
def warp_checksum(words, first, count, tables):
    """Return to all lanes of a warp the CRC-32C of `count` words from `first` on; conditions as above."""
    state = warp_state(words, first, count, True, tables)
    return np.uint32(state ^ INVERSION) if count > 0 else _ZERO  # without a word nothing was inverted


@cuda.jit(cache=True, fastmath=False)
def piece_states(words, first, count, tables, states):
    """Write the CRC states of pieces of a range that begins a checksum; the first piece may be short.

    Parameters
    ----------
    words : uint32
    first, count : int
        The range.
    tables : (uint32[4, 256], uint32[32])
        Of words.
    states : uint32[ceil(count / 1024)]
    """
    warp, warps = cuda.threadIdx.x // LANES, cuda.blockDim.x // LANES
    pieces = states.size
    short = pieces * PIECE - count
    for start in range(cuda.blockIdx.x * warps, pieces, cuda.gridDim.x * warps):
        piece = start + warp
        low = high = 0  # of a warp without a piece, which still has to come to the shuffles
        if piece < pieces:
            high = (piece + 1) * PIECE - short
            low = high - PIECE if piece > 0 else 0
        state = warp_state(words, first + low, high - low, piece == 0, tables)
        if cuda.threadIdx.x % LANES == 0 and piece < pieces:
            states[piece] = state


@cuda.jit(cache=True, fastmath=False)
def enter_equal_chunks(words, first, count, chunk_words, tables, num_words, checksums):
    """Enter neighbouring chunks of one length, but for a shorter last one, in a directory: a warp a chunk.

    Parameters
    ----------
    words : uint32
    first, count : int
        Where the chunks begin, and their words in all.
    chunk_words : int
    tables : (uint32[4, 256], uint32[32])
        Of words.
    num_words : int32[C]
    checksums : uint32[C]
    """
    warp, warps = cuda.threadIdx.x // LANES, cuda.blockDim.x // LANES
    chunks = num_words.size
    for start in range(cuda.blockIdx.x * warps, chunks, cuda.gridDim.x * warps):
        chunk = start + warp
        low = np.int64(chunk) * chunk_words
        length = count - low if count - low < chunk_words else chunk_words
        length = length if chunk < chunks else np.int64(0)  # the warp still has to come to the shuffles
        checksum = warp_checksum(words, first + low, length, tables)
        if cuda.threadIdx.x % LANES == 0 and chunk < chunks:
            num_words[chunk] = np.int32(length)
            checksums[chunk] = checksum


def launch_enter_equal_chunks(context, words, first, count, chunk_words, tables, num_words, checksums):
    """Enter chunks of one length in a directory; arguments as of `enter_equal_chunks`."""
    shape = (*current_launch_shape().grid(num_words.size), context.stream)
    with context.active():
        enter_equal_chunks[shape](words, first, count, chunk_words, tables, num_words, checksums)

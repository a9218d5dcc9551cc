"""Philox4x32-10: the random word of a coordinate, as a function of what it belongs to.

A counter-based generator has no state to share or to lose: the word of coordinate i of a tensor is a function
of (seed, node, step, tensor, i), so results depend on neither thread, bucket, chunk nor backend. The key is
the 64-bit seed; the counter is (block, step, tensor, node). A block gives four words, and coordinates take
them in strided order within groups of 512, so that a vector unit computes many blocks at once and no lane is
ever shuffled. There are two versions of this order:

1. Block ``128 g + j`` serves coordinates ``512 g + j + 128 m`` by word m, m = 0 to 3: a word a coordinate.
2. Block ``64 g + j`` serves coordinates ``512 g + j + 64 m`` by word m, m = 0 to 3, and ``512 g + j + 64 m +
   256`` by the same word rotated by 16 bits. Half the blocks; each coordinate's word is as uniform as before,
   and two coordinates of one word are nearly independent (docs/theory.md).

References
----------
Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.constants import SHARED_WORDS
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.cpu.wide_vectors import prefer_wide_vectors
from qsgd_lab.kernels.jit import njit

GROUP = 512  # coordinates served by one run of blocks
STRIDE = 128  # blocks in a group
SHARED_STRIDE = 64  # blocks in a group where two coordinates share a word
MAX_COORDINATES = 1 << 34  # four words from each of 2^32 blocks

_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint32(0x9E3779B9)
_WEYL_1 = np.uint32(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_TURN = np.uint32(16)


@njit(cache=True, fastmath=False, forceinline=True)
def philox_round(c0, c1, c2, c3, k0, k1):
    """Return the counter after one round.

    Values are uint64 of which only the low half counts: a vector unit multiplies 32-bit halves of 64-bit
    lanes in place, and narrowing to uint32 between rounds would cost a shuffle each (measured: 2.5 times the
    time).
    """
    product_0 = (c0 & _LOW) * _MULTIPLIER_0
    product_1 = (c2 & _LOW) * _MULTIPLIER_1
    return (product_1 >> _HALF) ^ c1 ^ k0, product_1, (product_0 >> _HALF) ^ c3 ^ k1, product_0


@njit(cache=True, fastmath=False, forceinline=True)
def philox4x32(c0, c1, c2, c3, k0, k1):
    """Return the four uint32 words of counter (c0..c3) under key (k0, k1), all uint32, after ten rounds."""
    c0, c1, c2, c3 = np.uint64(c0), np.uint64(c1), np.uint64(c2), np.uint64(c3)
    for _ in range(10):  # the constants and the ten rounds are those of the paper
        c0, c1, c2, c3 = philox_round(c0, c1, c2, c3, np.uint64(k0), np.uint64(k1))
        k0 = np.uint32(k0 + _WEYL_0)
        k1 = np.uint32(k1 + _WEYL_1)
    return np.uint32(c0), np.uint32(c1), np.uint32(c2), np.uint32(c3)


@njit(cache=True, fastmath=False, forceinline=True)
def philox4x32_narrow(c0, c1, c2, c3, k0, k1):
    """Return the same as `philox4x32`, in 32-bit registers from round to round.

    A GPU multiplies two 32-bit numbers into 64 bits in one instruction, and works with 32 bits otherwise.
    """
    for _ in range(10):
        d0, d1, d2, d3 = philox_round(c0, c1, c2, c3, np.uint64(k0), np.uint64(k1))
        c0, c1, c2, c3 = np.uint32(d0), np.uint32(d1), np.uint32(d2), np.uint32(d3)
        k0 = np.uint32(k0 + _WEYL_0)
        k1 = np.uint32(k1 + _WEYL_1)
    return c0, c1, c2, c3


@njit(cache=True, fastmath=False, forceinline=True)
def rotated(word):
    """Return a uint32 rotated by 16 bits: the word of the second of two coordinates."""
    return np.uint32(np.uint32(word << _TURN) | np.uint32(word >> _TURN))


@njit(cache=True, fastmath=False)
def fill_group(words, group, count, stream):
    """Write the words of the first `count` coordinates of a group (more may be written).

    Parameters
    ----------
    words : uint32[512]
    group : index of the group in its tensor
    count : 1..512
    stream : StreamKey
    """
    words = unowned_view(words)  # eight slices would count references eight times
    if stream.version == SHARED_WORDS:
        fill_from_half_the_blocks(words, group, count, stream)
    else:
        fill_from_all_blocks(words, group, count, stream)


@njit(cache=True, fastmath=False)
def fill_from_half_the_blocks(words, group, count, stream):
    """Do so in version 2 of the stream."""
    prefer_wide_vectors()
    k0, k1 = stream.low_seed, stream.high_seed
    step, tensor, node = stream.step, stream.tensor, stream.node
    first = np.uint32(group * SHARED_STRIDE)
    # Eight streams of stores, as the four below.
    eighth_0, eighth_4 = words[0:64], words[256:320]
    eighth_1, eighth_5 = words[64:128], words[320:384]
    eighth_2, eighth_6 = words[128:192], words[384:448]
    eighth_3, eighth_7 = words[192:256], words[448:512]
    for j in range(min(count, SHARED_STRIDE)):
        w0, w1, w2, w3 = philox4x32(np.uint32(first + np.uint32(j)), step, tensor, node, k0, k1)
        eighth_0[j] = w0
        eighth_1[j] = w1
        eighth_2[j] = w2
        eighth_3[j] = w3
        eighth_4[j] = rotated(w0)
        eighth_5[j] = rotated(w1)
        eighth_6[j] = rotated(w2)
        eighth_7[j] = rotated(w3)


@njit(cache=True, fastmath=False)
def fill_from_all_blocks(words, group, count, stream):
    """Do so in version 1 of the stream."""
    prefer_wide_vectors()
    k0, k1 = stream.low_seed, stream.high_seed
    step, tensor, node = stream.step, stream.tensor, stream.node
    first = np.uint32(group * STRIDE)
    # Four streams of stores, each to consecutive words: vector stores, and no shuffles between lanes.
    quarter_0 = words[0:STRIDE]
    quarter_1 = words[STRIDE : 2 * STRIDE]
    quarter_2 = words[2 * STRIDE : 3 * STRIDE]
    quarter_3 = words[3 * STRIDE : 4 * STRIDE]
    for j in range(min(count, STRIDE)):  # a short group still needs all blocks that reach into it
        w0, w1, w2, w3 = philox4x32(np.uint32(first + np.uint32(j)), step, tensor, node, k0, k1)
        quarter_0[j] = w0
        quarter_1[j] = w1
        quarter_2[j] = w2
        quarter_3[j] = w3


@njit(cache=True, fastmath=False, nogil=True)
def fill_groups(words, group, count, stream):
    """Write the words of `count` coordinates from the start of a group on; `words` holds whole groups."""
    words = unowned_view(words)
    for filled in range(0, count, GROUP):
        part = words[filled : filled + GROUP]
        fill_group(part, group + filled // GROUP, min(GROUP, count - filled), stream)

"""The cost of messages that are not written, counted exactly from pieces of levels.

Every Elias length depends on floor(log2) alone. A dense chunk is measured by how many levels have |level| + 1
>= 2^j, a sparse one by how many have |level| >= 2^j and how many distances between non-zeros are >= 2^j.
Distances are not followed one by one: the levels that are not 0 are bits of a mask, and 64 places at a time
tell whether another one is within 2^j - 1 places before each of them. That takes the same time whatever
the density, and much less than coding.

Layouts and codes are numbered dense gamma, delta, omega, sparse gamma, delta, omega.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.kernels.bits import at_least64, count_ones
from qsgd_lab.kernels.constants import CHUNK_SIZE
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.cpu.wide_vectors import prefer_wide_vectors
from qsgd_lab.kernels.jit import njit

NUM_CHOICES = 6
NUM_CODES = 3
MASK_WORDS = CHUNK_SIZE // 64
GAP_CLASSES = 13  # distances are 1 to 4096
LEAD = MASK_WORDS + 1  # words of zeros before a chunk, which shifts bring in

_ONE = np.uint64(1)
_SHIFT_MASK = np.int64(63)


class GapScratch(NamedTuple):
    """Scratch of `count_gaps`.

    Attributes
    ----------
    covered, wider : uint64, shape (LEAD + 64,)
        Masks; the first LEAD words are 0.
    gaps : int64, shape (13,)
        How many distances are >= 2^j.
    """

    covered: NDArray[np.uint64]
    wider: NDArray[np.uint64]
    gaps: NDArray[np.int64]


class NodeChunk(NamedTuple):
    """What is known of the chunk that a node has begun.

    Attributes
    ----------
    mask : uint64, shape (65,)
        A bit for each level that is not 0.
    dense, sparse : int64, shape (K,)
        How many levels have |level| + 1 >= 2^j, and |level| >= 2^j.
    """

    mask: NDArray[np.uint64]
    dense: NDArray[np.int64]
    sparse: NDArray[np.int64]


class OpenChunks(NamedTuple):
    """The chunks of N nodes, a row of each array being the `NodeChunk` of one, and scratch for all."""

    masks: NDArray[np.uint64]
    dense: NDArray[np.int64]
    sparse: NDArray[np.int64]
    scratch: GapScratch


@njit(cache=True, fastmath=False)
def open_chunks(nodes, num_levels):
    """Return `OpenChunks`: an empty chunk for each of N nodes, for `count_piece`."""
    classes = 1
    while classes < 17 and (num_levels >> np.uint32(classes - 1)) > 0:  # the digits of s, and one more
        classes += 1
    masks = np.zeros((nodes, MASK_WORDS + 1), np.uint64)
    dense, sparse = np.zeros((nodes, classes), np.int64), np.zeros((nodes, classes), np.int64)
    covered, wider = np.zeros(LEAD + MASK_WORDS, np.uint64), np.zeros(LEAD + MASK_WORDS, np.uint64)
    return OpenChunks(masks, dense, sparse, GapScratch(covered, wider, np.zeros(GAP_CLASSES, np.int64)))


@njit(cache=True, fastmath=False, forceinline=True)
def unowned_gaps(scratch):
    """Return a `GapScratch` without claims to its memory."""
    covered, wider = unowned_view(scratch.covered), unowned_view(scratch.wider)
    return GapScratch(covered, wider, unowned_view(scratch.gaps))


@njit(cache=True, fastmath=False, forceinline=True)
def mark_nonzeros(magnitudes, begin, size, start, mask):
    """Set the bits of non-zeros in a chunk's mask (uint64[65]); return how many there are.

    They are `size` magnitudes from element `begin` on, of which the first is bit `start` of the mask; 64 more
    may be read.
    """
    shift = np.uint64(start & _SHIFT_MASK)
    left = np.uint64(63) - shift
    place = start >> 6
    count = np.uint64(0)
    for i in range(0, size, 64):
        found = at_least64(magnitudes, begin + i, _ONE)
        if size - i < 64:
            found &= (_ONE << np.uint64(size - i)) - _ONE
        count += count_ones(found)
        mask[place] |= found << shift
        mask[place + 1] |= (found >> _ONE) >> left  # in two steps, since a shift by 64 is not defined
        place += 1
    return np.int64(count)


@njit(cache=True, fastmath=False, forceinline=True)
def count_reaching_two(magnitudes, begin, size, low, high):
    """Return how many of `size` magnitudes from `begin` on reach each of two uint64: one loop for both."""
    reach_low = reach_high = np.uint64(0)
    whole = size & ~63
    for i in range(0, whole, 64):
        reach_low += count_ones(at_least64(magnitudes, begin + i, low))
        reach_high += count_ones(at_least64(magnitudes, begin + i, high))
    if whole < size:
        rest = (_ONE << np.uint64(size - whole)) - _ONE
        reach_low += count_ones(at_least64(magnitudes, begin + whole, low) & rest)
        reach_high += count_ones(at_least64(magnitudes, begin + whole, high) & rest)
    return np.int64(reach_low), np.int64(reach_high)


@njit(cache=True, fastmath=False, forceinline=True)
def count_part(magnitudes, begin, size, start, mask, dense, sparse):
    """Count `size` magnitudes m from `begin` on: m + 1 >= 2^j in ``dense[j]``, m >= 2^j in ``sparse[j]``.

    `dense` and `sparse` are int64 of the same length. The mask of non-zeros is set as `mark_nonzeros` does.
    """
    dense[0] += size
    count = mark_nonzeros(magnitudes, begin, size, start, mask)  # the first class is the mask's ones
    sparse[0] += count
    dense[1] += count
    for j in range(2, dense.size):
        power, successor = _ONE << np.uint64(j - 1), (_ONE << np.uint64(j)) - _ONE
        reach_power, reach_successor = count_reaching_two(magnitudes, begin, size, power, successor)
        if reach_power == 0:  # nor does any reach a higher one; most pieces of a gradient end here early
            break
        sparse[j - 1] += reach_power
        dense[j] += reach_successor


@njit(cache=True, fastmath=False, forceinline=True)
def widen_and_count(mask, covered, distance, wider):
    """Write what is 1 to 2 d + 1 places after a one, where `covered` is what is 1 to d places after it.

    Both are uint64[LEAD + 64], of which the first LEAD are 0: 1..d, d more, and d + 1 more. Returns how many
    ones of the mask are not among them.
    """
    words, bits = distance >> 6, np.uint64(distance & _SHIFT_MASK)
    next_words, next_bits = (distance + 1) >> 6, np.uint64((distance + 1) & _SHIFT_MASK)
    same = covered[LEAD : LEAD + MASK_WORDS]
    near = covered[LEAD - words : LEAD - words + MASK_WORDS]
    below = covered[LEAD - words - 1 : LEAD - words - 1 + MASK_WORDS]
    far = covered[LEAD - next_words : LEAD - next_words + MASK_WORDS]
    below_far = covered[LEAD - next_words - 1 : LEAD - next_words - 1 + MASK_WORDS]
    target = wider[LEAD : LEAD + MASK_WORDS]
    count = np.uint64(0)
    for i in range(MASK_WORDS):
        once = (near[i] << bits) | ((below[i] >> _ONE) >> (np.uint64(63) - bits))
        again = (far[i] << next_bits) | ((below_far[i] >> _ONE) >> (np.uint64(63) - next_bits))
        reached = same[i] | once | again
        target[i] = reached
        count += count_ones(mask[i] & ~reached)
    return np.int64(count)


@njit(cache=True, fastmath=False)
def count_gaps(mask, covered, wider, gaps):
    """Write to ``gaps[j]`` (int64[13]) how many distances between ones of a chunk are >= 2^j.

    A distance is to the one before, of the first to position -1. A distance is at least 2^j where nothing
    is 1 to 2^j - 1 places before. `covered` and `wider` are scratch, as `widen_and_count` takes them.
    """
    prefer_wide_vectors()
    mask, gaps = unowned_view(mask), unowned_view(gaps)
    covered, wider = unowned_view(covered), unowned_view(wider)
    gaps[:] = 0
    before = _ONE  # position -1, to which the first distance is counted
    for i in range(MASK_WORDS):
        covered[LEAD + i] = (mask[i] << _ONE) | before
        before = mask[i] >> np.uint64(63)
    once = covered[LEAD : LEAD + MASK_WORDS]
    ones = alone = np.uint64(0)
    for i in range(MASK_WORDS):
        ones += count_ones(mask[i])
        alone += count_ones(mask[i] & ~once[i])
    gaps[0], gaps[1] = np.int64(ones), np.int64(alone)
    distance = np.int64(1)
    for j in range(2, GAP_CLASSES):
        if gaps[j - 1] == 0:  # and no distance is longer
            break
        gaps[j] = widen_and_count(mask, covered, distance, wider)
        covered, wider = wider, covered  # in turn, so that no array is copied
        distance += distance + 1


@njit(cache=True, fastmath=False)
def close_chunk(mask, dense, sparse, steps, scratch, bits, words):
    """Add a chunk's cost under every layout and code to `bits` and `words` (int64[6]), and clear its counts.

    ``steps`` (int64[3, 16]): by how much a codeword of 2^j is longer than one of 2^(j - 1), under each code.
    """
    gaps = scratch.gaps
    count_gaps(mask, scratch.covered, scratch.wider, gaps)
    for code in range(NUM_CODES):
        dense_bits = dense[1] if dense.size > 1 else np.int64(0)  # signs
        sparse_bits = gaps[0]
        for j in range(dense.size):
            dense_bits += dense[j] * steps[code, j]
            sparse_bits += sparse[j] * steps[code, j]
        for j in range(GAP_CLASSES):
            sparse_bits += gaps[j] * steps[code, j]
        bits[code] += dense_bits
        words[code] += (dense_bits + 31) >> 5
        bits[NUM_CODES + code] += sparse_bits
        words[NUM_CODES + code] += (sparse_bits + 31) >> 5
    mask[:] = np.uint64(0)
    dense[:] = 0
    sparse[:] = 0


@njit(cache=True, fastmath=False)
def count_piece(magnitudes, size, first, num_coordinates, chunk, steps, scratch, bits, words, reached):
    """Count a piece of one node's levels, the first of which is coordinate `first` of `num_coordinates`.

    ``chunk`` is a `NodeChunk`, ``scratch`` a `GapScratch`. Where the piece ends the chunk, its cost is added
    to `bits` and `words`, and its dense counts to `reached`.
    `magnitudes` (uint8 for s <= 255, else uint16) are `size`, in an array of 64 more.
    """
    prefer_wide_vectors()
    magnitudes = unowned_view(magnitudes)
    mask, dense = unowned_view(chunk.mask), unowned_view(chunk.dense)
    sparse = unowned_view(chunk.sparse)
    done = 0
    while done < size:  # a piece may end one chunk and begin the next
        start = (first + done) & (CHUNK_SIZE - 1)
        part = min(size - done, CHUNK_SIZE - start)
        count_part(magnitudes, done, part, start, mask, dense, sparse)
        done += part
        if start + part == CHUNK_SIZE or first + done == num_coordinates:
            for j in range(min(reached.size, dense.size)):
                reached[j] += dense[j]
            close_chunk(mask, dense, sparse, steps, scratch, bits, words)

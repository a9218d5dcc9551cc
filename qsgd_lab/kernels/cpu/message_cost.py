"""The cost of messages that are not written, counted exactly from pieces of levels.

Every Elias length depends on floor(log2) alone. A dense chunk is measured by how many levels have |level| + 1
>= 2^j, a sparse one by how many have |level| >= 2^j and how many distances between non-zeros are >= 2^j.
Distances are not followed one by one: the levels that are not 0 are bits of a mask, and 64 places at a time
tell whether another one is within 2^j - 1 places before each of them. That takes the same time whatever
the density, and much less than coding.

Layouts and codes are numbered dense gamma, delta, omega, sparse gamma, delta, omega.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.bits import at_least64, count_ones
from qsgd_lab.kernels.jit import njit

CHUNK = 4096  # the chunk size of messages by default, which is what is counted
NUM_CHOICES = 6
NUM_CODES = 3
MASK_WORDS = CHUNK // 64
GAP_CLASSES = 13  # distances are 1 to 4096
LEAD = MASK_WORDS + 1  # words of zeros before a chunk, which shifts bring in

_ONE = np.uint64(1)
_WORD_BITS = np.int64(64)
_SHIFT_MASK = np.int64(63)


@njit(cache=True, fastmath=False)
def open_chunks(nodes, num_levels):
    """Return (masks, dense, sparse, scratch): an empty chunk for each of N nodes, for `count_piece`."""
    classes = 1
    while classes < 17 and (num_levels >> np.uint32(classes - 1)) > 0:  # the digits of s, and one more
        classes += 1
    masks = np.zeros((nodes, MASK_WORDS + 1), np.uint64)
    dense, sparse = np.zeros((nodes, classes), np.int64), np.zeros((nodes, classes), np.int64)
    covered, wider = np.zeros(LEAD + MASK_WORDS, np.uint64), np.zeros(LEAD + MASK_WORDS, np.uint64)
    return masks, dense, sparse, (covered, wider, np.zeros(GAP_CLASSES, np.int64))


@njit(cache=True, fastmath=False, forceinline=True)
def narrow(levels, magnitudes):
    """Write |level| of int32 levels in as few bytes as `magnitudes` has, then 64 zeros."""
    target = magnitudes[: levels.size]
    for i in range(levels.size):
        target[i] = abs(levels[i])
    # Counting goes by 64, also over the end.
    magnitudes[levels.size : levels.size + 64] = 0


@njit(cache=True, fastmath=False, forceinline=True)
def count_reaching(magnitudes, size, threshold):
    """Return how many of the first `size` magnitudes, and what is left of 64 after them, reach a uint64."""
    count = np.uint64(0)
    for i in range(0, size, 64):
        count += count_ones(at_least64(magnitudes, i, threshold))
    return np.int64(count)


@njit(cache=True, fastmath=False, forceinline=True)
def count_classes(magnitudes, size, dense, sparse):
    """Add to ``dense[j]`` how many of `size` magnitudes m have m + 1 >= 2^j, to ``sparse[j]`` m >= 2^j.

    `magnitudes` as `narrow` writes them; `dense` and `sparse` are int64 of the same length.
    """
    dense[0] += size
    for j in range(1, dense.size):
        power, successor = _ONE << np.uint64(j - 1), (_ONE << np.uint64(j)) - _ONE
        count = count_reaching(magnitudes, size, power)
        if count == 0:  # nor does any reach a higher one; most pieces of a gradient end here early
            break
        sparse[j - 1] += count
        dense[j] += count if j == 1 else count_reaching(magnitudes, size, successor)


@njit(cache=True, fastmath=False, forceinline=True)
def mark_nonzeros(magnitudes, size, start, mask):
    """Set the bits of non-zeros in a chunk's mask (uint64[65]); the first is its bit `start`.

    `magnitudes` as `narrow` writes them.
    """
    shift = np.uint64(start & _SHIFT_MASK)
    left = np.uint64(63) - shift
    place = start >> 6
    for i in range(0, size, 64):
        found = at_least64(magnitudes, i, _ONE)
        mask[place] |= found << shift
        mask[place + 1] |= (found >> _ONE) >> left  # in two steps, since a shift by 64 is not defined
        place += 1


@njit(cache=True, fastmath=False, forceinline=True)
def widen(covered, distance, wider):
    """Write what is 1 to 2 d + 1 places after a one, where `covered` is what is 1 to d places after it.

    Both are uint64[LEAD + 64], of which the first LEAD are 0: 1..d, d more, and d + 1 more.
    """
    words, bits = distance >> 6, np.uint64(distance & _SHIFT_MASK)
    next_words, next_bits = (distance + 1) >> 6, np.uint64((distance + 1) & _SHIFT_MASK)
    same = covered[LEAD : LEAD + MASK_WORDS]
    near = covered[LEAD - words : LEAD - words + MASK_WORDS]
    below = covered[LEAD - words - 1 : LEAD - words - 1 + MASK_WORDS]
    far = covered[LEAD - next_words : LEAD - next_words + MASK_WORDS]
    below_far = covered[LEAD - next_words - 1 : LEAD - next_words - 1 + MASK_WORDS]
    target = wider[LEAD : LEAD + MASK_WORDS]
    for i in range(MASK_WORDS):
        once = (near[i] << bits) | ((below[i] >> _ONE) >> (np.uint64(63) - bits))
        again = (far[i] << next_bits) | ((below_far[i] >> _ONE) >> (np.uint64(63) - next_bits))
        target[i] = same[i] | once | again


@njit(cache=True, fastmath=False, forceinline=True)
def count_uncovered(mask, covered):
    """Return how many ones of a mask are not covered."""
    count = np.uint64(0)
    part = covered[LEAD : LEAD + MASK_WORDS]
    for i in range(MASK_WORDS):
        count += count_ones(mask[i] & ~part[i])
    return np.int64(count)


@njit(cache=True, fastmath=False)
def count_gaps(mask, covered, wider, gaps):
    """Write to ``gaps[j]`` (int64[13]) how many distances between ones of a chunk are >= 2^j.

    A distance is to the one before, of the first to position -1. A distance is at least 2^j where nothing
    is 1 to 2^j - 1 places before. `covered` and `wider` are scratch, as `widen` takes them.
    """
    gaps[:] = 0
    before = _ONE  # position -1, to which the first distance is counted
    for i in range(MASK_WORDS):
        gaps[0] += np.int64(count_ones(mask[i]))
        covered[LEAD + i] = (mask[i] << _ONE) | before
        before = mask[i] >> np.uint64(63)
    distance = np.int64(1)
    for j in range(1, GAP_CLASSES):
        gaps[j] = count_uncovered(mask, covered)
        if gaps[j] == 0:  # nor is any distance longer
            break
        widen(covered, distance, wider)
        covered, wider = wider, covered  # in turn, so that no array is copied
        distance += distance + 1


@njit(cache=True, fastmath=False)
def close_chunk(mask, dense, sparse, steps, scratch, bits, words):
    """Add a chunk's cost under every layout and code to `bits` and `words` (int64[6]), and clear its counts.

    ``steps`` (int64[3, 16]): by how much a codeword of 2^j is longer than one of 2^(j - 1), under each code.
    """
    covered, wider, gaps = scratch
    count_gaps(mask, covered, wider, gaps)
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
def count_piece(levels, first, num_coordinates, chunk, steps, magnitudes, scratch, bits, words, reached):
    """Count a piece of one node's levels, the first of which is coordinate `first` of `num_coordinates`.

    ``chunk`` is what is known of the chunk begun (mask uint64[65], dense and sparse class counts int64[K]);
    where the piece ends it, its cost is added to `bits` and `words`, and its dense counts to `reached`.
    `magnitudes` (uint8 for s <= 255, else uint16) is scratch, 64 longer than a piece.
    """
    mask, dense, sparse = chunk
    done = 0
    while done < levels.size:  # a piece may end one chunk and begin the next
        start = (first + done) & (CHUNK - 1)
        size = min(levels.size - done, CHUNK - start)
        part = levels[done : done + size]
        narrow(part, magnitudes)
        count_classes(magnitudes, size, dense, sparse)
        mark_nonzeros(magnitudes, size, start, mask)
        done += size
        if start + size == CHUNK or first + done == num_coordinates:
            for j in range(min(reached.size, dense.size)):
                reached[j] += dense[j]
            close_chunk(mask, dense, sparse, steps, scratch, bits, words)

"""Dense chunks of 4096 levels to payload, s at most 7: a warp a chunk, in a seventh of the instructions.

The bytes are those of ``cuda.encode``, which takes every other chunk. Codewords have at most 8 bits: omega's
and gamma's for s of at most 7, delta's for 6. A lane looks up 16 levels of 512 at a time and joins four
neighbours in a register, often eight; a running sum over the warp says where they belong.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from qsgd_lab.kernels.cuda.launch import current_launch_shape
from qsgd_lab.kernels.cuda.messages.checksum import warp_checksum
from qsgd_lab.kernels.cuda.norms import ALL_LANES, LANES
from qsgd_lab.kernels.cuda.ops import (
    add,
    and_,
    funnel_left,
    largest,
    load_four,
    mul,
    or_,
    shl,
    shr,
    store,
    sub,
)

U32 = np.uint32
ZERO, ONE, BYTE = U32(0), U32(1), U32(255)
MOST_LEVELS = 7  # s
WARPS = 4  # of a block, whatever the launch shape: shared memory is theirs
SLOT_WORDS = 1024  # 4096 codewords of at most 8 bits, so that four fit a word
SPARE_WORDS = 8
STRIDE = SLOT_WORDS + SPARE_WORDS
STAGED_WORDS = WARPS * STRIDE
FLAW = U32(1 << 16)  # the length of an illegal level, which no sum of legal ones reaches


def length_table(single, num_levels):
    """Return by a level's byte its codeword, and from bit 32 its length, uint64[256]; 2^16 if it is beyond s.

    Parameters
    ----------
    single : uint64[2 s + 1]
        By level + s: the codeword, and from bit 58 its length.
    num_levels : int
    """
    table = np.full(256, np.uint64(int(FLAW)) << np.uint64(32), np.uint64)
    for level in range(-num_levels, num_levels + 1):
        entry = int(single[level + num_levels])
        table[level & 255] = (entry & ((1 << 58) - 1)) | (entry >> 58) << 32
    return table


@cuda.jit(device=True, cache=False, fastmath=False)
def codeword(table, levels, i):
    """Return (codeword, length) of level i of four in a uint32."""
    entry = table[and_(shr(levels, U32(8 * i)), BYTE)]
    return U32(entry & np.uint64(0xFFFFFFFF)), U32(entry >> np.uint64(32))


@cuda.jit(device=True, cache=False, fastmath=False)
def four_codewords(table, levels):
    """Return (bits, length) of four levels; an illegal one spoils the bits, and its length says so."""
    c0, l0 = codeword(table, levels, 0)
    c1, l1 = codeword(table, levels, 1)
    c2, l2 = codeword(table, levels, 2)
    c3, l3 = codeword(table, levels, 3)
    low, low_length = or_(c0, shl(c1, l0)), add(l0, l1)
    high, high_length = or_(c2, shl(c3, l2)), add(l2, l3)
    return or_(low, shl(high, low_length)), add(low_length, high_length)


@cuda.jit(device=True, cache=False, fastmath=False)
def put(words, first, position, bits):
    """Write up to 32 bits at a bit position, by OR; neighbours share words."""
    index = add(first, shr(position, U32(5)))
    low, high = funnel_left(ZERO, bits, position), funnel_left(bits, ZERO, position)
    if low != ZERO:
        cuda.atomic.or_(words, index, low)
    if high != ZERO:
        cuda.atomic.or_(words, add(index, ONE), high)


@cuda.jit(cache=True, fastmath=False)
def encode_dense_chunks(levels, entries, checksum_tables, slot_words, slots, num_words, checksums, flaws):
    """Write whole chunks into slots.

    Parameters
    ----------
    levels : uint32[C * 1024]
        Four int8 levels each, at an address that is a multiple of 16.
    entries : uint64[256]
        As `length_table` makes them.
    checksum_tables : (uint32[4, 256], uint32[32])
    slot_words : int
        At most 1024.
    slots : uint32[C * slot_words]
    num_words : int32[C]
    checksums : uint32[C]
    flaws : int64[1]
        Set to 1 if a level is outside -s..s.
    """
    words = cuda.shared.array(STAGED_WORDS, np.uint32)
    table = cuda.shared.array(256, np.uint64)
    thread, threads = U32(cuda.threadIdx.x), U32(cuda.blockDim.x)
    lane, warp = and_(thread, U32(31)), shr(thread, U32(5))
    mine = mul(warp, U32(STRIDE))
    i = thread
    while i < U32(256):
        table[i] = entries[i]
        i = add(i, threads)
    i = thread
    while i < U32(STAGED_WORDS):
        words[i] = ZERO
        i = add(i, threads)
    cuda.syncthreads()
    warps = shr(threads, U32(5))
    chunk, stride = add(mul(U32(cuda.blockIdx.x), warps), warp), mul(U32(cuda.gridDim.x), warps)
    chunks = U32(num_words.size)
    while chunk < chunks:
        base = np.int64(chunk) << 10
        place, end = shl(lane, U32(2)), ZERO
        v0, v1, v2, v3 = load_four(levels, base, place)
        while place < U32(1024):
            c0, l0 = four_codewords(table, v0)
            c1, l1 = four_codewords(table, v1)
            c2, l2 = four_codewords(table, v2)
            c3, l3 = four_codewords(table, v3)
            place = add(place, U32(128))
            if place < U32(1024):  # the next sixteen, while these are being written
                v0, v1, v2, v3 = load_four(levels, base, place)
            left, right = add(l0, l1), add(l2, l3)
            own = add(left, right)
            is_far = largest(left, right) > U32(32)
            anyone_far = cuda.any_sync(ALL_LANES, is_far)
            if anyone_far:  # seldom: eight levels are more than a word, or one is illegal
                cuda.syncwarp()
                if own >= FLAW:
                    flaws[0] = 1
                    own, l0, l1, l2, left = ZERO, ZERO, ZERO, ZERO, ZERO
                    c0, c1, c2, c3 = ZERO, ZERO, ZERO, ZERO
            total = np.int32(own)
            for step in (1, 2, 4, 8, 16):
                other = np.int32(cuda.shfl_up_sync(ALL_LANES, total, step))
                total = np.int32(total + (other if lane >= step else np.int32(0)))
            position = add(end, sub(U32(total), own))
            end = add(end, U32(cuda.shfl_sync(ALL_LANES, total, 31)))
            if anyone_far:
                put(words, mine, add(position, l0), c1)
                put(words, mine, add(add(position, left), l2), c3)
                put(words, mine, position, c0)
                put(words, mine, add(position, left), c2)
            else:
                put(words, mine, position, or_(c0, shl(c1, l0)))
                put(words, mine, add(position, left), or_(c2, shl(c3, l2)))
        cuda.syncwarp()  # all of the chunk is in shared memory
        length = shr(add(end, U32(31)), U32(5))
        checksum = warp_checksum(words, np.int64(mine), np.int64(length), checksum_tables)
        if lane == ZERO:
            num_words[chunk] = np.int32(length)
            checksums[chunk] = checksum
        start = np.int64(chunk) * slot_words
        i = lane
        while i < length:
            store(slots, start, i, words[add(mine, i)])
            i = add(i, U32(32))
        cuda.syncwarp()
        i = lane
        while i < length:
            words[add(mine, i)] = ZERO
            i = add(i, U32(32))
        cuda.syncwarp()
        chunk = add(chunk, stride)


def dense_launch(chunks, stream):
    """Return the launch of a kernel that gives each warp a chunk, in blocks of `WARPS`."""
    most = current_launch_shape().max_blocks
    return max(1, min(-(-chunks // WARPS), most)), LANES * WARPS, stream

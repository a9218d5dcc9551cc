"""The cost of messages that are not written, counted on the GPU: a warp a chunk of 4096 levels.

Every Elias length depends on floor(log2) alone. A warp takes 32 levels of a chunk at a time; from a ballot
every thread knows where the last level other than 0 was. Lengths under the three codes are side by side in a
uint64, and so add up at once; the classes of |level| + 1 are counted in bytes of two. Sums of integers
are the same in any order.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, uint32

from qsgd_lab.kernels.constants import CHUNK_SIZE, LANE_BITS, LANE_MASK
from qsgd_lab.kernels.cuda.launch import HEAVY, current_launch_shape
from qsgd_lab.kernels.cuda.norms import ALL_LANES, LANES

CLASSES = 16
CODES = 3
#: Each code's bits of a uint64: a chunk takes at most 4096 times 64 bits.
FIELD = int(LANE_BITS)
FIELD_MASK = int(LANE_MASK)
_SIGN = np.uint64(1 | 1 << FIELD | 1 << 2 * FIELD)
_BYTE = np.uint64(0xFF)
_EIGHT = np.uint64(8)
_ONE = np.uint64(1)
_NONE = np.uint64(0)


@cuda.jit(device=True, cache=False, fastmath=False)
def min_of(a, b):
    """Return the smaller of two int64."""
    return a if a < b else b


@cuda.jit(device=True, cache=False, fastmath=False)
def highest_one(word):
    """Return the place of the highest one of a uint32 that is not 0."""
    return 31 - cuda.clz(np.uint32(word))


@cuda.jit(device=True, cache=False, fastmath=False)
def class_of(number):
    """Return floor(log2) of a positive number below 2^31."""
    return 31 - cuda.clz(np.int32(number))


@cuda.jit(device=True, cache=False, fastmath=False)
def add_class(c, low, high):
    """Return a thread's counts of 16 classes, bytes of two words, with one more of class c."""
    low += (_ONE << (np.uint64(c) * _EIGHT)) if c < 8 else _NONE
    high += (_ONE << (np.uint64(c - 8) * _EIGHT)) if c >= 8 else _NONE
    return np.uint64(low), np.uint64(high)


@cuda.jit(device=True, cache=False, fastmath=False)
def flush_classes(low, high, columns):
    """Add the bytes of two words to the thread's column of 16 counts (uint32) in shared memory."""
    threads, me = cuda.blockDim.x, cuda.threadIdx.x
    for c in range(8):
        shift = np.uint64(c) * _EIGHT
        columns[c * threads + me] += np.uint32((low >> shift) & _BYTE)
        columns[(c + 8) * threads + me] += np.uint32((high >> shift) & _BYTE)


@cuda.jit(device=True, cache=False, fastmath=False)
def add_classes(columns, classes):
    """Add the block's counts to the device's: the whole block comes here, and one thread a class adds."""
    cuda.syncthreads()
    for c in range(cuda.threadIdx.x, CLASSES, cuda.blockDim.x):
        count = np.int64(0)
        for thread in range(cuda.blockDim.x):
            count += np.int64(columns[c * cuda.blockDim.x + thread])
        if count > 0:
            cuda.atomic.add(classes, c, count)


@cuda.jit(device=True, cache=False, fastmath=False)
def warp_total(value):
    """Return to all threads of a warp the sum of their values, uint64."""
    for half in (16, 8, 4, 2, 1):
        value = np.uint64(value + np.uint64(cuda.shfl_xor_sync(ALL_LANES, np.int64(value), half)))
    return value


@cuda.jit(device=True, cache=False, fastmath=False)
def add_costs(total, bits, words, first):
    """Add a chunk's bits and 32-bit words under the three codes to columns `first` and on of a node's row."""
    for code in range(CODES):
        count = np.int64((total >> np.uint64(FIELD * code)) & np.uint64(FIELD_MASK))
        cuda.atomic.add(bits, first + code, count)
        cuda.atomic.add(words, first + code, (count + 31) >> 5)


@cuda.jit(cache=True, fastmath=False)
def chunk_costs(levels, lengths, bits, words, classes):
    """Add up what the chunks of every node's message take, dense and sparse, under each code.

    Parameters
    ----------
    levels : int8[N, n] or int16[N, n]
    lengths : uint64[16]
        Entry j holds the three lengths of the codeword of 2^j, FIELD bits each.
    bits, words : int64[N, 6]
        Dense under each code, then sparse; added to.
    classes : int64[16]
        Entry j is increased by the number of levels with floor(log2(|level| + 1)) = j.
    """
    lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    warps = cuda.blockDim.x // LANES
    columns = cuda.shared.array(0, uint32)  # a column a thread: no two threads write to one bank's word
    for c in range(CLASSES):
        columns[c * cuda.blockDim.x + cuda.threadIdx.x] = np.uint32(0)
    size = levels.shape[1]
    chunks = (size + CHUNK_SIZE - 1) // CHUNK_SIZE
    for first in range(cuda.blockIdx.x * warps, levels.shape[0] * chunks, cuda.gridDim.x * warps):
        item = first + warp
        is_own = item < levels.shape[0] * chunks
        node, chunk = (item // chunks, item % chunks) if is_own else (0, 0)
        start = chunk * CHUNK_SIZE
        end = min_of(start + CHUNK_SIZE, size) if is_own else start
        dense, sparse, low, high = _NONE, _NONE, _NONE, _NONE
        last = np.int32(-1)
        # As many rows for every warp, with or without a chunk: all must come to the ballots.
        for row in range((min_of(CHUNK_SIZE, size) + LANES - 1) // LANES):
            place = np.int32(row * LANES + lane)
            level = np.int32(levels[node, start + place]) if start + place < end else np.int32(0)
            magnitude = np.int32(-level if level < 0 else level)
            ballot = np.uint32(cuda.ballot_sync(ALL_LANES, magnitude != 0))
            if start + place < end:
                c = class_of(magnitude + 1)
                dense += lengths[c]
                low, high = add_class(c, low, high)
            if magnitude != 0:
                before = np.uint32(ballot & np.uint32((1 << lane) - 1))  # non-zeros of the lanes before
                previous = np.int32(row * LANES + highest_one(before)) if before != 0 else last
                dense += _SIGN
                sparse += lengths[class_of(place - previous)] + lengths[class_of(magnitude)] + _SIGN
            if ballot != 0:
                last = np.int32(row * LANES + highest_one(ballot))
        flush_classes(low, high, columns)  # after 128 levels a thread, before a byte could overflow
        dense, sparse = warp_total(dense), warp_total(sparse)
        if lane == 0 and is_own:
            add_costs(dense, bits[node], words[node], 0)
            add_costs(sparse, bits[node], words[node], CODES)
    add_classes(columns, classes)


@cuda.jit(cache=True, fastmath=False)
def close_messages(bits, words, fixed_bits, fixed_bytes, around, sums):
    """Add each message's least costs to `sums`, and set its counts back to zero.

    Parameters
    ----------
    bits, words : int64[N, 6]
        As `chunk_costs` leaves them.
    fixed_bits, fixed_bytes : int
        At fixed width: of levels, and of the whole message.
    around : int64[6]
        Bytes beside the payload of the others.
    sums : int64[2]
        Bits of the shortest forms without norms, and bytes of the shortest messages; added to.
    """
    for node in range(cuda.grid(1), bits.shape[0], cuda.gridsize(1)):
        shortest, whole = np.int64(fixed_bits), np.int64(fixed_bytes)
        for choice in range(bits.shape[1]):
            shortest = min_of(shortest, bits[node, choice])
            whole = min_of(whole, 4 * words[node, choice] + around[choice])
            bits[node, choice] = 0
            words[node, choice] = 0
        cuda.atomic.add(sums, 0, shortest)  # these wait on the device until the ledger is read
        cuda.atomic.add(sums, 1, whole)


def launch_message_costs(context, levels, lengths, buffers, classes, constants, sums):
    """Measure the messages of all nodes, in two launches.

    Parameters
    ----------
    context : DeviceContext
    levels : Numba int8[N, n] or int16[N, n]
    lengths : Numba uint64[16]
    buffers : (bits, words), Numba int64[N, 6] each, zeros; left as zeros
    classes : Numba int64[16]
    constants : (fixed_bits, fixed_bytes, around), as `close_messages` takes them
    sums : Numba int64[2]
    """
    nodes, size = levels.shape
    bits, words = buffers
    with context.active():
        blocks, threads = current_launch_shape().grid(nodes * -(-size // CHUNK_SIZE), HEAVY)
        shared = CLASSES * threads * np.dtype(np.uint32).itemsize
        if size:
            chunk_costs[blocks, threads, context.stream, shared](levels, lengths, bits, words, classes)
        launch = (*current_launch_shape().grid(-(-nodes // LANES)), context.stream)
        close_messages[launch](bits, words, *constants, sums)

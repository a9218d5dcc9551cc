"""Dense chunks of 4096 levels to values, s at most 7, buckets of 512: a warp a chunk.

Values and verdicts are those of ``cuda.decode``, which takes every other chunk with ten times the work. Lanes
read 32 equal parts of a chunk, several levels a look-up, from 32 bits before their part, so that they
have fallen into step when it begins; where one has not, it reads again, until nothing changes. A last reading
writes levels, four bits each, and judges the bits, which are untrusted.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from qsgd_lab.kernels.codeword_reader import only_zeros_left
from qsgd_lab.kernels.constants import CHUNK_SIZE, DAMAGED, GOOD, MALFORMED, NOT_CANONICAL
from qsgd_lab.kernels.cuda.messages.checksum import warp_checksum
from qsgd_lab.kernels.cuda.messages.decode import CHECKSUMS, OUTCOMES, STARTS
from qsgd_lab.kernels.cuda.messages.decode_chunk import window_at
from qsgd_lab.kernels.cuda.messages.dense_encode import ONE, U32, WARPS, ZERO, dense_launch, put
from qsgd_lab.kernels.cuda.norms import ALL_LANES
from qsgd_lab.kernels.cuda.ops import (
    add,
    and_,
    ashr,
    field,
    funnel_right,
    load,
    load_four,
    load_half,
    mul,
    or_,
    shl,
    shr,
    shuffled,
    store_four,
    sub,
)
from qsgd_lab.kernels.fixed_point import level_step, level_value

BUCKET = 512
LOOKUP_BITS = 11
LOOKUPS = 1 << LOOKUP_BITS
LEVELS_A_LOOKUP = 8
OVERLAP = U32(32)
ILLEGAL = 1 << 63 | LOOKUP_BITS << 36 | LOOKUP_BITS << 40
NIBBLE_WORDS = 520  # 4096 levels of four bits, and what a look-up may write beyond them
NIBBLES = WARPS * NIBBLE_WORDS


def lookup_table(single, num_levels):
    """Return what the next 11 bits begin with, uint64[2048].

    Up to eight levels, four bits each; from bit 32 their number, from bit 36 their bits together, from bit 40
    those of the first, from bit 44 four times their number. Where no legal codeword begins, bit 63 is set.
    """
    words = {}
    for level in range(-num_levels, num_levels + 1):
        entry = int(single[level + num_levels])
        words[entry >> 58, entry & ((1 << 58) - 1)] = level & 15
    sizes = sorted({size for size, _ in words})
    table = np.zeros(LOOKUPS, np.uint64)
    for bits in range(LOOKUPS):
        place, levels, first = 0, [], 0
        while len(levels) < LEVELS_A_LOOKUP:
            keys = (
                (size, bits >> place & ((1 << size) - 1)) for size in sizes if place + size <= LOOKUP_BITS
            )
            key = next((key for key in keys if key in words), None)
            if key is None:
                break
            levels.append(words[key])
            place, first = place + key[0], first or key[0]
        packed = sum(level << 4 * i for i, level in enumerate(levels))
        number = len(levels) << 32 | 4 * len(levels) << 44
        table[bits] = packed | number | place << 36 | first << 40 if levels else ILLEGAL
    return table


@cuda.jit(device=True, cache=False, fastmath=False)
def look(words, base, position, table):
    """Return (levels, the rest of the entry) of the bits at a position of a chunk."""
    index = shr(position, U32(5))
    low, high = load(words, base, index), load(words, base, add(index, ONE))
    entry = table[and_(funnel_right(low, high, position), U32(LOOKUPS - 1))]
    return U32(entry & np.uint64(0xFFFFFFFF)), U32(entry >> np.uint64(32))


@cuda.jit(device=True, cache=False, fastmath=False)
def skim(words, base, position, stop, table):
    """Read up to a part's end; return (where the last codeword ends, levels). Illegal bits end the part."""
    count = ZERO
    while position < stop:
        _, rest = look(words, base, position, table)
        after = add(position, field(rest, U32(4), U32(4)))
        fits = after <= stop  # else only the first codeword is sure to begin before the end
        one = add(position, field(rest, U32(8), U32(4)))
        count = add(count, and_(rest, U32(15)) if fits else ONE)
        position = after if fits else one
        if np.int32(rest) < 0:
            position = stop
    return position, count


@cuda.jit(device=True, cache=False, fastmath=False)
def fall_into_step(words, base, begin, stop, table):
    """Return (first codeword, levels) of a lane's part, as one thread would find; all lanes come here."""
    lane = and_(U32(cuda.threadIdx.x), U32(31))
    early = sub(begin, OVERLAP) if begin > OVERLAP else ZERO
    position, _ = skim(words, base, early, begin, table)
    found, count = skim(words, base, position, stop, table)
    turn = ZERO
    while turn < U32(33):  # each makes one more lane right
        entry = U32(cuda.shfl_up_sync(ALL_LANES, np.int32(found), 1))
        entry = ZERO if lane == ZERO else entry
        is_wrong = entry != position
        if not cuda.any_sync(ALL_LANES, is_wrong):
            break
        if is_wrong:
            position = entry
            found, count = skim(words, base, position, stop, table)
        cuda.syncwarp()
        turn = add(turn, ONE)
    return position, count


@cuda.jit(device=True, cache=False, fastmath=False)
def read_levels(words, base, end, begin, stop, table, nibbles, mine):
    """Read a chunk into four bits a level; return whether the lane's part was what an encoder writes."""
    lane = and_(U32(cuda.threadIdx.x), U32(31))
    position, count = fall_into_step(words, base, begin, stop, table)
    total = np.int32(count)
    for step in (1, 2, 4, 8, 16):
        other = np.int32(cuda.shfl_up_sync(ALL_LANES, total, step))
        total = np.int32(total + (other if lane >= step else np.int32(0)))
    done = sub(U32(total), count)
    is_last = done < U32(CHUNK_SIZE) and U32(CHUNK_SIZE) <= U32(total)
    is_legal = not (lane == U32(31) and U32(total) < U32(CHUNK_SIZE))  # else there are too few
    place, enough = shl(done, U32(2)), U32(4 * CHUNK_SIZE)
    seen = ZERO
    while position < stop and place < enough:
        levels, rest = look(words, base, position, table)
        seen = or_(seen, rest)  # bit 31 of one is enough
        after = add(position, field(rest, U32(4), U32(4)))
        further = add(place, field(rest, U32(12), U32(6)))
        fits = after <= stop and further <= enough
        put(nibbles, mine, place, levels if fits else and_(levels, U32(15)))
        position = after if fits else add(position, field(rest, U32(8), U32(4)))
        place = further if fits else add(place, U32(4))
    is_legal = is_legal and np.int32(seen) >= 0
    if is_last and is_legal:
        left = np.int64(end) - np.int64(position)
        is_legal = only_zeros_left(window_at(words, (base << 5) + np.int64(position)), left)
    return is_legal


@cuda.jit(cache=True, fastmath=False)
def decode_dense_chunks(words, directory, entries, checksum_tables, norms, num_levels, adds, values, status):
    """Write or add the values of whole chunks, whose buckets have 512 coordinates.

    Parameters
    ----------
    words : uint32
        Payload and two words more.
    directory : int64[3, k + 1]
        As `decode_chunks` takes it; the chunks are the first ones.
    entries : uint64[2048]
        As `lookup_table` makes them.
    checksum_tables : (uint32[4, 256], uint32[32])
    norms : float32[8 C]
    num_levels : uint32
    adds : bool
    values : float32[4096 C]
        At an address that is a multiple of 16.
    status : int64[1]
        As in `decode_chunks`.
    """
    nibbles = cuda.shared.array(NIBBLES, np.uint32)
    table = cuda.shared.array(LOOKUPS, np.uint64)
    thread, threads = U32(cuda.threadIdx.x), U32(cuda.blockDim.x)
    lane, warp = and_(thread, U32(31)), shr(thread, U32(5))
    mine = mul(warp, U32(NIBBLE_WORDS))
    i = thread
    while i < U32(LOOKUPS):
        table[i] = entries[i]
        i = add(i, threads)
    i = thread
    while i < U32(NIBBLES):
        nibbles[i] = ZERO
        i = add(i, threads)
    cuda.syncthreads()
    warps = shr(threads, U32(5))
    chunk, stride = add(mul(U32(cuda.blockIdx.x), warps), warp), mul(U32(cuda.gridDim.x), warps)
    chunks, level = U32(values.size >> 12), np.int32(ashr(shl(lane, U32(28)), U32(28)))
    quarter = and_(lane, U32(15))
    while chunk < chunks:
        base = directory[STARTS, chunk]
        part = U32(directory[STARTS, add(chunk, ONE)] - base)  # 32 lanes share so many words of 32 bits
        found = warp_checksum(words, base, np.int64(part), checksum_tables)
        outcome = GOOD if found == U32(directory[CHECKSUMS, chunk]) else DAMAGED
        if outcome == GOOD:  # the same in all lanes
            begin = mul(lane, part)
            is_legal = read_levels(
                words, base, shl(part, U32(5)), begin, add(begin, part), table, nibbles, mine
            )
            cuda.syncwarp()  # all levels are in shared memory
            if cuda.any_sync(ALL_LANES, not is_legal):
                outcome = MALFORMED
        if outcome == GOOD:
            write_values(nibbles, mine, chunk, level, quarter, norms, num_levels, adds, values, status)
        elif lane == ZERO:
            cuda.atomic.min(status, 0, np.int64(chunk) * OUTCOMES + outcome)
        cuda.syncwarp()
        i = lane
        while i < U32(NIBBLE_WORDS):
            nibbles[add(mine, i)] = ZERO
            i = add(i, U32(32))
        cuda.syncwarp()
        chunk = add(chunk, stride)


@cuda.jit(device=True, cache=False, fastmath=False)
def write_values(nibbles, mine, chunk, level, quarter, norms, num_levels, adds, values, status):
    """Write or add the values of a chunk, half a warp a bucket; ``level`` is that of a lane's code."""
    half = shr(and_(U32(cuda.threadIdx.x), U32(31)), U32(4))
    low = np.int64(chunk) << 12
    for pair in range(4):
        row = add(U32(2 * pair), half)
        step = np.float64(level_step(norms[add(shl(chunk, U32(3)), row)], num_levels))
        of_code = np.float32(level_value(level, step))
        first = add(shl(row, U32(9)), shl(quarter, U32(2)))
        place = add(add(shl(mine, U32(1)), shl(row, U32(7))), quarter)
        any_code = ZERO
        for m in range(8):
            codes = U32(load_half(nibbles, add(place, U32(16 * m))))
            any_code = or_(any_code, codes)
            a = shuffled(of_code, codes, U32(0x101F))
            b = shuffled(of_code, shr(codes, U32(4)), U32(0x101F))
            c = shuffled(of_code, shr(codes, U32(8)), U32(0x101F))
            d = shuffled(of_code, shr(codes, U32(12)), U32(0x101F))
            at = add(first, U32(64 * m))
            if adds:
                p, q, r, s = load_four(values, low, at)
                a, b = np.float32(p + a), np.float32(q + b)
                c, d = np.float32(r + c), np.float32(s + d)
            store_four(values, low, at, a, b, c, d)
        if any_code != ZERO and not step > 0:  # also of NaN
            cuda.atomic.min(status, 0, np.int64(chunk) * OUTCOMES + NOT_CANONICAL)


def launch_decode_dense(
    context, words, directory, entries, checksum_tables, norms, num_levels, adds, values, status
):
    """Write or add the values of whole chunks; arguments as of `decode_dense_chunks`."""
    with context.active():
        decode_dense_chunks[dense_launch(values.size // CHUNK_SIZE, context.stream)](
            words, directory, entries, checksum_tables, norms, np.uint32(num_levels), adds, values, status
        )

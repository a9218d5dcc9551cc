"""Quantize and pack, unpack and dequantize, where a bucket is a full row: 512 coordinates, aligned.

These take a quarter and a tenth of the instructions of ``cuda.fixed_width``, which does all other rows, and
give the same bits. A row is full if it has 512 coordinates and begins at a multiple of four, where its arrays
are at addresses that are multiples of 16; codes have 2, 4 or 8 bits, so that the top byte of a sum of 32 bits
is a level (F = 24); rounding is stochastic. ``full`` holds four int32 a row: begin / 4, tensor, group and
bucket; ``keys`` are the twenty keys of Philox.

Lane l takes coordinates 4 l to 4 l + 3 of each quarter of 128 of its row, so that the codes of four
neighbours are w / 2 whole bytes of the message: no shared memory, no word that two threads write. In version
1 of the stream, blocks 4 l to 4 l + 3 are the words of this lane. In version 2, lanes l and l + 16 need the
same four blocks: each draws two of them and gives half of their words to the other.
"""

from __future__ import annotations

import math

import numpy as np
from numba import cuda

from qsgd_lab.kernels.constants import L2, SHARED_WORDS
from qsgd_lab.kernels.cuda.norms import ALL_LANES
from qsgd_lab.kernels.cuda.ops import (
    add,
    and_,
    ashr,
    bits_of,
    float_of,
    largest,
    least,
    load,
    load_four,
    load_reals,
    mul,
    or_,
    permuted,
    real,
    shl,
    shr,
    shuffled,
    store,
    store_four,
    sub,
    truncated,
    wide_product,
    xor,
)
from qsgd_lab.kernels.fixed_point import bucket_factors, level_step, level_value, storable_norm

U32 = np.uint32
FIRST_MULTIPLIER, SECOND_MULTIPLIER = U32(0xD2511F53), U32(0xCD9E8D57)
FIRST_WEYL, SECOND_WEYL = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
ONES, TOP_BITS, SIGN = U32(0x01010101), U32(0x80808080), U32(0x80000000)
MAGNITUDE, INFINITE, NOT_A_NUMBER = U32(0x7FFFFFFF), U32(0x7F800000), U32(0x7FC00000)


def round_keys(k0, k1):
    """Return the twenty uint32 keys of Philox's ten rounds: made on the host, constants to a kernel."""
    turns = range(ROUNDS)
    pairs = ((int(k0) + turn * FIRST_WEYL, int(k1) + turn * SECOND_WEYL) for turn in turns)
    return tuple(U32(key & 0xFFFFFFFF) for pair in pairs for key in pair)


@cuda.jit(device=True, cache=False, fastmath=False)
def mix(c0, c1, c2, c3, k0, k1):
    """Return the four words (uint32) after a round of Philox."""
    high0, low0 = wide_product(c0, FIRST_MULTIPLIER)
    high1, low1 = wide_product(c2, SECOND_MULTIPLIER)
    return xor(xor(high1, c1), k0), low1, xor(xor(high0, c3), k1), low0


@cuda.jit(device=True, cache=False, fastmath=False)
def drawn(block, step, tensor, node, keys):
    """Return the four words of a Philox block."""
    a, b, c, d = mix(block, step, tensor, node, keys[0], keys[1])
    a, b, c, d = mix(a, b, c, d, keys[2], keys[3])
    a, b, c, d = mix(a, b, c, d, keys[4], keys[5])
    a, b, c, d = mix(a, b, c, d, keys[6], keys[7])
    a, b, c, d = mix(a, b, c, d, keys[8], keys[9])
    a, b, c, d = mix(a, b, c, d, keys[10], keys[11])
    a, b, c, d = mix(a, b, c, d, keys[12], keys[13])
    a, b, c, d = mix(a, b, c, d, keys[14], keys[15])
    a, b, c, d = mix(a, b, c, d, keys[16], keys[17])
    return mix(a, b, c, d, keys[18], keys[19])


@cuda.jit(device=True, cache=False, fastmath=False)
def words_of_lane(group, lane, step, tensor, node, version, keys):
    """Return the sixteen words of a lane's coordinates, four tuples: of 4 lane + c + 128 m, by c and m."""
    if version != SHARED_WORDS:
        block = add(shl(group, U32(7)), shl(lane, U32(2)))
        return (
            drawn(block, step, tensor, node, keys),
            drawn(add(block, U32(1)), step, tensor, node, keys),
            drawn(add(block, U32(2)), step, tensor, node, keys),
            drawn(add(block, U32(3)), step, tensor, node, keys),
        )
    # The lower lane draws the blocks of c = 0 and 1 and takes words 0 and 2 of all four, the upper one those
    # of c = 2 and 3, and takes words 1 and 3.
    is_upper = lane >= U32(16)
    block = add(shl(group, U32(6)), shl(and_(lane, U32(15)), U32(2)))
    own = add(block, U32(2) if is_upper else U32(0))
    a0, a1, a2, a3 = drawn(own, step, tensor, node, keys)
    b0, b1, b2, b3 = drawn(add(own, U32(1)), step, tensor, node, keys)
    c0, c1 = given(a0 if is_upper else a1), given(a2 if is_upper else a3)
    d0, d1 = given(b0 if is_upper else b1), given(b2 if is_upper else b3)
    e0, e1 = (a1, a3) if is_upper else (a0, a2)
    f0, f1 = (b1, b3) if is_upper else (b0, b2)
    if is_upper:
        return with_rotated(c0, c1), with_rotated(d0, d1), with_rotated(e0, e1), with_rotated(f0, f1)
    return with_rotated(e0, e1), with_rotated(f0, f1), with_rotated(c0, c1), with_rotated(d0, d1)


@cuda.jit(device=True, cache=False, fastmath=False)
def given(word):
    """Return the word that the lane 16 further on, or before, gives for this one."""
    return U32(cuda.shfl_xor_sync(ALL_LANES, np.int32(word), 16))


@cuda.jit(device=True, cache=False, fastmath=False)
def with_rotated(a, b):
    """Return two words, and both rotated by 16 bits."""
    return a, b, permuted(a, a, U32(0x1032)), permuted(b, b, U32(0x1032))


@cuda.jit(device=True, cache=False, fastmath=False)
def rounded(x, word, scale, cap):
    """Return a uint32 whose top byte is the level of |x|; `cap` is s 2^F, or 0 without a scale."""
    # Cut before the word is added: less than 2^F more than s 2^F is still level s. NaN is cut to the cap.
    return add(U32(truncated(least(np.float32(abs(x) * scale), cap))), shr(word, U32(8)))


@cuda.jit(device=True, cache=False, fastmath=False)
def top_bytes(a, b, c, d, pair):
    """Return the top bytes of four words; `pair` is 0x73, or 0xFB for their signs, as 00 or FF."""
    return permuted(permuted(a, b, pair), permuted(c, d, pair), U32(0x5410))


@cuda.jit(device=True, cache=False, fastmath=False)
def four_codes(x0, x1, x2, x3, words, scale, cap, mask, width):
    """Return the codes of four coordinates, a byte each, of which `mask` keeps the magnitude's bits."""
    levels = top_bytes(
        rounded(x0, words[0], scale, cap),
        rounded(x1, words[1], scale, cap),
        rounded(x2, words[2], scale, cap),
        rounded(x3, words[3], scale, cap),
        U32(0x73),
    )
    signs = top_bytes(bits_of(x0), bits_of(x1), bits_of(x2), bits_of(x3), U32(0xFB))
    # Two's complement in each byte: inverted, plus one. The mask cuts what a byte would carry into the next.
    codes = add(and_(xor(levels, signs), mask), and_(signs, ONES))
    return xor(codes, and_(signs, TOP_BITS)) if width == 8 else codes


@cuda.jit(device=True, cache=False, fastmath=False)
def store_codes(words, base, lane, g0, g1, g2, g3, width, mask):
    """Store a lane's sixteen codes: byte m of g_c is that of coordinate 4 lane + c + 128 m."""
    if width == 8:
        a, b = permuted(g0, g1, U32(0x5140)), permuted(g2, g3, U32(0x5140))
        store(words, base, lane, permuted(a, b, U32(0x5410)))
        store(words, base, add(lane, U32(32)), permuted(a, b, U32(0x7632)))
        a, b = permuted(g0, g1, U32(0x7362)), permuted(g2, g3, U32(0x7362))
        store(words, base, add(lane, U32(64)), permuted(a, b, U32(0x5410)))
        store(words, base, add(lane, U32(96)), permuted(a, b, U32(0x7632)))
    elif width == 4:
        above = shl(mask, U32(4))
        a = or_(and_(g0, mask), and_(shl(g1, U32(4)), above))
        b = or_(and_(g2, mask), and_(shl(g3, U32(4)), above))
        p, q = permuted(a, b, U32(0x5140)), permuted(a, b, U32(0x7362))
        store(words, base, lane, np.uint16(p))
        store(words, base, add(lane, U32(32)), np.uint16(shr(p, U32(16))))
        store(words, base, add(lane, U32(64)), np.uint16(q))
        store(words, base, add(lane, U32(96)), np.uint16(shr(q, U32(16))))
    else:
        above = shl(mask, U32(2))
        a = or_(and_(g0, mask), and_(shl(g1, U32(2)), above))
        b = or_(and_(g2, mask), and_(shl(g3, U32(2)), above))
        p = or_(and_(a, U32(0x0F0F0F0F)), and_(shl(b, U32(4)), U32(0xF0F0F0F0)))
        store(words, base, lane, np.uint8(p))
        store(words, base, add(lane, U32(32)), np.uint8(shr(p, U32(8))))
        store(words, base, add(lane, U32(64)), np.uint8(shr(p, U32(16))))
        store(words, base, add(lane, U32(96)), np.uint8(shr(p, U32(24))))


@cuda.jit(device=True, cache=False, fastmath=False)
def l2_norm(x, low, lane):
    """Return the norm of a row to all lanes, by the CPU's tree."""
    total = np.float64(0.0)
    for k in range(16):
        value = np.float64(real(load(x, low, add(lane, U32(32 * k)))))
        total += value * value
    for half in (16, 8, 4, 2, 1):
        total += np.float64(cuda.shfl_xor_sync(ALL_LANES, total, half))
    return np.float32(storable_norm(math.sqrt(total)))


@cuda.jit(device=True, cache=False, fastmath=False)
def max_norm(x, low, lane):
    """Return the largest magnitude of a row to all lanes; NaN where one is not finite."""
    top = U32(0)
    for m in range(4):
        a, b, c, d = load_reals(x, low, add(shl(lane, U32(2)), U32(128 * m)))
        top = largest(top, largest(and_(bits_of(a), MAGNITUDE), and_(bits_of(b), MAGNITUDE)))
        top = largest(top, largest(and_(bits_of(c), MAGNITUDE), and_(bits_of(d), MAGNITUDE)))
    for half in (16, 8, 4, 2, 1):
        top = largest(top, U32(cuda.shfl_xor_sync(ALL_LANES, np.int32(top), half)))
    return float_of(top if top < INFINITE else NOT_A_NUMBER)


@cuda.jit(device=True, cache=False, fastmath=False)
def pack_row(x, begin, tensor, group, bucket, keys, stream, kind, top, mask, width, words, norms):
    """Write the norm and the packed levels of a row; a warp does it."""
    step, first_tensor, node, version = stream
    lane = and_(U32(cuda.threadIdx.x), U32(31))
    low = np.int64(begin) << 2
    norm = l2_norm(x, low, lane) if kind == L2 else max_norm(x, low, lane)
    if lane == 0:
        store(norms, np.int64(0), U32(bucket), norm)  # an index that is not looked at for its sign
    factor, scale = bucket_factors(norm, top)
    cap = top if scale != np.float32(0.0) else np.float32(0.0)
    first = shl(lane, U32(2))
    a0, b0, c0, d0 = load_reals(x, low, first)
    a1, b1, c1, d1 = load_reals(x, low, add(first, U32(128)))
    a2, b2, c2, d2 = load_reals(x, low, add(first, U32(256)))
    a3, b3, c3, d3 = load_reals(x, low, add(first, U32(384)))
    if factor != np.float32(1.0):  # a tiny bucket: the whole warp, and rarely
        cuda.syncwarp()  # else the compiler makes of this sixteen instructions of the common path
        a0, b0, c0, d0 = a0 * factor, b0 * factor, c0 * factor, d0 * factor
        a1, b1, c1, d1 = a1 * factor, b1 * factor, c1 * factor, d1 * factor
        a2, b2, c2, d2 = a2 * factor, b2 * factor, c2 * factor, d2 * factor
        a3, b3, c3, d3 = a3 * factor, b3 * factor, c3 * factor, d3 * factor
    own = add(first_tensor, U32(tensor))
    drawn0, drawn1, drawn2, drawn3 = words_of_lane(U32(group), lane, step, own, node, version, keys)
    g0 = four_codes(a0, a1, a2, a3, drawn0, scale, cap, mask, width)
    g1 = four_codes(b0, b1, b2, b3, drawn1, scale, cap, mask, width)
    g2 = four_codes(c0, c1, c2, c3, drawn2, scale, cap, mask, width)
    g3 = four_codes(d0, d1, d2, d3, drawn3, scale, cap, mask, width)
    store_codes(words, np.int64(begin), lane, g0, g1, g2, g3, width, mask)


@cuda.jit(device=True, cache=False, fastmath=False)
def pack_rows(x, full, keys, stream, kind, top, mask, width, words, norms):
    """Write the norms and packed levels of all full rows, a warp a row."""
    warps = shr(U32(cuda.blockDim.x), U32(5))
    row = add(mul(U32(cuda.blockIdx.x), warps), shr(U32(cuda.threadIdx.x), U32(5)))
    stride, count = mul(U32(cuda.gridDim.x), warps), shr(U32(full.size), U32(2))
    while row < count:
        begin, tensor, group, bucket = load_four(full, np.int64(0), shl(row, U32(2)))
        pack_row(x, begin, tensor, group, bucket, keys, stream, kind, top, mask, width, words, norms)
        row = add(row, stride)


@cuda.jit(cache=True, fastmath=False)
def pack_full_rows_2(x, full, keys, stream, kind, top, words, norms):
    """Write norms and levels of 2 bits.

    Parameters
    ----------
    x : float32[n], or int16[n] or uint16[n] with the bits of float16 or bfloat16
    full : int32[4 F]
    keys : twenty uint32
    stream : (step, first tensor, node, version), each uint32
    kind : 0 for l2, 1 for max
    top : float32
        s 2^24.
    words : uint8
        Four codes each; uint16 for codes of 4 bits, uint32 for those of 8.
    norms : float32[B]
    """
    pack_rows(x, full, keys, stream, kind, top, U32(0x03030303), 2, words, norms)


@cuda.jit(cache=True, fastmath=False)
def pack_full_rows_4(x, full, keys, stream, kind, top, words, norms):
    """Write norms and levels of 4 bits; arguments as of `pack_full_rows_2`."""
    pack_rows(x, full, keys, stream, kind, top, U32(0x0F0F0F0F), 4, words, norms)


@cuda.jit(cache=True, fastmath=False)
def pack_full_rows_8(x, full, keys, stream, kind, top, words, norms):
    """Write norms and levels of 8 bits; arguments as of `pack_full_rows_2`."""
    pack_rows(x, full, keys, stream, kind, top, U32(0x7F7F7F7F), 8, words, norms)


@cuda.jit(device=True, cache=False, fastmath=False)
def value_of(table, code, step, width):
    """Return the value of the lowest bits of `code`; narrow ones are looked up in a lane's register."""
    if width == 8:
        return np.float32(level_value(np.int32(np.int8(code)), step))
    # The shuffle reads within 16 lanes (or 4) by the lowest 4 bits (or 2) alone: it masks the code itself.
    return shuffled(table, code, U32(0x101F) if width == 4 else U32(0x1C1F))


@cuda.jit(device=True, cache=False, fastmath=False)
def store_values(values, low, place, codes, table, step, own, width):
    """Store the values of four neighbouring codes."""
    a = value_of(table, codes, step, width)
    b = value_of(table, shr(codes, U32(width)), step, width)
    c = value_of(table, shr(codes, U32(2 * width)), step, width)
    d = value_of(table, shr(codes, U32(3 * width)), step, width)
    if own:
        store_four(values, low, place, a, b, c, d)


@cuda.jit(device=True, cache=False, fastmath=False)
def unpack_rows(words, full, norms, num_levels, width, values):
    """Write the values of all full rows, half a warp a row."""
    thread = U32(cuda.threadIdx.x)
    lane, halves = and_(thread, U32(15)), shr(U32(cuda.blockDim.x), U32(4))
    row = add(mul(U32(cuda.blockIdx.x), halves), shr(thread, U32(4)))
    stride, count = mul(U32(cuda.gridDim.x), halves), shr(U32(full.size), U32(2))
    place = shl(lane, U32(2))
    level = np.int32(ashr(shl(thread, U32(32 - width)), U32(32 - width)))  # the level whose code the lane is
    while and_(row, U32(0xFFFFFFFE)) < count:  # both halves of a warp stay, for the shuffles
        own = row < count
        at = row if own else sub(row, U32(1))
        begin, _, _, bucket = load_four(full, np.int64(0), shl(at, U32(2)))
        base, low = np.int64(begin), np.int64(begin) << 2
        step = np.float64(level_step(load(norms, np.int64(0), U32(bucket)), num_levels))
        table = np.float32(level_value(level, step))
        # All loads before the first store: the compiler may not move a load over a store.
        w0, w1 = U32(load(words, base, lane)), U32(load(words, base, add(lane, U32(16))))
        w2, w3 = U32(load(words, base, add(lane, U32(32)))), U32(load(words, base, add(lane, U32(48))))
        w4, w5 = U32(load(words, base, add(lane, U32(64)))), U32(load(words, base, add(lane, U32(80))))
        w6, w7 = U32(load(words, base, add(lane, U32(96)))), U32(load(words, base, add(lane, U32(112))))
        store_values(values, low, place, w0, table, step, own, width)
        store_values(values, low, add(place, U32(64)), w1, table, step, own, width)
        store_values(values, low, add(place, U32(128)), w2, table, step, own, width)
        store_values(values, low, add(place, U32(192)), w3, table, step, own, width)
        store_values(values, low, add(place, U32(256)), w4, table, step, own, width)
        store_values(values, low, add(place, U32(320)), w5, table, step, own, width)
        store_values(values, low, add(place, U32(384)), w6, table, step, own, width)
        store_values(values, low, add(place, U32(448)), w7, table, step, own, width)
        row = add(row, stride)


@cuda.jit(cache=True, fastmath=False)
def unpack_full_rows_2(words, full, norms, num_levels, values):
    """Write the float32 values of levels of 2 bits; `words` as in `pack_full_rows_2`, s a uint32."""
    unpack_rows(words, full, norms, num_levels, 2, values)


@cuda.jit(cache=True, fastmath=False)
def unpack_full_rows_4(words, full, norms, num_levels, values):
    """Write the float32 values of levels of 4 bits; arguments as of `unpack_full_rows_2`."""
    unpack_rows(words, full, norms, num_levels, 4, values)


@cuda.jit(cache=True, fastmath=False)
def unpack_full_rows_8(words, full, norms, num_levels, values):
    """Write the float32 values of levels of 8 bits; arguments as of `unpack_full_rows_2`."""
    unpack_rows(words, full, norms, num_levels, 8, values)


PACK = {2: pack_full_rows_2, 4: pack_full_rows_4, 8: pack_full_rows_8}
UNPACK = {2: unpack_full_rows_2, 4: unpack_full_rows_4, 8: unpack_full_rows_8}
UNITS = {2: np.uint8, 4: np.uint16, 8: np.uint32}  # the message's bytes of four codes

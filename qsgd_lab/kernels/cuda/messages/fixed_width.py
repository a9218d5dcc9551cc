"""Fixed width on the GPU: levels in two's complement, w bits each, lowest bit first, in 32-bit words.

Fused with the quantizer, a warp puts the levels of its row into shared memory and makes each word of the row
from those that reach into it (codes of 2, 4 and 8 bits, which no word cuts, four at a time). Where a bucket
is a row the gradient is read once and only words are written. Words that two rows share are cleared
beforehand and joined by an atomic or, which no order changes. Unpacking is fused with decoding: a thread
finds its level in at most two words.

``width`` is w, 2 to 16; the words of n levels are ceil(n w / 32), the last one filled with zeros. ``rows``,
``stream`` and ``scheme`` are as in ``cuda.quantize``.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, uint8, uint16, uint32

from qsgd_lab.kernels.cuda.device import address_of
from qsgd_lab.kernels.cuda.full_rows import PACK, UNITS, UNPACK, round_keys
from qsgd_lab.kernels.cuda.full_rows_with_norms import PACK_WITH_NORMS
from qsgd_lab.kernels.cuda.launch import HEAVY, current_launch_shape
from qsgd_lab.kernels.cuda.norms import (
    LANES,
    PER_LANE,
    at,
    bounds_of,
    finished_norm,
    fold_warp,
    is_inside,
    lane_term,
    load_row,
)
from qsgd_lab.kernels.cuda.quantize import (
    EIGHT,
    TURNS,
    bucket_at,
    draw_words,
    launch_norm_tables,
    launch_quantize,
    launch_steps,
    level_of,
    scheme_of,
)
from qsgd_lab.kernels.cuda.whole_rows import flat
from qsgd_lab.kernels.fixed_point import BucketFactors, bucket_factors, level_step, level_value

ROW = 512
WORD_BITS = 32


@cuda.jit(device=True, cache=False, fastmath=False)
def word_of(codes, count, width, begin):
    """Return the 32 bits from bit `begin` (may be negative) of a run of codes.

    Parameters
    ----------
    codes : any integer array
        Levels; the lowest `width` bits of each count.
    count : int
        How many there are; beyond them, as before the first, bits are 0.
    width : int64
    begin : int64
    """
    mask = np.uint32((np.int64(1) << width) - 1)
    first = np.int32(begin // width if begin > 0 else 0)
    place = np.int32(first * width - begin)
    word = np.uint32(0)
    for i in range(first, count):
        if place >= WORD_BITS:  # the word is full; at width 2 that is after 16 codes
            break
        code = np.uint32(np.int64(codes[i])) & mask
        word |= np.uint32(code >> np.uint32(-place)) if place < 0 else np.uint32(code << np.uint32(place))
        place += np.int32(width)
    return word


@cuda.jit(device=True, cache=False, fastmath=False)
def squeeze(four, width):
    """Return 4 w bits of the four codes in the bytes of a uint32, w at most 8."""
    pairs = np.uint32(np.uint32(four | np.uint32(four >> np.uint32(8 - width))) & pair_mask(width))
    joined = np.uint64(pairs | np.uint32(pairs >> np.uint32(16 - 2 * width)))
    return np.uint32(joined & np.uint64((np.int64(1) << (4 * width)) - 1))


@cuda.jit(device=True, cache=False, fastmath=False)
def pair_mask(width):
    """Return a uint32 with the lowest 2 w bits of each half set."""
    return np.uint32(((np.int64(1) << (2 * width)) - 1) * 0x00010001)


@cuda.jit(device=True, cache=False, fastmath=False)
def whole_word(bytes_of_four, index, width):
    """Return word `index` of codes of 2, 4 or 8 bits in bytes, four to a uint32."""
    fours = np.int64(8) // width
    word = np.uint32(0)
    for j in range(fours):
        word |= np.uint32(squeeze(bytes_of_four[index * fours + j], width) << np.uint32(4 * width * j))
    return word


@cuda.jit(device=True, cache=False, fastmath=False)
def level_at(words, bit, width):
    """Return the level (int32) whose code begins at bit `bit` (int32) of a run of words, in one or two."""
    index, place = bit >> 5, np.int32(bit & 31)
    code = np.uint32(words[np.uint64(index)]) >> np.uint32(place)
    if place + width > WORD_BITS:  # it goes on in the next word
        code |= np.uint32(np.uint64(words[np.uint64(index + 1)]) << np.uint64(WORD_BITS - place))
    shift = np.uint32(WORD_BITS - width)  # to the top and back, which extends the sign
    return np.int32(np.int32(np.uint32(code) << shift) >> shift)


@cuda.jit(cache=True, fastmath=False)
def clear_shared_words(offsets, width, words):
    """Set to zero each word in the midst of which a row begins."""
    for row in range(cuda.grid(1), offsets.size - 1, cuda.gridsize(1)):
        bit = offsets[row] * width
        if bit & 31:  # the row before writes the word's first bits
            words[bit >> 5] = np.uint32(0)


@cuda.jit(cache=True, fastmath=False)
def quantize_pack_rows(x, rows, chosen, stream, scheme, kind, is_bucket_a_row, tables, width, words, norms):
    """Write the packed levels of some rows, and their norms where a bucket is a row.

    Parameters
    ----------
    x : float32[n], or int16[n] or uint16[n] with the bits of float16 or bfloat16
    chosen : int32
        The numbers of the rows.
    kind : 0 for l2, 1 for max
    tables : (float32[1, B], float32[1, B])
        Factors and scales of the buckets; read unless a bucket is a row.
    words : uint32[ceil(n w / 32)]
        Shared ones cleared.
    norms : float32[B]
    """
    offsets, tensors, groups = rows[0], rows[1], rows[2]
    lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    warps = cuda.blockDim.x // LANES
    values = cuda.local.array(PER_LANE, np.float32)
    # 512 codes of up to 16 bits for each warp: dynamic, since the number of warps is the caller's.
    codes = cuda.shared.array(0, uint16)[warp * ROW : (warp + 1) * ROW]
    # The same memory: a code a byte, and four of those.
    byte_codes = cuda.shared.array(0, uint8)[2 * warp * ROW : 2 * (warp + 1) * ROW]
    fours = cuda.shared.array(0, uint32)[warp * ROW // 2 : (warp + 1) * ROW // 2]
    mask = np.int64((1 << width) - 1)
    for first in range(cuda.blockIdx.x * warps, chosen.size, cuda.gridDim.x * warps):
        is_own = first + warp < chosen.size
        row = chosen[first + warp] if is_own else chosen[first]
        low, high, size = bounds_of(offsets, row, is_own)
        tensor, group = tensors[row], groups[row]
        load_row(x[low:high], size, lane, values)
        factors = BucketFactors(np.float32(0.0), np.float32(0.0))
        if is_bucket_a_row:  # the same for the whole grid
            norm = finished_norm(fold_warp(lane_term(values, kind), kind), kind)
            if lane == 0 and size > 0:
                norms[row] = norm
            factors = bucket_factors(norm, scheme[0])
        begin, end = low * width, high * width
        in_bytes = width in (2, 4, 8) and begin & 31 == 0  # no word cuts a code, nor reaches before the row
        for turn in range(TURNS):
            drawn = draw_words(stream, tensor, 0, group, at(lane, turn))
            for w in range(EIGHT):
                k = turn + TURNS * w
                if not is_bucket_a_row and is_inside(lane, k, size):
                    bucket = bucket_at(at(lane, k), row, rows)
                    factors = BucketFactors(tables[0][0, bucket], tables[1][0, bucket])
                level = level_of(values[k], factors, drawn[w], scheme)
                if in_bytes:
                    byte_codes[at(lane, k)] = np.uint8(level & mask)
                else:
                    codes[at(lane, k)] = np.uint16(level & mask)
        cuda.syncwarp()  # all codes of the row are in shared memory
        last = (end + WORD_BITS - 1) >> 5 if size > 0 else begin >> 5
        for index in range((begin >> 5) + lane, last, LANES):
            if in_bytes:
                word = whole_word(fours, index - (begin >> 5), width)
            else:
                word = word_of(codes, np.int64(size), width, (index << 5) - begin)
            # A word that reaches into a neighbouring row was cleared before, and both rows join it.
            is_whole = (index << 5) >= begin and ((index + 1) << 5 <= end or row == tensors.size - 1)
            if is_whole:
                words[index] = word
            else:
                cuda.atomic.or_(words, index, word)
        cuda.syncwarp()  # before the next row's codes are written


@cuda.jit(cache=True, fastmath=False)
def pack_levels(levels, width, words):
    """Write the words of n levels, int8 or int16."""
    for index in range(cuda.grid(1), words.size, cuda.gridsize(1)):
        words[index] = word_of(levels, levels.size, width, np.int64(index) << 5)


@cuda.jit(cache=True, fastmath=False)
def unpack_dequantize_rows(words, width, norms, rows, chosen, num_levels, is_bucket_a_row, steps, values):
    """Write the float32 values of the packed levels of some rows; the rest as in ``dequantize_rows``."""
    offsets = rows[0]
    lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
    warps = cuda.blockDim.x // LANES
    for item in range(cuda.blockIdx.x * warps + warp, chosen.size, cuda.gridDim.x * warps):
        row = chosen[item]
        low, high, size = bounds_of(offsets, row, True)
        part = values[low:high]
        begin = low * width
        part_words, first_bit = words[begin >> 5 :], np.int32(begin & 31)
        step = np.float64(level_step(norms[row], num_levels)) if is_bucket_a_row else np.float64(0.0)
        for k in range(PER_LANE):
            i = at(lane, k)
            if is_inside(lane, k, size):
                if not is_bucket_a_row:
                    step = steps[0, bucket_at(i, row, rows)]
                bit = np.int32(first_bit + np.int32(i) * np.int32(width))
                part[i] = level_value(level_at(part_words, bit, width), step)


def packed_words(num_coordinates, width):
    """Return how many 32-bit words so many levels take."""
    return -(-num_coordinates * width // WORD_BITS)


def is_fast(rows, width, array):
    """Whether ``cuda.full_rows`` may take so many full rows of an array, four neighbours at a time."""
    return rows > 0 and width in UNITS and address_of(array) % (4 * array.dtype.itemsize) == 0


def launch_full_rows_pack(context, tables, x, key, kind, num_levels, width, words, norms):
    """Quantize and pack full rows that are buckets; arguments as of `launch_quantize_pack`."""
    k0, k1, *others = key
    launch = (*current_launch_shape().grid(tables.full_left.size), context.stream)
    PACK[width][launch](
        x,
        tables.full,
        round_keys(k0, k1),
        tuple(others),
        kind,
        scheme_of(num_levels)[0],
        words.view(UNITS[width]),
        norms,
    )


def launch_full_rows_pack_with_norms(context, tables, x, key, num_levels, width, of_buckets, words):
    """Quantize and pack full rows whose factors and scales are known."""
    launch = (*current_launch_shape().grid(tables.full_left.size), context.stream)
    PACK_WITH_NORMS[width][launch](
        x,
        tables.full,
        tables.full_left,
        tables.rows[5],
        round_keys(key[0], key[1]),
        tuple(key[2:]),
        scheme_of(num_levels)[0],
        flat(of_buckets[0]),
        flat(of_buckets[1]),
        words.view(UNITS[width]),
    )


def launch_full_rows_unpack(context, tables, words, width, norms, num_levels, values):
    """Unpack and dequantize full rows of one bucket; arguments as of `launch_unpack_dequantize`."""
    single = tables.full[: 4 * tables.num_single]
    launch = (*current_launch_shape().grid(-(-tables.num_single // 2)), context.stream)
    UNPACK[width][launch](words.view(UNITS[width]), single, norms, np.uint32(num_levels), values)


def launch_pack(context, levels, width, words):
    """Pack levels, Numba int8[n] or int16[n], into `words`, Numba uint32."""
    if words.size == 0:
        return
    with context.active():
        launch = (*current_launch_shape().grid(-(-words.size // LANES)), context.stream)
        pack_levels[launch](levels, np.int64(width), words)


def launch_quantize_pack(context, tables, x, key, kind, stochastic, num_levels, width, words, norms):
    """Quantize and pack: a launch for full rows, one for the rest, and where a bucket is no row, for norms.

    One more clears the words that rows share, if any do. Codes of other widths than 2, 4 and 8 bits go
    through levels, where a bucket is no row.

    Parameters
    ----------
    context : DeviceContext
    tables : RowTables
    x : Numba float32[n], int16[n] or uint16[n]
    key : (k0, k1, step, tensor, node, version), each uint32
    kind : 0 for l2, 1 for max
    stochastic : bool
    num_levels, width : int
    words : Numba uint32[ceil(n w / 32)]
    norms : Numba float32[B]
    """
    if x.size == 0:
        return
    with_full = stochastic and is_fast(tables.full_left.size, width, x)
    if not tables.is_bucket_a_row and not with_full:
        levels = context.scratch(x.size, np.int8 if num_levels <= 127 else np.int16)
        launch_quantize(context, tables, x, key, kind, stochastic, num_levels, levels, norms)
        launch_pack(context, levels, width, words)
        return
    stream, scheme = (stochastic, *key), scheme_of(num_levels)
    with context.active():
        if not tables.are_rows_aligned:
            launch = (*current_launch_shape().grid(-(-tables.num_rows // LANES)), context.stream)
            clear_shared_words[launch](tables.rows[0], np.int64(width), words)
        factors = scales = norms.reshape((1, norms.size))  # not read where a bucket is a row
        if not tables.is_bucket_a_row:
            factors, scales, _ = of_buckets = launch_norm_tables(context, tables, x, kind, scheme, norms)
            launch_full_rows_pack_with_norms(context, tables, x, key, num_levels, width, of_buckets, words)
        elif with_full:
            launch_full_rows_pack(context, tables, x, key, kind, num_levels, width, words, norms)
        chosen = tables.others if with_full else tables.all_rows
        if chosen.size == 0:
            return
        blocks, threads = current_launch_shape().grid(chosen.size, HEAVY)
        launch = (blocks, threads, context.stream, threads // LANES * ROW * np.dtype(np.uint16).itemsize)
        given = tables.is_bucket_a_row, (factors, scales), np.int64(width), words, norms
        quantize_pack_rows[launch](x, tables.rows, chosen, stream, scheme, kind, *given)


def launch_unpack_dequantize(context, tables, words, width, norms, num_levels, values):
    """Unpack and dequantize: one launch where a bucket is a row, else two; `values` is a Numba float32[n]."""
    if values.size == 0:
        return
    with context.active():
        chosen = tables.all_rows
        if is_fast(tables.num_single, width, values):
            launch_full_rows_unpack(context, tables, words, width, norms, num_levels, values)
            chosen = tables.not_single
        if chosen.size == 0:
            return
        steps = launch_steps(context, tables, norms, num_levels)
        launch = (*current_launch_shape().grid(chosen.size), context.stream)
        unpack_dequantize_rows[launch](
            words,
            np.int64(width),
            norms,
            tables.rows,
            chosen,
            np.uint32(num_levels),
            tables.is_bucket_a_row,
            steps,
            values,
        )

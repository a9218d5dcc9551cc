"""Quantize and pack full rows whose buckets may be any; norms are taken before, as in ``cuda.quantize``.

Rows are those of ``full`` and ``full_left`` of `RowTables`. Four neighbours of a row have one bucket: they
are multiplied by its factor and scale, and rounded and packed as in ``cuda.full_rows``.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from qsgd_lab.kernels.cuda.full_rows import four_codes, store_codes, words_of_lane
from qsgd_lab.kernels.cuda.ops import add, load, load_four, load_reals, shl
from qsgd_lab.kernels.cuda.whole_rows import bucket_of, first_row

U32 = np.uint32
ONE = np.float32(1.0)


@cuda.jit(device=True, cache=False, fastmath=False)
def scaled_four(x, low, place, buckets, factors, scales):
    """Return four neighbours times factor and scale of their bucket: 0 where it has no scale."""
    left, bucket, inverse_size = buckets
    a, b, c, d = load_reals(x, low, place)
    own = bucket_of(place, left, bucket, inverse_size)
    factor, scale = load(factors, np.int64(0), own), load(scales, np.int64(0), own)
    if scale == np.float32(0.0):  # NaN and infinity must not be multiplied
        return np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
    return (
        np.float32(np.float32(a * factor) * scale),
        np.float32(np.float32(b * factor) * scale),
        np.float32(np.float32(c * factor) * scale),
        np.float32(np.float32(d * factor) * scale),
    )


@cuda.jit(device=True, cache=False, fastmath=False)
def pack_rows(x, full, lefts, inverse_size, keys, stream, top, mask, width, factors, scales, words):
    """Write the packed levels of all full rows, a warp a row."""
    step, first_tensor, node, version = stream
    lane, row, stride = first_row()
    first, count = shl(lane, U32(2)), U32(lefts.size)
    while row < count:
        begin, tensor, group, bucket = load_four(full, np.int64(0), shl(row, U32(2)))
        low = np.int64(begin) << 2
        buckets = load(lefts, np.int64(0), row), bucket, inverse_size
        a0, b0, c0, d0 = scaled_four(x, low, first, buckets, factors, scales)
        a1, b1, c1, d1 = scaled_four(x, low, add(first, U32(128)), buckets, factors, scales)
        a2, b2, c2, d2 = scaled_four(x, low, add(first, U32(256)), buckets, factors, scales)
        a3, b3, c3, d3 = scaled_four(x, low, add(first, U32(384)), buckets, factors, scales)
        own = add(first_tensor, U32(tensor))
        drawn0, drawn1, drawn2, drawn3 = words_of_lane(U32(group), lane, step, own, node, version, keys)
        g0 = four_codes(a0, a1, a2, a3, drawn0, ONE, top, mask, width)
        g1 = four_codes(b0, b1, b2, b3, drawn1, ONE, top, mask, width)
        g2 = four_codes(c0, c1, c2, c3, drawn2, ONE, top, mask, width)
        g3 = four_codes(d0, d1, d2, d3, drawn3, ONE, top, mask, width)
        store_codes(words, np.int64(begin), lane, g0, g1, g2, g3, width, mask)
        row = add(row, stride)


@cuda.jit(cache=True, fastmath=False)
def pack_full_rows_with_norms_2(x, full, lefts, inverse_size, keys, stream, top, factors, scales, words):
    """Write levels of 2 bits.

    Parameters
    ----------
    x, full, keys, stream, top, words
        As in ``cuda.full_rows``.
    lefts : int32[F]
        How many coordinates of a row are in its first bucket.
    inverse_size : float32
        1 / bucket size.
    factors, scales : float32[B]
        Of ``cuda.quantize.bucket_tables``.
    """
    pack_rows(x, full, lefts, inverse_size, keys, stream, top, U32(0x03030303), 2, factors, scales, words)


@cuda.jit(cache=True, fastmath=False)
def pack_full_rows_with_norms_4(x, full, lefts, inverse_size, keys, stream, top, factors, scales, words):
    """Write levels of 4 bits; arguments as of `pack_full_rows_with_norms_2`."""
    pack_rows(x, full, lefts, inverse_size, keys, stream, top, U32(0x0F0F0F0F), 4, factors, scales, words)


@cuda.jit(cache=True, fastmath=False)
def pack_full_rows_with_norms_8(x, full, lefts, inverse_size, keys, stream, top, factors, scales, words):
    """Write levels of 8 bits; arguments as of `pack_full_rows_with_norms_2`."""
    pack_rows(x, full, lefts, inverse_size, keys, stream, top, U32(0x7F7F7F7F), 8, factors, scales, words)


PACK_WITH_NORMS = {
    2: pack_full_rows_with_norms_2,
    4: pack_full_rows_with_norms_4,
    8: pack_full_rows_with_norms_8,
}

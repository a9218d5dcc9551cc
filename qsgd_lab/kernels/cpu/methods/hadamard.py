"""The Hadamard transform of blocks, and the random signs in front of it, on the CPU.

The transform is not normalised: y_j becomes the sum of +-y_i. Its order is fixed, h = 1, 2, 4, ..., and it
adds and subtracts float32 only, so that every backend gives the same bits. Four stages are done at once, in
registers on 16 neighbours or on 16 rows of 16, because loads and stores take longer than additions.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.jit import IS_COMPILED, njit
from qsgd_lab.kernels.philox import philox4x32

LANES = 16  # neighbours that one register holds
SIGNS = 128  # of one Philox block: four words of 32
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_WORDS = ir.VectorType(ir.IntType(32), LANES)


def _pointer(context, builder, array_type, array, offset):
    """Return a pointer to 16 floats, from element `offset` of an array on."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(cgutils.gep_inbounds(builder, data, offset), _FLOATS.as_pointer())


def _flipped(builder, values, signs):
    """Return 16 floats, negated where a bit of the i64 `signs` is 1."""
    flags = builder.bitcast(builder.trunc(signs, ir.IntType(16)), ir.VectorType(ir.IntType(1), LANES))
    tops = builder.shl(builder.zext(flags, _WORDS), ir.Constant(_WORDS, [31] * LANES))
    return builder.bitcast(builder.xor(builder.bitcast(values, _WORDS), tops), _FLOATS)


def _butterfly(builder, values, h):
    """Return 16 floats after the stage of distance h: (a + b, a - b) for the pairs that differ in bit h."""
    order = ir.Constant(_WORDS, [lane ^ h for lane in range(LANES)])
    others = builder.shuffle_vector(values, ir.Constant(_FLOATS, ir.Undefined), order)
    tops = ir.Constant(_WORDS, [(1 << 31) if lane & h else 0 for lane in range(LANES)])
    own = builder.bitcast(builder.xor(builder.bitcast(values, _WORDS), tops), _FLOATS)
    return builder.fadd(others, own)  # b + a, and a + (-b): the same bits as a + b and a - b


@intrinsic
def _flip_and_transform16_raw(typing_context, array, offset, signs):
    """Negate 16 floats where bits of `signs` (uint64) are 1, and transform them, in place."""

    def codegen(context, builder, signature, args):
        place = _pointer(context, builder, signature.args[0], args[0], args[1])
        values = _flipped(builder, builder.load(place, align=4), args[2])
        for h in (1, 2, 4, 8):
            values = _butterfly(builder, values, h)
        builder.store(values, place, align=4)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), codegen


@intrinsic
def _flip16_raw(typing_context, array, offset, signs):
    """Negate 16 floats where bits of `signs` (uint64) are 1, in place."""

    def codegen(context, builder, signature, args):
        place = _pointer(context, builder, signature.args[0], args[0], args[1])
        builder.store(_flipped(builder, builder.load(place, align=4), args[2]), place, align=4)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), codegen


@intrinsic
def _transform32_raw(typing_context, array, offset):
    """Transform 32 floats, in place."""

    def codegen(context, builder, signature, args):
        offsets = [args[1], builder.add(args[1], ir.Constant(ir.IntType(64), LANES))]
        places = [_pointer(context, builder, signature.args[0], args[0], at) for at in offsets]
        low, high = (builder.load(place, align=4) for place in places)
        for h in (1, 2, 4, 8):
            low, high = _butterfly(builder, low, h), _butterfly(builder, high, h)
        builder.store(builder.fadd(low, high), places[0], align=4)
        builder.store(builder.fsub(low, high), places[1], align=4)
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@intrinsic
def _transform_rows_raw(typing_context, array, offset, stride):
    """Transform across 16 rows of 16 floats, which begin `stride` floats apart, in place."""

    def codegen(context, builder, signature, args):
        at = [
            builder.add(args[1], builder.mul(args[2], ir.Constant(ir.IntType(64), row)))
            for row in range(LANES)
        ]
        places = [_pointer(context, builder, signature.args[0], args[0], row) for row in at]
        rows = [builder.load(place, align=4) for place in places]
        for h in (1, 2, 4, 8):
            for i in range(LANES):
                if not i & h:
                    a, b = rows[i], rows[i + h]
                    rows[i], rows[i + h] = builder.fadd(a, b), builder.fsub(a, b)
        for row, place in zip(rows, places, strict=True):
            builder.store(row, place, align=4)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), codegen


@njit(cache=True, fastmath=False)
def stage(y, h):
    """Do the stage of distance h of the transform of `y`, in place."""
    for start in range(0, y.size, 2 * h):
        low, high = unowned_view(y[start : start + h]), unowned_view(y[start + h : start + 2 * h])
        for j in range(h):
            a, b = low[j], high[j]
            low[j] = a + b
            high[j] = a - b


@njit(cache=True, fastmath=False)
def _flip16_checked(y, start, signs):
    for j in range(LANES):
        if (signs >> np.uint64(j)) & np.uint64(1):
            y[start + j] = -y[start + j]


@njit(cache=True, fastmath=False)
def _flip_and_transform16_checked(y, start, signs):
    _flip16_checked(y, start, signs)
    part = y[start : start + LANES]
    for h in (1, 2, 4, 8):
        stage(part, h)


@njit(cache=True, fastmath=False)
def _transform_rows_checked(y, start, stride):
    for h in (1, 2, 4, 8):
        for i in range(LANES):
            if not i & h:
                for j in range(LANES):
                    low, high = start + i * stride + j, start + (i + h) * stride + j
                    a, b = y[low], y[high]
                    y[low] = a + b
                    y[high] = a - b


@njit(cache=True, fastmath=False)
def _transform32_checked(y, start):
    for h in (1, 2, 4, 8, 16):
        stage(y[start : start + 32], h)


_IS_RAW = IS_COMPILED and not config.BOUNDSCHECK
flip16 = _flip16_raw if _IS_RAW else _flip16_checked
flip_and_transform16 = _flip_and_transform16_raw if _IS_RAW else _flip_and_transform16_checked
transform32 = _transform32_raw if _IS_RAW else _transform32_checked
transform_rows = _transform_rows_raw if _IS_RAW else _transform_rows_checked


@njit(cache=True, fastmath=False, nogil=True)
def fill_signs(planes, first, count, stream):
    """Write the signs of positions first..first+count-1 and what shares their Philox blocks.

    Parameters
    ----------
    planes : uint32, shape (4, blocks)
        Word w of Philox block ``first // 128 + i`` is written to ``planes[w, i]``.
    first, count : int
    stream : StreamKey
    """
    k0, k1 = stream.low_seed, stream.high_seed
    step, tensor, node = stream.step, stream.tensor, stream.node
    begin = first // SIGNS
    blocks = (first + count - 1) // SIGNS - begin + 1
    p0, p1, p2, p3 = planes[0], planes[1], planes[2], planes[3]
    for i in range(blocks):
        p0[i], p1[i], p2[i], p3[i] = philox4x32(np.uint32(begin + i), step, tensor, node, k0, k1)


@njit(cache=True, fastmath=False, forceinline=True)
def signs_at(planes, place):
    """Return the signs from a place on, up to the next multiple of 32, as uint64; 1 is minus."""
    word = np.uint64(planes[(place >> 5) & 3, place >> 7])
    return word >> np.uint64(place & 31)


@njit(cache=True, fastmath=False)
def flip(y, planes, place):
    """Negate the coordinates of a block whose sign is minus; its first has the sign at `place`."""
    y = unowned_view(y)
    if y.size >= LANES:
        for i in range(0, y.size, LANES):
            flip16(y, i, signs_at(planes, place + i))
    else:
        signs = signs_at(planes, place)
        for i in range(y.size):
            if (signs >> np.uint64(i)) & np.uint64(1):
                y[i] = -y[i]


@njit(cache=True, fastmath=False)
def flip_and_transform(y, planes, place):
    """Negate by signs, then transform a block of a power of two coordinates, in place."""
    y = unowned_view(y)
    size = y.size
    h = 1
    if size >= LANES:
        for i in range(0, size, LANES):
            flip_and_transform16(y, i, signs_at(planes, place + i))
        h = LANES
        while h * LANES <= size:
            for start in range(0, size, h * LANES):
                for j in range(start, start + h, LANES):
                    transform_rows(y, j, h)
            h *= LANES
    else:
        flip(y, planes, place)
    while h < size:
        stage(y, h)
        h *= 2


@njit(cache=True, fastmath=False)
def transform(y):
    """Transform a block of a power of two coordinates, in place."""
    y = unowned_view(y)
    size = y.size
    h = 1
    if size >= LANES:
        for i in range(0, size, LANES):
            flip_and_transform16(y, i, np.uint64(0))
        h = LANES
        while h * LANES <= size:
            for start in range(0, size, h * LANES):
                for j in range(start, start + h, LANES):
                    transform_rows(y, j, h)
            h *= LANES
    while h < size:
        stage(y, h)
        h *= 2

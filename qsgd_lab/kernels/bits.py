"""Bits of a byte string: 64-bit loads and stores at any byte, and the reversal of short words.

Streams are little-endian and LSB-first: bit i of a stream is bit ``i % 8`` of byte ``i // 8``. A 64-bit load
at byte ``i // 8`` shifted right by ``i % 8`` therefore shows at least the 57 bits that follow bit i.

Loads and stores are not checked, so that the caller must know that eight bytes are there; with
``NUMBA_BOUNDSCHECK=1`` they are composed of checked single bytes instead.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

WINDOW_BITS = 57  # bits that one load shows, whatever the position

_BYTE_MASK = np.uint64(0xFF)
_SEVEN = np.int64(7)
_THREE = np.int64(3)


def _pointer(context, builder, signature, args, kind):
    """Return a pointer of LLVM type `kind` to byte args[1] of the uint8 array args[0]."""
    array = context.make_array(signature.args[0])(context, builder, args[0])
    byte = cgutils.gep_inbounds(builder, array.data, args[1])
    return builder.bitcast(byte, kind.as_pointer())


@intrinsic
def _load64_raw(typing_context, array, offset):
    """Load eight bytes as uint64."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature, args, ir.IntType(64))
        return builder.load(pointer, align=1)

    return types.uint64(array, types.int64), codegen


@intrinsic
def _store64_raw(typing_context, array, offset, value):
    """Store a uint64 as eight bytes."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature, args, ir.IntType(64))
        builder.store(args[2], pointer, align=1)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), codegen


@intrinsic
def _store32_raw(typing_context, array, offset, value):
    """Store the low half of a uint64 as four bytes."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature, args, ir.IntType(32))
        builder.store(builder.trunc(args[2], ir.IntType(32)), pointer, align=1)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), codegen


@intrinsic
def _nonzero64_raw(typing_context, array, offset):
    """Return a mask of the non-zero ones among 64 integers of an array, from element `offset` on."""
    width = array.dtype.bitwidth

    def codegen(context, builder, signature, args):
        vector = ir.VectorType(ir.IntType(width), 64)
        loaded = builder.load(_pointer(context, builder, signature, args, vector), align=1)
        flags = builder.icmp_unsigned("!=", loaded, ir.Constant(vector, None))
        return builder.bitcast(flags, ir.IntType(64))

    return types.uint64(array, types.int64), codegen


@intrinsic
def _at_least64_raw(typing_context, array, offset, threshold):
    """Return a mask of those of 64 unsigned integers, from element `offset` on, that reach a uint64."""
    element = ir.IntType(array.dtype.bitwidth)

    def codegen(context, builder, signature, args):
        vector = ir.VectorType(element, 64)
        loaded = builder.load(_pointer(context, builder, signature, args, vector), align=1)
        first = builder.insert_element(
            ir.Constant(vector, ir.Undefined), builder.trunc(args[2], element), ir.IntType(32)(0)
        )
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64)
        all_lanes = builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), lanes)
        return builder.bitcast(builder.icmp_unsigned(">=", loaded, all_lanes), ir.IntType(64))

    return types.uint64(array, types.int64, types.uint64), codegen


@njit(cache=True, fastmath=False)
def _load64_checked(array, offset):
    word = np.uint64(0)
    for i in range(8):
        word |= (np.uint64(array[offset + i]) & _BYTE_MASK) << np.uint64(8 * i)  # int8 would extend its sign
    return word


@njit(cache=True, fastmath=False)
def _store64_checked(array, offset, value):
    for i in range(8):
        array[offset + i] = np.uint8((value >> np.uint64(8 * i)) & _BYTE_MASK)


@njit(cache=True, fastmath=False)
def _store32_checked(array, offset, value):
    for i in range(4):
        array[offset + i] = np.uint8((value >> np.uint64(8 * i)) & _BYTE_MASK)


@njit(cache=True, fastmath=False)
def _nonzero64_checked(array, offset):
    mask = np.uint64(0)
    for i in range(64):
        mask |= np.uint64(array[offset + i] != 0) << np.uint64(i)
    return mask


@njit(cache=True, fastmath=False)
def _at_least64_checked(array, offset, threshold):
    mask = np.uint64(0)
    for i in range(64):
        mask |= np.uint64(np.uint64(array[offset + i]) >= threshold) << np.uint64(i)
    return mask


load64 = _load64_checked if config.BOUNDSCHECK else _load64_raw
store64 = _store64_checked if config.BOUNDSCHECK else _store64_raw
store32 = _store32_checked if config.BOUNDSCHECK else _store32_raw
nonzero64 = _nonzero64_checked if config.BOUNDSCHECK else _nonzero64_raw
at_least64 = _at_least64_checked if config.BOUNDSCHECK else _at_least64_raw


@intrinsic
def trailing_zeros(typing_context, word):
    """Return the number of zeros below the lowest one of a uint64 (64 if there is none)."""

    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), codegen


@intrinsic
def leading_zeros(typing_context, word):
    """Return the number of zeros above the highest one of a uint64 (64 if there is none)."""

    def codegen(context, builder, signature, args):
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), codegen


@intrinsic
def count_ones(typing_context, word):
    """Return the number of ones of a uint64, as uint64."""

    def codegen(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), codegen


@njit(cache=True, fastmath=False, forceinline=True)
def window(stream, position):
    """Return the bits of a uint8 stream that follow bit `position` (int64), at least 57 of them."""
    return load64(stream, position >> _THREE) >> np.uint64(position & _SEVEN)


@njit(cache=True, fastmath=False, forceinline=True)
def reverse64(word):
    """Return a uint64 with its bits in the opposite order."""
    word = ((word >> np.uint64(1)) & np.uint64(0x5555555555555555)) | (
        (word & np.uint64(0x5555555555555555)) << np.uint64(1)
    )
    word = ((word >> np.uint64(2)) & np.uint64(0x3333333333333333)) | (
        (word & np.uint64(0x3333333333333333)) << np.uint64(2)
    )
    word = ((word >> np.uint64(4)) & np.uint64(0x0F0F0F0F0F0F0F0F)) | (
        (word & np.uint64(0x0F0F0F0F0F0F0F0F)) << np.uint64(4)
    )
    word = ((word >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)) | (
        (word & np.uint64(0x00FF00FF00FF00FF)) << np.uint64(8)
    )
    word = ((word >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF)) | (
        (word & np.uint64(0x0000FFFF0000FFFF)) << np.uint64(16)
    )
    return (word >> np.uint64(32)) | (word << np.uint64(32))


@njit(cache=True, fastmath=False, forceinline=True)
def first_bits_reversed(word, count):
    """Return the lowest `count` bits (uint64) of a word as a number that is read highest bit first."""
    if count == np.uint64(0):
        return np.uint64(0)
    return reverse64(word) >> (np.uint64(64) - count)

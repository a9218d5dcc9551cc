"""Bits of a byte string: 64-bit loads and stores at any byte, and the reversal of short words.

Streams are little-endian and LSB-first: bit i of a stream is bit ``i % 8`` of byte ``i // 8``. A 64-bit load
at byte ``i // 8`` shifted right by ``i % 8`` therefore shows at least the 57 bits that follow bit i.

Loads and stores are not checked, so that the caller must know that eight bytes are there; with
``NUMBA_BOUNDSCHECK=1`` they are composed of checked single bytes instead.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from qsgd_lab.kernels.jit import IS_COMPILED, njit

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
        return builder.load(pointer, align=1)  # at any byte; processors load across words at no cost

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
        # One comparison of 64 lanes, whose flags are the mask: with AVX-512 a single instruction for bytes.
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
        # The threshold in all lanes: LLVM's way is to put it into the first and to shuffle that everywhere.
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


# In plain Python, with NUMBA_DISABLE_JIT=1: slices of NumPy check their bounds.
def _load64_python(array, offset):
    return array[offset : offset + 8].view("<u8")[0]


def _store64_python(array, offset, value):
    array[offset : offset + 8].view("<u8")[0] = value


def _store32_python(array, offset, value):
    array[offset : offset + 4].view("<u4")[0] = value & np.uint64(0xFFFFFFFF)


def _nonzero64_python(array, offset):
    return np.packbits(array[offset : offset + 64] != 0, bitorder="little").view("<u8")[0]


def _at_least64_python(array, offset, threshold):
    return np.packbits(array[offset : offset + 64] >= threshold, bitorder="little").view("<u8")[0]


def _choose(raw, checked, python):
    """Return the form of an operation for how kernels run."""
    if not IS_COMPILED:
        return python
    return checked if config.BOUNDSCHECK else raw


load64 = _choose(_load64_raw, _load64_checked, _load64_python)
store64 = _choose(_store64_raw, _store64_checked, _store64_python)
store32 = _choose(_store32_raw, _store32_checked, _store32_python)
nonzero64 = _choose(_nonzero64_raw, _nonzero64_checked, _nonzero64_python)
at_least64 = _choose(_at_least64_raw, _at_least64_checked, _at_least64_python)


@intrinsic
def _trailing_zeros(typing_context, word):
    """Return the number of zeros below the lowest one of a uint64 (64 if there is none)."""

    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), codegen


@intrinsic
def _leading_zeros(typing_context, word):
    """Return the number of zeros above the highest one of a uint64 (64 if there is none)."""

    def codegen(context, builder, signature, args):
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), codegen


@intrinsic
def _count_ones(typing_context, word):
    """Return the number of ones of a uint64, as uint64."""

    def codegen(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), codegen


def _trailing_zeros_python(word):
    return np.uint64((int(word) & -int(word)).bit_length() - 1) if word else np.uint64(64)


def _leading_zeros_python(word):
    return np.uint64(64 - int(word).bit_length())


def _count_ones_python(word):
    return np.uint64(int(word).bit_count())


trailing_zeros = _trailing_zeros if IS_COMPILED else _trailing_zeros_python
leading_zeros = _leading_zeros if IS_COMPILED else _leading_zeros_python
count_ones = _count_ones if IS_COMPILED else _count_ones_python


@njit(cache=True, fastmath=False, forceinline=True)
def window(stream, position):
    """Return the bits of a uint8 stream that follow bit `position` (int64), at least 57 of them."""
    return load64(stream, position >> _THREE) >> np.uint64(position & _SEVEN)


@njit(cache=True, fastmath=False, forceinline=True)
def reverse64(word):
    """Return a uint64 with its bits in the opposite order."""
    # Neighbours are swapped, then pairs, fours, bytes and so on; a GPU's compiler sees its one instruction.
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
    if count == np.uint64(0):  # a shift by 64 is not defined
        return np.uint64(0)
    return reverse64(word) >> (np.uint64(64) - count)

"""The operations of ``cuda.ops_compiled`` in plain Python, for Numba's simulator."""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.cuda.simulator import WARP, _exchange

_MASK = 0xFFFFFFFF


def _word(number):
    return np.uint32(int(number) & _MASK)


def add(a, b):
    """Return a + b modulo 2^32."""
    return _word(int(a) + int(b))


def sub(a, b):
    """Return a - b modulo 2^32."""
    return _word(int(a) - int(b))


def mul(a, b):
    """Return a b modulo 2^32."""
    return _word(int(a) * int(b))


def and_(a, b):
    """Return the bits of both."""
    return _word(int(a) & int(b))


def or_(a, b):
    """Return the bits of either."""
    return _word(int(a) | int(b))


def xor(a, b):
    """Return the bits of one."""
    return _word(int(a) ^ int(b))


def shl(a, count):
    """Return a shifted left by a count below 32."""
    return _word(int(a) << int(count))


def shr(a, count):
    """Return a shifted right by a count below 32."""
    return _word(int(a) >> int(count))


def ashr(a, count):
    """Return a shifted right by a count below 32, its top bit repeated."""
    return _word((int(a) - ((int(a) >> 31) << 32)) >> int(count))


def truncated(x):
    """Return a float32 below 2^31 without its fraction, int32."""
    return np.int32(x)


def bits_of(x):
    """Return the bits of a float32."""
    return np.float32(x).view(np.uint32)


def float_of(word):
    """Return the float32 of bits."""
    return np.uint32(word).view(np.float32)


def least(a, b):
    """Return the smaller float32; of NaN and a number, the number."""
    return np.fmin(np.float32(a), np.float32(b))


def largest(a, b):
    """Return the larger uint32."""
    return max(np.uint32(a), np.uint32(b))


def permuted(a, b, selector):
    """Return four of the eight bytes of b:a, each named by four bits; the highest asks for its sign alone."""
    both, result = int(b) << 32 | int(a), 0
    for i in range(4):
        which = int(selector) >> (4 * i) & 15
        byte = both >> (8 * (which & 7)) & 255
        result |= (255 * (byte >> 7) if which & 8 else byte) << (8 * i)
    return _word(result)


def funnel_left(low, high, count):
    """Return the high word of high:low shifted left by count modulo 32."""
    return _word(((int(high) << 32 | int(low)) << (int(count) & 31)) >> 32)


def funnel_right(low, high, count):
    """Return the low word of high:low shifted right by count modulo 32."""
    return _word((int(high) << 32 | int(low)) >> (int(count) & 31))


def field(word, place, length):
    """Return `length` bits from bit `place` on."""
    return _word(int(word) >> int(place) & ((1 << int(length)) - 1))


def wide_product(a, b):
    """Return (high, low) of the product of two uint32."""
    product = int(a) * int(b)
    return _word(product >> 32), _word(product)


def real(value):
    """Return a float32 as it is, the bits of a float16 (int16) or of a bfloat16 (uint16) as a float32."""
    if isinstance(value, np.int16):
        return np.float32(value.view(np.float16))
    if isinstance(value, np.uint16):
        return np.uint32(int(value) << 16).view(np.float32)
    return value


def shuffled(value, source, clamp):
    """Return lane `source`'s value; the bits 8 to 12 of `clamp` are those of the lane's number that stay."""
    slots, me = _exchange(value)
    kept = int(clamp) >> 8 & 31
    lane = (me % WARP & kept) | (int(source) & 31 & ~kept)
    return slots[me - me % WARP + lane]


def load(array, base, offset):
    """Return array[base + offset]."""
    return array[int(base) + int(offset)]


def load_four(array, base, offset):
    """Return four neighbours."""
    return tuple(array[int(base) + int(offset) + i] for i in range(4))


def load_reals(array, base, offset):
    """Return four neighbours, as `real` makes them."""
    return tuple(real(value) for value in load_four(array, base, offset))


def load_half(array, offset):
    """Return element `offset` of a uint32 array seen as uint16."""
    return np.uint16(int(array[int(offset) // 2]) >> (16 * (int(offset) % 2)) & 0xFFFF)


def store(array, base, offset, value):
    """Set array[base + offset]."""
    array[int(base) + int(offset)] = value


def store_four(array, base, offset, a, b, c, d):
    """Set four neighbours."""
    for i, value in enumerate((a, b, c, d)):
        array[int(base) + int(offset) + i] = value

"""Sixteen states of layout `ranged` at once, for processors with AVX-512: a vector a turn.

A turn gathers the slots' entries, steps all states, loads sixteen words at the position and expands them to
the lanes that ask for one. Its latency is long and its work short: four chunks are decoded in turn.
"""

from __future__ import annotations

import numpy as np
from llvmlite import binding, ir
from numba import config, types
from numba.extending import intrinsic

from qsgd_lab.kernels.cpu.messages.ranged import BLOCK_BITS, LEAST_STATE
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.cpu.wide_vectors import prefer_wide_vectors
from qsgd_lab.kernels.jit import IS_COMPILED, njit

_BITS = np.int64(BLOCK_BITS)
_LEAST = np.uint32(LEAST_STATE)
_LANES = 16


def _has_wide_vectors() -> bool:
    """Return whether the processor that kernels are compiled for has AVX-512."""
    if not IS_COMPILED or config.BOUNDSCHECK:
        return False
    features = config.CPU_FEATURES
    if features is not None:
        return "+avx512f" in features.split(",")
    if config.CPU_NAME not in (None, "host", binding.get_host_cpu_name()):
        return False  # another processor is asked for, of which nothing is known here
    return bool(binding.get_host_cpu_features().get("avx512f", False))


HAS_WIDE_VECTORS = _has_wide_vectors()  #: Cached kernels are keyed by the processor already.

_WORD, _BYTE, _SHORT = ir.IntType(32), ir.IntType(8), ir.IntType(16)
_VECTOR, _MASK = ir.VectorType(_WORD, _LANES), ir.VectorType(ir.IntType(1), _LANES)


def _all_lanes(value):
    return ir.Constant(_VECTOR, [value] * _LANES)


def _function(builder, name, kind):
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


def _element(context, builder, kind, array, offset, vector):
    """Return a pointer to elements of an array from `offset` on, as a vector."""
    source = context.make_array(kind)(context, builder, array)
    return builder.bitcast(builder.gep(source.data, [offset]), vector.as_pointer())


@intrinsic
def decode_turn(typing_context, slots, table, states, row, words, word, symbols, at):
    """Decode sixteen symbols; return how many words they took.

    `slots` (uint32) from element `table` on is the table, `states` (uint32) from `row` on the states, `words`
    (uint16) is read at `word`, sixteen of them, and `symbols` (uint8) written at `at`.
    """

    def codegen(context, builder, signature, args):
        kinds = signature.args
        slots_at = _element(context, builder, kinds[0], args[0], args[1], _WORD)
        states_at = _element(context, builder, kinds[2], args[2], args[3], _VECTOR)
        words_at = _element(context, builder, kinds[4], args[4], args[5], ir.VectorType(_SHORT, _LANES))
        symbols_at = _element(context, builder, kinds[6], args[6], args[7], ir.VectorType(_BYTE, _LANES))
        x = builder.load(states_at, align=4)
        slot = builder.and_(x, _all_lanes(4095))
        gather = _function(
            builder,
            "llvm.x86.avx512.mask.gather.dpi.512",
            ir.FunctionType(_VECTOR, [_VECTOR, _BYTE.as_pointer(), _VECTOR, _MASK, _WORD]),
        )
        every = ir.Constant(_MASK, [1] * _LANES)
        base = builder.bitcast(slots_at, _BYTE.as_pointer())
        entry = builder.call(gather, [_all_lanes(0), base, slot, every, _WORD(4)])
        frequency = builder.and_(entry, _all_lanes(4095))
        offset = builder.and_(builder.lshr(entry, _all_lanes(12)), _all_lanes(4095))
        x = builder.add(builder.mul(frequency, builder.lshr(x, _all_lanes(12))), offset)
        short = builder.icmp_unsigned("<", x, _all_lanes(LEAST_STATE))
        found = builder.zext(builder.load(words_at, align=2), _VECTOR)
        expand = _function(
            builder,
            "llvm.x86.avx512.mask.expand.v16i32",
            ir.FunctionType(_VECTOR, [_VECTOR, _VECTOR, _MASK]),
        )
        spread = builder.call(expand, [found, _all_lanes(0), short])
        filled = builder.or_(builder.shl(x, _all_lanes(16)), spread)
        builder.store(builder.select(short, filled, x), states_at, align=4)
        values = builder.trunc(builder.lshr(entry, _all_lanes(24)), ir.VectorType(_BYTE, _LANES))
        builder.store(values, symbols_at, align=1)
        count = builder.ctpop(builder.bitcast(short, _SHORT))
        return builder.zext(count, ir.IntType(64))

    arguments = (slots, types.int64, states, types.int64, words, types.int64, symbols, types.int64)
    return types.int64(*arguments), codegen


@njit(cache=True, fastmath=False)
def decode_wide(words, word, last_word, classes, slots, states, symbols):
    """Decode the symbols of a chunk with sixteen states; arguments and result as of `decode_symbols`."""
    prefer_wide_vectors()
    symbols, states, words, slots = (
        unowned_view(symbols),
        unowned_view(states),
        unowned_view(words),
        unowned_view(slots),
    )
    for block in range(classes.size):
        table = np.int64(classes[block]) << 12
        first = block << _BITS
        for i in range(first, min(symbols.size, first + 512), 16):
            word += decode_turn(slots, table, states, 0, words, min(word, last_word), symbols, i)
    for state in range(16):
        if states[state] != _LEAST:
            return np.int64(-1)
    return word


@njit(cache=True, fastmath=False)
def decode_four(words, positions, last_words, classes, slots, states, symbols, size):
    """Decode four chunks of `size` symbols, a multiple of 512, in turn.

    Parameters
    ----------
    words : uint16
    positions, last_words : int64[4]
        The first word of each, replaced by the one after the last read or -1, as `decode_symbols` returns.
    classes : uint8
        Of the blocks of all four.
    slots : uint32, flat
    states : uint32[64]
    symbols : uint8[4 size]
    """
    prefer_wide_vectors()
    symbols, states, words = unowned_view(symbols), unowned_view(states), unowned_view(words)
    slots, classes = unowned_view(slots), unowned_view(classes)
    p0, p1, p2, p3 = positions[0], positions[1], positions[2], positions[3]
    e0, e1, e2, e3 = last_words[0], last_words[1], last_words[2], last_words[3]
    blocks = size >> _BITS
    for block in range(blocks):
        t0, t1 = np.int64(classes[block]) << 12, np.int64(classes[blocks + block]) << 12
        t2, t3 = np.int64(classes[2 * blocks + block]) << 12, np.int64(classes[3 * blocks + block]) << 12
        first = block << _BITS
        for i in range(first, first + 512, 16):
            p0 += decode_turn(slots, t0, states, 0, words, min(p0, e0), symbols, i)
            p1 += decode_turn(slots, t1, states, 16, words, min(p1, e1), symbols, size + i)
            p2 += decode_turn(slots, t2, states, 32, words, min(p2, e2), symbols, 2 * size + i)
            p3 += decode_turn(slots, t3, states, 48, words, min(p3, e3), symbols, 3 * size + i)
    positions[0], positions[1], positions[2], positions[3] = p0, p1, p2, p3
    for state in range(64):
        if states[state] != _LEAST:
            positions[state >> 4] = -1

"""What a writer of layout `ranged` counts and chooses: symbols, costs of blocks, and frequencies that fit."""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

from qsgd_lab.kernels.bits import load64
from qsgd_lab.kernels.cpu.messages.ranged import BLOCK_BITS
from qsgd_lab.kernels.cpu.messages.ranged_chunk import fields_to_symbols
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.jit import IS_COMPILED, njit

TOTAL = 4096  # of the frequencies of a table

_BITS = np.int64(BLOCK_BITS)
_BYTE = np.uint64(255)
_EIGHT = np.uint64(8)


@njit(cache=True, fastmath=False, nogil=True)
def fill_slots(frequencies, slots):
    """Write what decoding looks up, of frequencies (uint16[K, 256]) that sum to 4096 each.

    ``slots`` (uint32[4096 K]) is by slot: frequency | slot - start << 12 | byte << 24.
    """
    at = np.int64(0)
    for kind in range(frequencies.shape[0]):
        for value in range(256):
            frequency = np.uint32(frequencies[kind, value])
            entry = np.uint32(value << 24) | frequency
            for _ in range(frequency):
                slots[at] = entry
                entry += np.uint32(TOTAL)
                at += 1


@njit(cache=True, fastmath=False, forceinline=True)
def _count_block(symbols, first, last, table, sums):
    """Count the bytes first..last-1 in `sums` from `table` on: four counts of each, to be added up."""
    whole = first + ((last - first) & ~7)
    for at in range(first, whole, 8):
        word = load64(symbols, at)
        for i in range(8):
            value = np.int64(word >> (_EIGHT * np.uint64(i)) & _BYTE)
            sums[table + ((i & 3) << 8) + value] += np.uint32(1)  # equal neighbours would wait for one count
    for at in range(whole, last):
        sums[table + np.int64(symbols[at])] += np.uint32(1)


@njit(cache=True, fastmath=False, nogil=True)
def count_symbols(symbols, classes, stride, counts):
    """Add to ``counts`` (int64[K, 256]) how often each byte occurs, by the class of its block.

    Of every `stride` blocks one is counted.
    """
    symbols, kinds = unowned_view(symbols), counts.shape[0]
    sums = np.zeros(1024 * kinds, np.uint32)
    for block in range(0, classes.size, stride):
        first, last = block << _BITS, min(symbols.size, (block + 1) << _BITS)
        _count_block(symbols, first, last, np.int64(classes[block]) << 10, sums)
    for kind in range(kinds):
        for value in range(1024):
            counts[kind, value & 255] += np.int64(sums[(kind << 10) + value])


@njit(cache=True, fastmath=False, nogil=True)
def count_levels(levels, field_bits, num_symbols, stride, symbols, counts):
    """Add to ``counts`` (int64[256]) how often each byte occurs among the symbols of levels.

    Of every `stride` blocks one is looked at; ``symbols`` is scratch for one, uint8[512].
    """
    sums, each = np.zeros(1024, np.uint32), (8 // field_bits) << _BITS
    for block in range(0, (num_symbols + 511) >> _BITS, stride):
        size = min(512, num_symbols - (block << _BITS))
        own = symbols[:size]
        fields_to_symbols(levels[block * each : (block + 1) * each], field_bits, own)
        _count_block(own, 0, size, 0, sums)
    for value in range(1024):
        counts[value & 255] += np.int64(sums[value])


@intrinsic
def _add_rows(typing_context, symbols, at, costs, sums):
    """Add the rows of `costs` (uint16[256, 8]) of eight symbols from `at` on to `sums` (uint16[8])."""

    def codegen(context, builder, signature, args):
        kinds, eight = signature.args, ir.VectorType(ir.IntType(16), 8)
        arrays = [context.make_array(kinds[i])(context, builder, args[i]) for i in (0, 2, 3)]
        first = builder.gep(arrays[0].data, [args[1]])
        rows, total = (builder.bitcast(array.data, eight.as_pointer()) for array in arrays[1:])
        parts = []
        for i in range(8):
            symbol = builder.load(builder.gep(first, [ir.IntType(64)(i)]))
            row = builder.gep(rows, [builder.zext(symbol, ir.IntType(64))])
            parts.append(builder.load(row, align=2))
        parts.append(builder.load(total, align=2))
        while len(parts) > 1:  # pairs of sums, so that none waits for all before it
            parts = [
                *(builder.add(*parts[i : i + 2]) for i in range(0, len(parts) - 1, 2)),
                *parts[len(parts) & ~1 :],
            ]
        builder.store(parts[0], total, align=2)
        return context.get_dummy_value()

    return types.void(symbols, types.int64, costs, sums), codegen


@njit(cache=True, fastmath=False)
def _add_rows_one_by_one(symbols, at, costs, sums):
    for i in range(at, at + 8):
        for kind in range(8):
            sums[kind] += costs[np.int64(symbols[i]), kind]


add_rows = _add_rows if IS_COMPILED and not config.BOUNDSCHECK else _add_rows_one_by_one


@njit(cache=True, fastmath=False, nogil=True)
def block_costs(symbols, costs, stride, totals):
    """Write what the symbols of each block cost under each of eight tables.

    Of every `stride` words of eight symbols one is looked at, and of a message's last word fewer than eight
    none.

    Parameters
    ----------
    symbols : uint8
    costs : uint16[256, 8]
        At most 511, so that a sum of 128 fits 16 bits.
    stride : int
    totals : uint32[blocks, 8]
    """
    partial = np.zeros(8, np.uint16)
    for block in range(totals.shape[0]):
        first, last = block << _BITS, min(symbols.size, (block + 1) << _BITS)
        for kind in range(8):
            totals[block, kind] = 0
        for at in range(first, last, 128):
            for word in range(at, min(last, at + 128) - 7, 8 * stride):
                add_rows(symbols, word, costs, partial)
            for kind in range(8):
                totals[block, kind] += np.uint32(partial[kind])
                partial[kind] = 0


@njit(cache=True, fastmath=False)
def sort_down(keys, order):
    """Sort both arrays by keys (float64), the largest first, and among equals by `order` (int64)."""
    for gap in (121, 40, 13, 4, 1):  # Shell's method: at most 256 keys
        for i in range(gap, keys.size):
            key, number, j = keys[i], order[i], i
            while j >= gap and (keys[j - gap] < key or (keys[j - gap] == key and order[j - gap] < number)):
                keys[j], order[j] = keys[j - gap], order[j - gap]
                j -= gap
            keys[j], order[j] = key, number


@njit(cache=True, fastmath=False, nogil=True)
def round_shares(weights, whole):
    """Write integers from 1 to 4095 that sum to 4096 and are near the shares of two weights or more.

    What is over or missing after rounding goes where it costs the fewest bits.

    Parameters
    ----------
    weights : float64
    whole : int64
    """
    count, total, excess = weights.size, 0.0, -TOTAL
    for i in range(count):
        total += max(weights[i], 1e-9)  # of nothing counted, all the same
    for i in range(count):
        share = max(weights[i], 1e-9) * (TOTAL / total)
        whole[i] = min(max(np.int64(np.rint(share)), 1), TOTAL - 1)
        excess += whole[i]
    gains, order = np.empty(count, np.float64), np.empty(count, np.int64)
    while excess != 0:
        step, possible = np.int64(-1 if excess > 0 else 1), 0
        for i in range(count):
            order[i], gains[i], after = i, -np.inf, whole[i] + step
            if 1 <= after <= TOTAL - 1:
                gains[i] = weights[i] * math.log2(after / whole[i])
                possible += 1
        sort_down(gains, order)
        for i in range(max(1, min(abs(excess), count // 2, possible))):
            whole[order[i]] += step
            excess += step


@njit(cache=True, fastmath=False, nogil=True)
def fit_frequencies(counts, escape, exception_bits, numbers, table):
    """Write the frequencies under which bytes of these counts take about the fewest bits.

    The rarest bytes become exceptions where their entries in the table would cost more. The escape always has
    a frequency, so that bytes that were not counted can be sent.

    Parameters
    ----------
    counts : int64[256]
        That of the escape is of the exceptions known.
    escape : int
    exception_bits : int
        Of an exception, beside its symbol.
    numbers : int64
        How many bytes may have a frequency, ascending, among which the best number is taken.
    table : uint16[256]
    """
    keys, order, count, total = np.empty(256, np.float64), np.empty(256, np.int64), 0, 0.0
    for value in range(256):
        table[value] = 0
        total += counts[value]
        if counts[value] and value != escape:
            keys[count], order[count] = counts[value], value
            count += 1
    if count == 0:  # one value beside the escape, since 4095 is the most
        keys[0], order[0], count = counts[0], 0, 1
    sort_down(keys[:count], order[:count])
    total, best, kept = max(total, 1.0), np.inf, 0
    # The sum of log2(4096 / share) is a sum of logarithms of shares, at least 1, before they are scaled.
    shares, logs, inside, at = 0.0, 0.0, 0.0, 0
    for number in numbers:
        number = min(number, count)
        while at < number:
            share = max(keys[at] * (TOTAL / total), 1.0)
            shares, logs, inside = shares + share, logs + keys[at] * math.log2(share), inside + keys[at]
            at += 1
        outside = total - inside
        share = max(outside * (TOTAL / total), 1.0)
        bits = total * math.log2(shares + share) - logs - outside * math.log2(share)
        bits += outside * exception_bits + 12 * (number + 1)
        if bits < best:
            best, kept = bits, number
    weights, whole, outside = (
        np.empty(kept + 1, np.float64),
        np.empty(kept + 1, np.int64),
        1.0 * counts[escape],
    )
    for i in range(count):
        if i < kept:
            weights[i] = keys[i]
        else:
            outside += keys[i]
    weights[kept] = outside
    round_shares(weights, whole)
    for i in range(kept):
        table[order[i]] = np.uint16(whole[i])
    table[escape] = np.uint16(whole[kept])

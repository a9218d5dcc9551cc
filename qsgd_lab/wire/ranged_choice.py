"""How a writer of layout `ranged` chooses: chunks, shifts, classes and tables. A reader asks for none of it.

Real gradients are a mixture: buckets differ in their law. Blocks of 512 symbols are therefore put into up to
eight classes with a table each, first by what they cost under one table, then each to its cheapest table.
Counts may be of a sample, since a byte that no table knows is an exception, not an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.threads import run_ranges, threads_in_use
from qsgd_lab.wire.ranged import (
    BLOCK,
    TOTAL,
    RangedCode,
    Sizes,
    chunk_range,
    escape_byte,
    sizes_of,
    symbols_of,
)

EFFORTS = (0, 1, 2)  #: One table; eight, of samples; eight, of everything.
_LARGE = 1 << 16  # coordinates from which sixteen states cost little, and classes can pay
_SAMPLE = 1 << 16  # levels beyond 127 that are looked at for a class's shift
_PIECE = 1 << 15  # symbols that a thread looks at at a time: a multiple of what steps skip, in blocks
_COST_UNIT = 32  # of a bit, in costs of 16 bits
_MOST_COST = 511
#: How many bytes may have a frequency, among which the best number is taken.
_KEPT = np.array(
    [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 112, 128, 160, 192, 256], np.int64
)


def choose(levels: NDArray[Any], num_levels: int, effort: int) -> RangedCode:
    """Return how to write levels.

    Parameters
    ----------
    levels : int8 or int16, shape (n,)
    num_levels : int
        s.
    effort : {0, 1, 2}

    Raises
    ------
    ValueError
        If the effort is none of these.
    """
    if effort not in EFFORTS:
        raise ValueError(f"effort is {effort!r}; it must be 0, 1 or 2")
    states = 16 if levels.size >= _LARGE else 1
    sizes = sizes_of(levels.size, num_levels, chunk_range(num_levels, states)[1], states)
    if num_levels > 127:
        return _choose_wide(levels, sizes, effort)
    escape = escape_byte(sizes.form.field_bits)
    step = 1 if effort == 2 or levels.size < _LARGE else 4
    table = fit_table(_counts_of_levels(levels, sizes, step), escape, 8)
    single = _code(sizes, [table], [0], np.zeros(sizes.num_blocks, np.uint8))
    if effort == 0 or sizes.num_blocks < 64:
        return single
    symbols = _symbols(levels, sizes)
    return _shorter(single, _classes(symbols, sizes, table, escape, step), symbols, escape)


def _code(sizes: Sizes, tables: Any, shifts: Any, classes: NDArray[np.uint8]) -> RangedCode:
    form = sizes.form
    arrays = np.array(shifts, np.uint8), np.array(tables, np.uint16), classes
    return RangedCode(form.chunk_bits, form.num_states, *arrays)


def _symbols(levels: NDArray[Any], sizes: Sizes) -> NDArray[np.uint8]:
    """Return the symbols of all chunks, one after another; those of full chunks have no padding."""
    from qsgd_lab.kernels.cpu.messages.ranged_chunk import fields_to_symbols

    symbols = np.empty(symbols_of(levels.size, sizes.form), np.uint8)
    width = sizes.form.field_bits
    each = 8 // width * _PIECE  # levels

    def write(first: int, last: int) -> None:
        part, own = levels[first * each : last * each], symbols[first * _PIECE : last * _PIECE]
        fields_to_symbols(part, width, own)

    run_ranges(write, -(-symbols.size // _PIECE), threads_in_use())
    return symbols


def _counts_of_levels(levels: NDArray[Any], sizes: Sizes, step: int) -> NDArray[np.int64]:
    """Return how often each byte occurs, int64[256], in every `step`-th block; only these become symbols."""
    from qsgd_lab.kernels.cpu.messages.ranged_tables import count_levels

    total, width = symbols_of(levels.size, sizes.form), sizes.form.field_bits
    each = 8 // width * _PIECE  # levels

    def count(first: int, last: int) -> NDArray[np.int64]:
        counts, scratch = np.zeros(256, np.int64), np.empty(BLOCK, np.uint8)
        here = min(last * _PIECE, total) - first * _PIECE
        count_levels(levels[first * each : last * each], width, here, step, scratch, counts)
        return counts

    return _summed(run_ranges(count, -(-total // _PIECE), threads_in_use()))


def _counts(
    symbols: NDArray[np.uint8], classes: NDArray[np.uint8], step: int, kinds: int
) -> NDArray[np.int64]:
    """Return how often each byte occurs, int64[K, 256], by class, in every `step`-th block."""
    from qsgd_lab.kernels.cpu.messages.ranged_tables import count_symbols

    blocks = _PIECE // BLOCK

    def count(first: int, last: int) -> NDArray[np.int64]:
        counts = np.zeros((kinds, 256), np.int64)
        own = classes[first * blocks : last * blocks]
        count_symbols(symbols[first * _PIECE : last * _PIECE], own, step, counts)
        return counts

    return _summed(run_ranges(count, -(-symbols.size // _PIECE), threads_in_use()))


def _summed(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    total: NDArray[np.int64] = np.sum(parts, axis=0, dtype=np.int64)
    return total


def _classes(
    symbols: NDArray[np.uint8], sizes: Sizes, table: NDArray[np.uint16], escape: int, step: int
) -> RangedCode:
    """Return eight tables: by quantiles of what blocks cost under one, then two rounds of the cheapest."""
    start = np.repeat(bit_costs(table, escape)[:, None], 8, axis=1)
    cost = _block_costs(symbols, sizes.num_blocks, start, step)[:, 0]
    cuts = np.quantile(cost, np.arange(1, 8) / 8)
    classes = np.searchsorted(cuts, cost).astype(np.uint8)
    for _ in range(2):
        tables = [fit_table(row, escape, 8) for row in _counts(symbols, classes, step, 8)]
        costs = np.stack([bit_costs(row, escape) for row in tables], axis=1)
        classes = _block_costs(symbols, sizes.num_blocks, costs, step).argmin(axis=1).astype(np.uint8)
    tables = [fit_table(row, escape, 8) for row in _counts(symbols, classes, step, 8)]
    return _code(sizes, tables, [0] * 8, classes)


def _block_costs(
    symbols: NDArray[np.uint8], num_blocks: int, costs: NDArray[np.int64], step: int
) -> NDArray[np.uint32]:
    """Return what each block costs under eight tables, uint32[blocks, 8], of every `step`-th word."""
    from qsgd_lab.kernels.cpu.messages.ranged_tables import block_costs

    totals = np.empty((num_blocks, 8), np.uint32)
    cut, blocks = np.minimum(costs, _MOST_COST).astype(np.uint16), _PIECE // BLOCK

    def add(first: int, last: int) -> None:
        own = totals[first * blocks : last * blocks]
        block_costs(symbols[first * _PIECE : last * _PIECE], cut, step, own)

    run_ranges(add, -(-symbols.size // _PIECE), threads_in_use())
    return totals


def bit_costs(table: NDArray[np.uint16], escape: int, exception_bits: int = 8) -> NDArray[np.int64]:
    """Return what each byte costs under a table, int64[256], in 1/32 bit."""
    frequency = table.astype(np.float64)
    bits = np.log2(TOTAL / np.where(frequency > 0, frequency, max(frequency[escape], 0.5)))
    costs: NDArray[np.int64] = np.rint(_COST_UNIT * (bits + exception_bits * (frequency == 0))).astype(
        np.int64
    )
    return costs


def _shorter(single: RangedCode, classed: RangedCode, symbols: NDArray[np.uint8], escape: int) -> RangedCode:
    """Return the code whose tables, classes and symbols take fewer bits."""

    def bits(code: RangedCode) -> float:
        counts = _counts(symbols, code.classes, 1 if symbols.size < _LARGE else 4, len(code.shifts))
        costs = np.stack([bit_costs(row, escape) for row in code.frequencies])
        scale = symbols.size / max(float(counts.sum()), 1.0)
        return 8 * code.side_bytes + scale * float((counts * costs).sum()) / _COST_UNIT

    return classed if bits(classed) < bits(single) else single


def fit_table(counts: NDArray[np.int64], escape: int, exception_bits: int) -> NDArray[np.uint16]:
    """Return the frequencies, uint16[256], under which bytes of these counts take about the fewest bits.

    The rarest bytes become exceptions where their entries in the table would cost more. The escape always has
    a frequency, so that bytes that were not counted can be sent.

    Parameters
    ----------
    counts : int64, shape (256,)
    escape : int
        Its own count is that of the exceptions known.
    exception_bits : int
        Of an exception, beside its symbol.
    """
    from qsgd_lab.kernels.cpu.messages.ranged_tables import fit_frequencies

    table = np.empty(256, np.uint16)
    fit_frequencies(counts, escape, exception_bits, _KEPT, table)
    return table


def whole_frequencies(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return integers from 1 to 4095 that sum to 4096 and are near the shares of two weights or more."""
    from qsgd_lab.kernels.cpu.messages.ranged_tables import round_shares

    whole = np.empty(weights.size, np.int64)
    round_shares(weights, whole)
    return whole


def _choose_wide(levels: NDArray[np.int16], sizes: Sizes, effort: int) -> RangedCode:
    """Return the code of levels beyond 127: classes by quantiles of magnitude, a shift for each."""
    starts = np.arange(0, levels.size, BLOCK)
    kinds = 1 if effort == 0 or levels.size < _LARGE else 8
    classes = np.zeros(len(starts), np.uint8)
    if kinds == 8:
        energy = np.add.reduceat(np.abs(levels.astype(np.int32)), starts)
        classes = np.searchsorted(np.quantile(energy, np.arange(1, 8) / 8), energy).astype(np.uint8)
    tables, shifts = np.empty((kinds, 256), np.uint16), np.zeros(kinds, np.uint8)
    for kind in range(kinds):
        blocks = np.flatnonzero(classes == kind)
        step = 1 if effort == 2 else max(1, len(blocks) * BLOCK // _SAMPLE)
        parts = [levels[starts[block] : starts[block] + BLOCK] for block in blocks[::step]]
        shifts[kind], tables[kind] = _fit_shift(np.concatenate(parts) if parts else levels[:0])
    return _code(sizes, tables, shifts, classes)


def _fit_shift(levels: NDArray[np.int16]) -> tuple[int, NDArray[np.uint16]]:
    """Return the shift under which levels take the fewest bits, and its table."""
    escape = escape_byte(8)
    best, found = np.inf, (0, np.zeros(256, np.int64))
    for shift in range(9):
        high = levels >> shift
        inside = np.abs(high) <= 127
        counts = np.bincount((high[inside] & 255).astype(np.int64), minlength=256)
        outside = levels.size - int(counts.sum())
        counts[escape] += outside
        share = counts[counts > 0]
        bits = float(share @ np.log2(levels.size / share)) + levels.size * shift + 16 * outside
        bits += 12 * len(share)
        if bits < best:
            best, found = bits, (shift, counts)
    return found[0], fit_table(found[1], escape, 16)


def estimated_bytes(code: RangedCode, levels: NDArray[Any], num_levels: int) -> float:
    """Return about how many bytes chunks, tables and classes take, without coding.

    Parameters
    ----------
    code : RangedCode
        Of s <= 127.
    levels : int8, shape (n,)
    num_levels : int
        s.

    Notes
    -----
    The sum of log2(4096 / frequency), and what states and padding add to a chunk: 64 bytes of sixteen states
    that hold about 16 bytes of symbols, and on average 1.5 bytes up to a whole word. Within about a byte a
    chunk: 0.05 % of messages of 2^20 coordinates and more with a bit or more for four of them.
    """
    sizes = sizes_of(levels.size, num_levels, code.chunk_bits, code.num_states)
    counts = _counts(_symbols(levels, sizes), code.classes, 1, len(code.shifts))
    escape = escape_byte(sizes.form.field_bits)
    frequencies = code.frequencies.astype(np.float64)
    coded = np.where(frequencies > 0, frequencies, frequencies[:, escape : escape + 1])
    bits = float((counts * (np.log2(TOTAL / coded) + 8 * (frequencies == 0))).sum())
    held = code.num_states  # bytes of symbols that the states hold, unless the chunk has fewer
    last = levels.size - (max(sizes.num_chunks - 1, 0) << code.chunk_bits)
    few = max(0.0, held - bits / 8 * last / max(levels.size, 1))
    around = 3 * code.num_states + 1.5
    return bits / 8 + around * sizes.num_chunks + few + code.side_bytes + 2 * sizes.num_chunks

"""Chunks of layout `ranged` between levels and bytes, on one thread or several.

The coding loops are in `qsgd_lab.kernels.cpu.messages`: `ranged`, `ranged_vector`, `ranged_chunk`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.errors import MessageError
from qsgd_lab.kernels.arguments import RangedFormat
from qsgd_lab.quantization import level_dtype
from qsgd_lab.threads import run_ranges, threads_in_use
from qsgd_lab.wire.checks import Bytes
from qsgd_lab.wire.ranged import BLOCK, RangedCode, Sizes, kernel_tables, parse_side, symbols_of

_ERRORS = {
    1: ("code", "a state of chunk {} does not begin at 2^16 or above, or does not end at 2^16"),
    2: ("length", "the exceptions of chunk {} do not end at its end"),
    3: ("canonical", "an exception of chunk {} has a frequency in its table"),
    4: ("canonical", "the low bits of an exception of chunk {} differ"),
    5: ("code", "a level of chunk {} is outside -{}..{}"),
    6: ("zeros", "bits of chunk {} that mean nothing are not zero"),
    7: ("parameters", "a table lacks the escape, which chunk {} needs"),
}


_PIECE = 1 << 18  # levels that a thread looks at at a time, which stay in its cache


def are_inside(levels: NDArray[Any], num_levels: int) -> bool:
    """Return whether all levels are in -s..s."""

    def inside(first: int, last: int) -> bool:
        parts = (levels[i * _PIECE : (i + 1) * _PIECE] for i in range(first, last))
        return all(part.min() >= -num_levels and part.max() <= num_levels for part in parts)

    return all(run_ranges(inside, -(-levels.size // _PIECE), threads_in_use()))


def write_levels(
    levels: NDArray[Any], code: RangedCode, sizes: Sizes
) -> tuple[NDArray[np.uint16], list[Bytes]]:
    """Return the lengths of the chunks in words of four bytes, and their bytes, in a part for each thread.

    Raises
    ------
    MessageError
        If a table lacks the escape where it is needed.
    """
    from qsgd_lab.kernels.cpu.messages.ranged_chunk import SPARE, WriteBuffer, WriteScratch, write_chunks

    form, chunks = sizes.form, sizes.num_chunks
    symbols = symbols_of(min(1 << form.chunk_bits, max(levels.size, 1)), form)
    # Low bits, states, a word of 12 bits for each symbol at most, and exceptions: the most of a chunk.
    wide = 2 if form.num_levels > 127 else 0
    most = symbols * (wide // 2 + 2 + max(wide, 1)) + 4 * form.num_states + 16
    together = _together(levels.size, form)
    lengths = np.empty(chunks, np.uint16)
    tables = kernel_tables(code.shifts, code.frequencies, form)

    def write(first: int, last: int) -> tuple[Bytes, int, int]:
        first, last = first * together, min(last * together, chunks)
        buffer = np.empty(-(-(most * max(last - first, 1) + 8) // 2), np.uint16)
        scratch = WriteScratch(
            np.empty(together * symbols, np.uint8),
            np.empty(together * form.num_states, np.uint32),
            np.empty(together * (symbols + SPARE), np.uint16),
            np.empty(together * -(-symbols // BLOCK), np.uint8),
        )
        own = levels[first << form.chunk_bits : last << form.chunk_bits]
        classes = code.classes[sizes.first_block(first) :]
        stream = WriteBuffer(buffer.view(np.uint8), buffer)
        used, outcome, chunk = write_chunks(own, form, tables, classes, scratch, stream, lengths[first:last])
        return stream.octets[:used], int(outcome), first + int(chunk)

    written = run_ranges(write, -(-chunks // together), threads_in_use())
    for _, outcome, chunk in written:
        raise_unless_good(outcome, chunk, form.num_levels)
    return lengths, [part for part, *_ in written]


def _together(count: int, form: RangedFormat) -> int:
    """Return how many chunks are coded in turn."""
    return 4 if form.num_states == 16 and count >= 4 << form.chunk_bits else 1


def read(
    options: Any, side: Bytes, body: Bytes, count: int, start: int, stop: int, out: Any = None
) -> tuple[NDArray[Any], RangedCode]:
    """Return levels start..stop-1 of `count`, and the code; raises a MessageError as `read_levels` does.

    All levels are read into `out`, if it is given.
    """
    sizes, bits = options.sizes(count), options.chunk_bits
    code, starts = parse_side(side, options.num_tables, sizes)
    if start == stop:
        return np.empty(0, level_dtype(options.num_levels)), code
    first, end = start >> bits, min(count, -(-stop >> bits << bits))
    low = first << bits
    whole = out if end - low == count else None
    levels = read_levels(body, starts, code, sizes, first, end - low, whole)
    return levels if whole is not None else levels[start - low : stop - low], code


def read_levels(
    body: Bytes,
    starts: NDArray[np.int64],
    code: RangedCode,
    sizes: Sizes,
    first: int,
    count: int,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return `count` levels from the beginning of chunk `first` on, which end where a chunk does.

    Raises
    ------
    MessageError
        If a chunk is not what a writer writes.
    """
    from qsgd_lab.kernels.cpu.messages.ranged_read import ReadScratch, read_chunks

    form, bits = sizes.form, sizes.form.chunk_bits
    tables = kernel_tables(code.shifts, code.frequencies, form)
    levels = np.empty(count, level_dtype(form.num_levels)) if out is None else out
    together, chunks = _together(count, form), -(-count >> bits)
    symbols = symbols_of(min(count, 1 << bits), form)
    words = np.require(body[: body.size & ~1].view(np.uint16), requirements="A")
    words.flags.writeable = False

    def read(low: int, high: int) -> tuple[int, int]:
        low, high = low * together, min(high * together, chunks)
        scratch = ReadScratch(
            np.empty(together * symbols, np.uint8),
            np.empty(together * form.num_states, np.uint32),
            np.empty(symbols if form.num_levels > 127 else 1, np.int16),
        )
        classes, own = code.classes[sizes.first_block(first + low) :], levels[low << bits : high << bits]
        outcome, chunk = read_chunks(body, words, starts, first + low, form, tables, classes, scratch, own)
        return int(outcome), int(chunk)

    for outcome, chunk in run_ranges(read, -(-chunks // together), threads_in_use()):
        raise_unless_good(outcome, chunk, form.num_levels)
    return levels


def raise_unless_good(outcome: int, chunk: int, num_levels: int) -> None:
    """Raise a `MessageError` that says what a kernel found wrong with a chunk."""
    if outcome:
        reason, text = _ERRORS[int(outcome)]
        raise MessageError(text.format(chunk, num_levels, num_levels), reason)

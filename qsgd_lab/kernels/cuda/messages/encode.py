"""Levels to payload on the GPU: a block a chunk, into slots of the longest length, then moved together.

Each thread takes neighbouring levels: it adds up their bits, a running sum over the block says where they
begin, and it writes them as 32-bit words into the chunk's words in shared memory, by OR, since neighbours
share a word. What a chunk is, and so its bytes, does not depend on the number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import cuda

from qsgd_lab.kernels.arguments import ChunkDirectory
from qsgd_lab.kernels.constants import CODE_MASK, DENSE, FIXED, LENGTH_SHIFT, SPARSE
from qsgd_lab.kernels.cuda.device import address_of
from qsgd_lab.kernels.cuda.launch import block_per_item
from qsgd_lab.kernels.cuda.messages.checksum import warp_checksum
from qsgd_lab.kernels.cuda.messages.dense_encode import MOST_LEVELS as MOST_DENSE_LEVELS
from qsgd_lab.kernels.cuda.messages.dense_encode import SLOT_WORDS, dense_launch, encode_dense_chunks
from qsgd_lab.kernels.cuda.messages.scan import MAX_WARPS, largest_before, scan_lengths, sum_before
from qsgd_lab.kernels.cuda.norms import LANES

MOST_WORDS = 4096  # of a chunk: at most 32 bits a level, and all in shared memory
MOST_LEVELS = 4096
ALIGNED = 16  # bytes: where whole chunks are read and written
#: A thread's bits and its number of non-zeros in one int32: at most 2^17 and 2^12 of a chunk.
COUNT_SHIFT = 18
BITS_MASK = (1 << COUNT_SHIFT) - 1

_ONE = np.uint64(1)
_WORD = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


@cuda.jit(device=True, cache=False, fastmath=False)
def chunk_length(num_coordinates, low, chunk_size):
    """Return the number of coordinates of the chunk that begins at coordinate `low`."""
    left = num_coordinates - low
    return left if left < chunk_size else np.int64(chunk_size)


class EncodeForm(NamedTuple):
    """How levels are written: layout, s, and bits of a level in the fixed layout (uint64)."""

    layout: int
    num_levels: int
    width: np.uint64


@cuda.jit(device=True, cache=False, fastmath=False)
def span_of(size):
    """Return (first, last): the thread's neighbouring ones among `size` coordinates are first..last-1."""
    share = (size + cuda.blockDim.x - 1) // cuda.blockDim.x  # neighbours, so that a thread's bits are one run
    first, last = cuda.threadIdx.x * share, (cuda.threadIdx.x + 1) * share
    return first if first < size else size, last if last < size else size


@cuda.jit(device=True, cache=False, fastmath=False)
def level_entry(level, scheme, single):
    """Return the table entry of a level (int64): its bits, and from bit 58 their number; 0 beyond s."""
    form = EncodeForm(*scheme)
    layout, num_levels, width = form.layout, form.num_levels, form.width
    if level < -num_levels or level > num_levels:  # it would index the tables out of bounds
        return np.uint64(0)
    if layout == FIXED:
        return (np.uint64(level) & ((_ONE << width) - _ONE)) | (width << LENGTH_SHIFT)
    return single[level + num_levels]


@cuda.jit(device=True, cache=False, fastmath=False)
def span_bits(levels, low, first, last, previous, scheme, single, gaps):
    """Return the bits of levels first..last-1 of a chunk, their number of non-zeros, and if all are legal."""
    form = EncodeForm(*scheme)
    layout, num_levels = form.layout, form.num_levels
    bits = np.int32(0)
    count = np.int32(0)
    legal = True  # judged, not branched on: a level beyond s counts no bits, and the message is dropped
    for i in range(first, last):
        level = np.int64(levels[low + i])
        legal = legal and -num_levels <= level <= num_levels
        if layout != SPARSE or level != 0:
            bits += np.int32(level_entry(level, scheme, single) >> LENGTH_SHIFT)
        if layout == SPARSE and level != 0:
            bits += np.int32(gaps[i - previous] >> LENGTH_SHIFT)
            previous = i
            count += np.int32(1)
    return bits, count, legal


@cuda.jit(device=True, cache=False, fastmath=False)
def put_entry(words, word, filled, pending, entry):
    """Append an entry of at most 32 bits to `pending`, whose `filled` are below 32; return the new state."""
    pending |= (entry & CODE_MASK) << filled
    filled += entry >> LENGTH_SHIFT
    if filled >= _WORD:
        # By OR, since the thread before may own the word's first bits; the order changes nothing.
        cuda.atomic.or_(words, word, np.uint32(pending & _LOW))
        word += 1
        pending >>= _WORD
        filled -= _WORD
    return word, filled, pending


@cuda.jit(device=True, cache=False, fastmath=False)
def put_span(levels, low, first, last, previous, start, scheme, single, gaps, words):
    """Write levels first..last-1 of a chunk into its words, from bit `start` on."""
    layout = scheme[0]
    word, filled, pending = np.int64(start) >> 5, np.uint64(start & 31), np.uint64(0)
    for i in range(first, last):
        level = np.int64(levels[low + i])
        if layout == SPARSE and level != 0:
            word, filled, pending = put_entry(words, word, filled, pending, gaps[i - previous])
            previous = i
        if layout != SPARSE or level != 0:
            entry = level_entry(level, scheme, single)
            word, filled, pending = put_entry(words, word, filled, pending, entry)
    if filled > np.uint64(0):  # the rest of the span's last word, shared with the next thread's first
        cuda.atomic.or_(words, word, np.uint32(pending & _LOW))


@cuda.jit(device=True, cache=False, fastmath=False)
def latest_nonzero(levels, low, first, last):
    """Return the last place among first..last-1 of a chunk whose level is not 0, or -1, int32."""
    latest = np.int32(-1)
    for i in range(first, last):
        if levels[low + i] != 0:
            latest = np.int32(i)
    return latest


@cuda.jit(cache=True, fastmath=False)
def encode_chunks(levels, chunk_size, scheme, tables, slot_words, checksum_tables, slots, directory, flaws):
    """Write chunks into slots.

    Parameters
    ----------
    levels : int8[n] or int16[n]
    chunk_size : int
    scheme : (layout, s, bits of a level in the fixed layout as uint64)
    tables : (uint64 entries by level + s, uint64 entries by distance)
    slot_words : int
        Words of a slot, enough for the longest chunk, at most 4096.
    checksum_tables : (uint32[4, 256], uint32[32])
        Of words.
    slots : uint32[C * slot_words]
    directory : (int32[C], uint32[C], int32[C])
        Lengths in words, checksums and numbers of non-zeros: written.
    flaws : int64[1]
        Set to 1 if a level is outside -s..s.
    """
    words = cuda.shared.array(MOST_WORDS, np.uint32)
    totals = cuda.shared.array(MAX_WARPS, np.int64)
    single, gaps = tables
    lists = ChunkDirectory(*directory)
    num_words, checksums, num_nonzeros = lists.num_words, lists.checksums, lists.num_nonzeros
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    for i in range(thread, slot_words, threads):
        words[i] = np.uint32(0)
    cuda.syncthreads()
    for chunk in range(cuda.blockIdx.x, num_words.size, cuda.gridDim.x):
        low = np.int64(chunk) * chunk_size
        size = chunk_length(levels.size, low, chunk_size)
        first, last = span_of(size)
        previous = np.int64(-1)
        if scheme[0] == SPARSE:  # a thread's first distance begins at the last non-zero of those before it
            previous = largest_before(np.int64(latest_nonzero(levels, low, first, last)), totals)
        bits, count, legal = span_bits(levels, low, first, last, previous, scheme, single, gaps)
        if not legal:
            flaws[0] = 1
        # Bits and non-zeros in one number, so that one running sum does for both.
        before, total = sum_before(np.int64(bits + (count << COUNT_SHIFT)), totals)
        put_span(levels, low, first, last, previous, before & BITS_MASK, scheme, single, gaps, words)
        cuda.syncthreads()  # all words are written
        length = ((total & BITS_MASK) + 31) >> 5
        checksum = warp_checksum(words, 0, length if thread < LANES else 0, checksum_tables)
        if thread == 0:
            num_words[chunk] = np.int32(length)
            num_nonzeros[chunk] = np.int32(total >> COUNT_SHIFT)
            checksums[chunk] = checksum
        for i in range(thread, length, threads):
            slots[np.int64(chunk) * slot_words + i] = words[i]
        cuda.syncthreads()  # before they are cleared for the next chunk
        for i in range(thread, length, threads):
            words[i] = np.uint32(0)
        cuda.syncthreads()


@cuda.jit(cache=True, fastmath=False)
def gather_chunks(slots, slot_words, starts, words, payload):
    """Move chunks out of their slots to where they belong, a block a chunk.

    Parameters
    ----------
    slots : uint32[C * slot_words]
    starts : int64[C + 1]
        Where chunks begin in the payload, in words.
    words : uint32
        The message.
    payload : int
        Where the payload begins in it, in words.
    """
    for chunk in range(cuda.blockIdx.x, starts.size - 1, cuda.gridDim.x):
        start = starts[chunk]
        # Neighbouring threads move neighbouring words: whole lines of memory are read and written.
        for i in range(cuda.threadIdx.x, starts[chunk + 1] - start, cuda.blockDim.x):
            words[payload + start + i] = slots[np.int64(chunk) * slot_words + i]


def is_dense_and_small(layout, num_levels, chunk_size):
    """Whether whole chunks are those of ``cuda.dense_encode`` and ``cuda.dense_decode``."""
    return layout == DENSE and num_levels <= MOST_DENSE_LEVELS and chunk_size == MOST_LEVELS


def launch_encode(
    context, levels, chunk_size, scheme, tables, slot_words, checksum_tables, slots, directory, ends, entries
):
    """Write chunks into slots, and where they begin in the payload.

    Parameters
    ----------
    context : DeviceContext
    levels, chunk_size, scheme, tables, slot_words, checksum_tables, slots, directory
        As `encode_chunks` takes them.
    ends : Numba int64[C + 2]
        Where chunks begin and the last one ends, in words, and 1 if a level is outside -s..s: written.
    entries : Numba uint64[256] or None
        As ``dense_encode.length_table`` makes them; read only where `is_dense_and_small`.
    """
    chunks = directory[0].size
    starts, flaws = ends[: chunks + 1], ends[chunks + 1 :]  # side by side: the host waits for both at once
    whole = 0  # chunks that a warp each takes
    is_aligned = levels.size > 0 and address_of(levels) % ALIGNED == 0
    if is_dense_and_small(scheme[0], scheme[1], chunk_size) and slot_words <= SLOT_WORDS and is_aligned:
        whole = levels.size // chunk_size
    _, threads = block_per_item(chunks)
    with context.active():
        flaws.copy_to_device(np.zeros(1, np.int64), stream=context.stream)
        if whole:
            launch_dense_encode(
                context, levels, whole, entries, checksum_tables, slot_words, slots, directory, flaws
            )
        if whole < chunks:
            blocks, _ = block_per_item(chunks - whole)
            encode_chunks[blocks, threads, context.stream](
                levels[whole * chunk_size :],
                chunk_size,
                scheme,
                tables,
                slot_words,
                checksum_tables,
                slots[whole * slot_words :],
                tuple(part[whole:] for part in directory),
                flaws,
            )
        scan_lengths[1, threads, context.stream](directory[0], starts)


def launch_dense_encode(
    context, levels, whole, entries, checksum_tables, slot_words, slots, directory, flaws
):
    """Write the first `whole` chunks into their slots; arguments as of `launch_encode`."""
    lists = ChunkDirectory(*directory)
    num_words, checksums = lists.num_words, lists.checksums
    encode_dense_chunks[dense_launch(whole, context.stream)](
        levels[: whole * MOST_LEVELS].view(np.uint32),
        entries,
        checksum_tables,
        slot_words,
        slots,
        num_words[:whole],
        checksums[:whole],
        flaws,
    )


def launch_gather(context, slots, slot_words, starts, words, payload):
    """Move chunks out of their slots into the message; arguments as of `gather_chunks`."""
    blocks, threads = block_per_item(starts.size - 1)
    with context.active():
        gather_chunks[blocks, threads, context.stream](slots, slot_words, starts, words, payload)

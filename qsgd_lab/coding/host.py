"""Coding in host memory: the CPU kernels, or the plain Python of `coding.reference`, and what is around them.

`coding.codec` chooses between this module and its twin `coding.device.codec`. Arguments are checked by the
public functions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.arrays import flat_float32, flat_output, is_torch
from qsgd_lab.coding.header import TAIL_BYTES, check_lists, crc32c, header_bytes
from qsgd_lab.coding.index import WORD_BYTES, Directory, pack_index
from qsgd_lab.coding.layout_choice import payload_bytes as bytes_of_levels
from qsgd_lab.coding.layout_choice import shortest
from qsgd_lab.coding.layouts import chunk_format
from qsgd_lab.coding.message import (
    Frame,
    Message,
    check_total,
    host_bytes,
    is_version_2,
    open_frame,
    raise_unless_good,
    seal,
)
from qsgd_lab.coding.payload import ChunkScheme, lead_bytes, out_of_range, write_levels, write_payload
from qsgd_lab.coding.tables import decode_tables, encode_tables
from qsgd_lab.coding.version2 import add_version_2
from qsgd_lab.errors import MessageError
from qsgd_lab.kernels.arguments import (
    ChunkDirectory,
    ChunkFormat,
    ChunkRange,
    DecodeTables,
    EncodeTables,
    Offsets,
    Quantizer,
    ReadDirectory,
    StreamKey,
)
from qsgd_lab.levels import NORMS
from qsgd_lab.partition import Partition, excerpt
from qsgd_lab.quantization import QuantizedGradient, host_arrays, level_dtype
from qsgd_lab.stream import KernelKey
from qsgd_lab.threads import run_ranges
from qsgd_lab.wire.checks import Limits, check_dead, check_levels_of_dead, writable_scales, writing

IS_DEVICE = False


def encode(
    quantized: QuantizedGradient, code: str, layout: str, chunk_size: int, threads: int | None, backend: str
) -> Message:
    """Return the message of a quantized gradient, as `qsgd_lab.encode` does."""
    levels, norms = host_arrays(quantized)
    with writing():  # the reader's rule, so that nothing is written that it would refuse
        norms, has_dead = writable_scales(norms)
        if has_dead:
            check_levels_of_dead(norms, levels, quantized.partition)
    if layout != "fixed" and "auto" in (code, layout):
        code, layout = shortest(levels, quantized.num_levels, code, layout, chunk_size, threads)
    scheme = ChunkScheme(layout, code, quantized.num_levels, chunk_size)
    lead = lead_bytes(quantized.partition, quantized.shape, scheme)
    write = _write_reference if backend == "reference" else write_levels
    stream, directory = write(levels, scheme, threads, lead)
    return _assemble(stream, directory, norms, scheme, quantized.norm, quantized.partition, quantized.shape)


def _assemble(
    stream: NDArray[np.uint8],
    directory: Directory,
    norms: NDArray[np.float32],
    scheme: ChunkScheme,
    norm: str,
    parts: Partition,
    shape: tuple[int, ...],
) -> Message:
    """Return the message whose payload is in `stream`, after `lead_bytes` and before eight bytes."""
    with writing():
        check_lists(parts.tensor_sizes, shape, parts.num_coordinates)
    index = pack_index(parts, shape, norms, directory)
    header = header_bytes(
        (scheme.layout, scheme.code if scheme.layout != "fixed" else "none", norm),
        (scheme.num_levels, scheme.chunk_size, stream.size, parts.num_coordinates),
        parts.bucket_size,
        (len(parts.tensor_sizes), len(shape)),
        crc32c(index),
    )
    return seal(header, index, stream)


def _write_reference(
    levels: NDArray[Any], scheme: ChunkScheme, threads: int | None, lead: int
) -> tuple[NDArray[np.uint8], Directory]:
    """Return the payload after `lead` bytes and before eight, and the directory."""
    from qsgd_lab.coding.reference import encode_chunk

    del threads  # one is enough for what is read, not timed
    num_levels, size = scheme.num_levels, scheme.chunk_size
    if levels.size and max(int(levels.max()), -int(levels.min())) > num_levels:
        raise out_of_range(num_levels)
    parts = [levels[start : start + size] for start in range(0, levels.size, size)]
    chunks = [encode_chunk(part, num_levels, scheme.layout, scheme.code) for part in parts]
    nonzeros = [np.count_nonzero(part) for part in parts] if scheme.layout == "sparse" else []
    directory = Directory(
        np.array([crc32c(chunk) for chunk in chunks], np.uint32),
        np.array([len(chunk) // WORD_BYTES for chunk in chunks], np.uint16),
        np.array(nonzeros, np.uint16),
    )
    stream = bytearray(lead) + b"".join(chunks) + bytes(TAIL_BYTES)
    return np.frombuffer(stream, np.uint8), directory


def in_one_pass(
    parts: Partition, scheme: ChunkScheme, norm: str, stochastic: bool
) -> tuple[Offsets, Quantizer, ChunkFormat, EncodeTables]:
    """Return what a kernel that quantizes and encodes in one pass is told, but for the stream's key."""
    from qsgd_lab.kernels.fixed_point import fraction_bits

    s = scheme.num_levels
    quantizer = Quantizer(NORMS.index(norm), stochastic, np.uint32(s), np.uint32(fraction_bits(s)))
    offsets = Offsets(parts.bucket_offsets, parts.tensor_offsets)
    return offsets, quantizer, scheme.format(), encode_tables(scheme.layout, scheme.code, s)


def quantize_and_encode(
    gradient: Any,
    parts: Partition,
    scheme: ChunkScheme,
    norm: str,
    stochastic: bool,
    key: KernelKey,
    threads: int | None,
) -> Message:
    """Return the message of a gradient in one pass; no part of the scheme is "auto"."""
    from qsgd_lab.kernels.cpu.messages.quantize_encode import CHUNKS_AT_A_TIME, quantize_and_encode_chunks

    s, shape = scheme.num_levels, tuple(np.shape(gradient))
    x = flat_float32(gradient)
    # Magnitudes compare like their bits, which a maximum norm does in integers.
    x_bits, norms = x.view(np.int32), np.empty(parts.num_buckets, np.float32)
    offsets, quantizer, form, tables = in_one_pass(parts, scheme, norm, stochastic)
    words = StreamKey(*key)

    def write(first: int, last: int, target: NDArray[np.uint8], directory: Directory) -> int:
        chunks = ChunkRange(x.size, scheme.chunk_size, first, last)
        # Each thread has levels of its own; norms are shared, since two threads write a common one alike.
        scratch = np.empty(CHUNKS_AT_A_TIME * scheme.chunk_size, level_dtype(s))
        lists = ChunkDirectory(directory.num_words, directory.checksums, directory.num_nonzeros)
        size: int = quantize_and_encode_chunks(
            x, x_bits, offsets, words, quantizer, chunks, form, tables, scratch, target, lists, norms
        )
        return size

    payload, directory = write_payload(write, x.size, scheme, threads, lead_bytes(parts, shape, scheme))
    return _assemble(payload, directory, norms, scheme, norm, parts, shape)


def payload_bytes(
    quantized: QuantizedGradient, chunk_size: int, threads: int | None
) -> dict[tuple[str, str], int]:
    """Return the payload's exact length in bytes by (layout, code)."""
    levels, _ = host_arrays(quantized)
    return bytes_of_levels(levels, quantized.num_levels, chunk_size, threads)


def decode(
    message: Any,
    start: int | None,
    stop: int | None,
    max_coordinates: int | None,
    threads: int | None,
    backend: str,
    out: Any = None,
) -> QuantizedGradient:
    """Return what a message carries, or coordinates start..stop-1 of it, as `qsgd_lab.decode` does."""
    frame = open_frame(message, max_coordinates)
    header, index = frame.header, frame.index
    low, high, _ = slice(start, stop).indices(header.num_coordinates)
    if (start, stop) == (None, None):
        dtype = level_dtype(header.num_levels)
        buffer = None if out is None else flat_output(out, dtype, header.num_coordinates)
        levels = _read_levels(frame, 0, header.num_coordinates, threads, backend, buffer)
        if index.has_dead:
            check_levels_of_dead(index.norms, levels, index.partition)
        return QuantizedGradient(
            levels, index.norms, header.num_levels, header.norm, index.partition, index.shape
        )
    if out is not None:
        raise ValueError("out is for a whole gradient, not for a range of it")
    high = max(low, high)  # an empty slice, as of a list
    levels = _read_levels(frame, low, high, threads, backend)
    parts, buckets = excerpt(index.partition, low, high)
    check_dead(index.norms[buckets], levels, parts)
    return QuantizedGradient(
        levels, index.norms[buckets], header.num_levels, header.norm, parts, (high - low,)
    )


def _read_levels(
    frame: Frame, low: int, high: int, threads: int | None, backend: str, buffer: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Return levels low..high-1, in `buffer` if that is given, which is as long as whole chunks of them."""
    if low == high:
        return np.empty(0, level_dtype(frame.header.num_levels))
    size = frame.header.chunk_size
    first, last = low // size, -(-high // size)  # whole chunks, since a codeword has no other beginning
    offset = first * size
    if backend != "reference":
        return _read_cpu(frame, first, last, threads, buffer)[low - offset : high - offset]
    levels = _read_reference(frame, first, last, threads)[low - offset : high - offset]
    if buffer is None:
        return levels
    buffer[:] = levels
    return buffer


def _read_reference(frame: Frame, first: int, last: int, threads: int | None) -> NDArray[Any]:
    from qsgd_lab.coding.reference import decode_chunk

    del threads
    header, directory, parts = frame.header, frame.index.directory, []
    for chunk in range(first, last):
        payload = frame.payload[frame.starts[chunk] : frame.starts[chunk + 1]].tobytes()
        if crc32c(payload) != directory.checksums[chunk]:
            raise MessageError(f"chunk {chunk} is damaged: its checksum does not match", "damaged")
        size = min(header.chunk_size, header.num_coordinates - chunk * header.chunk_size)
        nonzeros = int(directory.num_nonzeros[chunk]) if header.layout == "sparse" else 0
        parts.append(decode_chunk(payload, size, nonzeros, header.num_levels, header.layout, header.code))
    return np.concatenate(parts).astype(level_dtype(header.num_levels))


def _read_cpu(
    frame: Frame, first: int, last: int, threads: int | None, buffer: NDArray[Any] | None = None
) -> NDArray[Any]:
    from qsgd_lab.kernels.cpu.messages.decode import decode_chunks

    header, directory = frame.header, frame.index.directory
    n, size = header.num_coordinates, header.chunk_size
    form, tables = map(tuple, kernel_arguments(frame))
    lists = (frame.starts, directory.checksums, directory.num_nonzeros)
    if buffer is None:
        buffer = np.empty(min(last * size, n) - first * size, level_dtype(header.num_levels))
    levels = buffer

    def read(low: int, high: int) -> tuple[int, int]:
        chunks = (n, size, first + low, first + high)
        outcome: tuple[int, int] = decode_chunks(
            frame.payload, lists, chunks, form, tables, levels[low * size :]
        )
        return outcome

    raise_unless_good(run_ranges(read, last - first, threads))
    return levels


def kernel_arguments(frame: Frame) -> tuple[ChunkFormat, DecodeTables]:
    """Return the format and the tables of a message's chunks."""
    header = frame.header
    form = chunk_format(header.layout, header.code, header.num_levels)
    return form, decode_tables(header.layout, header.code, header.num_levels)


def decode_values(message: Any, max_coordinates: int | None, threads: int | None, out: Any = None) -> Any:
    """Return the values of a message, as `qsgd_lab.decode_values` does."""
    frame = open_frame(message, max_coordinates)
    n = frame.header.num_coordinates
    values = np.empty(n, np.float32) if out is None else flat_output(out, np.float32, n)
    _put_values(frame, values, add=False, threads=threads)
    return values.reshape(frame.index.shape) if out is None else out


def add_decoded(messages: Iterable[Any], total: Any, limits: Limits, threads: int | None) -> None:
    """Add the values of messages of either version to `total`, as `qsgd_lab.add_decoded` does."""
    flat = _flat_total(total)
    for message in messages:  # in order, on which a float32 sum depends
        message = host_bytes(message)
        if is_version_2(message, on_device=False):
            add_version_2(message, flat, limits)
            continue
        limits.check_kind("levels")  # all that version 1 carries
        frame = open_frame(message)
        check_total(frame.header.num_coordinates, flat.size)
        _put_values(frame, flat, add=True, threads=threads)


def _flat_total(total: Any) -> NDArray[np.float32]:
    """Return a flat view of what is added to."""
    try:
        array = total.detach().numpy() if is_torch(total) else total  # shares memory, so that it is added to
    except (RuntimeError, TypeError):  # sparse, nested, negated by a bit, or without data
        array = None
    is_plain = isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray)
    if not is_plain or array.dtype != np.float32 or not array.flags.c_contiguous:
        raise TypeError("total must be a contiguous float32 array or CPU torch tensor")
    if not array.flags.writeable:
        raise TypeError("total must be writable")
    flat: NDArray[np.float32] = array.reshape(-1)
    return flat


def _put_values(frame: Frame, values: NDArray[np.float32], *, add: bool, threads: int | None) -> None:
    """Write or add the values of a message."""
    from qsgd_lab.kernels.cpu.messages.decode import GROUP, decode_to_values

    header, index = frame.header, frame.index
    form, tables = kernel_arguments(frame)
    lists = ReadDirectory(frame.starts, index.directory.checksums, index.directory.num_nonzeros)
    buckets = index.partition.bucket_offsets

    def read(first: int, last: int) -> tuple[int, int]:
        chunks = ChunkRange(header.num_coordinates, header.chunk_size, first, last)
        scratch = np.empty(GROUP * header.chunk_size, level_dtype(header.num_levels))
        outcome: tuple[int, int] = decode_to_values(
            frame.payload, lists, chunks, form, tables, index.norms, buckets, scratch, add, values
        )
        return outcome

    raise_unless_good(run_ranges(read, header.num_chunks, threads))

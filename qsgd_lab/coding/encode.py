"""Levels and norms to a message."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.checksum import crc32c
from qsgd_lab.coding.codewords import CODES
from qsgd_lab.coding.header import HEADER_BYTES, TAIL_BYTES, Header
from qsgd_lab.coding.host_arrays import host_arrays
from qsgd_lab.coding.index import WORD_BYTES, Directory, Index, index_bytes
from qsgd_lab.coding.layouts import (
    DEFAULT_CHUNK_SIZE,
    LAYOUTS,
    WORD_BITS,
    check_chunk_size,
    fixed_width,
    max_bits_per_coordinate,
)
from qsgd_lab.coding.message import Message, seal
from qsgd_lab.coding.sizes import shortest
from qsgd_lab.coding.threads import run_ranges
from qsgd_lab.quantization import QuantizedGradient, check_backend


def encode(
    quantized: QuantizedGradient,
    code: str = "auto",
    layout: str = "auto",
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    threads: int | None = 1,
    backend: str = "auto",
) -> Message:
    """Return the message that carries a quantized gradient.

    Parameters
    ----------
    quantized : QuantizedGradient
    code : {"auto", "gamma", "delta", "omega"}
        The code of integers; omega is the paper's. It has no part in the fixed layout.
    layout : {"auto", "fixed", "dense", "dense-signed", "sparse"}
        See `qsgd_lab.coding.layouts`.
    chunk_size : int
        Coordinates that are coded together: a multiple of 32, at most 4096.
    threads : int or None
        Chunks are coded in parallel by as many threads; None takes all processors. The message does not
        depend on it.
    backend : {"auto", "cpu", "reference"}
        The reference is plain Python; all backends give the same bytes.

    Returns
    -------
    Message
        Bytes to send; its length is what they cost.

    Raises
    ------
    ValueError
        If an argument is out of its range, or the quantized gradient is inconsistent.

    Notes
    -----
    "auto" takes the shortest message, by exact lengths computed without coding; ties go to dense, then to
    gamma. With a code named, it compares the dense and sparse layouts under this code; with neither, all
    codes and the fixed layout too.

    Examples
    --------
    >>> import numpy as np
    >>> from qsgd_lab import quantize
    >>> q = quantize(np.float32([3, -4, 0, 0]), bits=2, norm="max", rounding="nearest")
    >>> message = encode(q, code="omega", layout="dense")
    >>> message.sizes.payload, len(message)
    (4, 104)
    """
    check_chunk_size(chunk_size)
    check_backend(backend)
    levels, norms = host_arrays(quantized)
    code, layout = _choose(levels, quantized.num_levels, code, layout, chunk_size, threads)
    parts, shape = quantized.partition, quantized.shape
    chunks = -(-levels.size // chunk_size)
    lead = HEADER_BYTES + index_bytes(len(parts.tensor_sizes) + len(shape), norms.size, chunks, layout)
    write = _write_reference if backend == "reference" else _write_cpu
    stream, directory = write(levels, quantized.num_levels, layout, code, chunk_size, threads, lead)
    index = Index(parts, shape, norms, directory).pack()
    header = Header(
        layout,
        code if layout != "fixed" else "none",
        quantized.norm,
        quantized.num_levels,
        chunk_size,
        stream.size,
        levels.size,
        parts.bucket_size,
        len(parts.tensor_sizes),
        len(shape),
        crc32c(index),
    )
    return seal(header, index, stream)


def _choose(
    levels: NDArray[Any], num_levels: int, code: str, layout: str, chunk_size: int, threads: int | None
) -> tuple[str, str]:
    """Resolve "auto", and check names."""
    if code != "auto" and code not in CODES:
        raise ValueError(f"unknown code {code!r}; known: auto, {', '.join(CODES)}")
    if layout != "auto" and layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; known: auto, {', '.join(LAYOUTS)}")
    if layout == "fixed" or "auto" not in (code, layout):
        return code, layout
    return shortest(levels, num_levels, code, layout, chunk_size, threads)


def _out_of_range(num_levels: int) -> ValueError:
    return ValueError(f"a level lies outside -{num_levels}..{num_levels}")


def _write_reference(
    levels: NDArray[Any],
    num_levels: int,
    layout: str,
    code: str,
    chunk_size: int,
    threads: int | None,
    lead: int,
) -> tuple[NDArray[np.uint8], Directory]:
    """Return the payload after `lead` bytes and before eight, and the directory."""
    from qsgd_lab.coding.reference import encode_chunk

    del threads
    if levels.size and max(int(levels.max()), -int(levels.min())) > num_levels:
        raise _out_of_range(num_levels)
    parts = [levels[start : start + chunk_size] for start in range(0, levels.size, chunk_size)]
    chunks = [encode_chunk(part, num_levels, layout, code) for part in parts]
    nonzeros = [np.count_nonzero(part) for part in parts] if layout == "sparse" else []
    directory = Directory(
        np.array([crc32c(chunk) for chunk in chunks], np.uint32),
        np.array([len(chunk) // WORD_BYTES for chunk in chunks], np.uint16),
        np.array(nonzeros, np.uint16),
    )
    stream = bytearray(lead) + b"".join(chunks) + bytes(TAIL_BYTES)
    return np.frombuffer(stream, np.uint8), directory


def _write_cpu(
    levels: NDArray[Any],
    num_levels: int,
    layout: str,
    code: str,
    chunk_size: int,
    threads: int | None,
    lead: int,
) -> tuple[NDArray[np.uint8], Directory]:
    """Return the payload after `lead` bytes and before eight, and the directory.

    Each thread writes a run of chunks into its own region, large enough for the longest codewords; then the
    gaps between regions are closed. Memory that was reserved and not written is never touched.
    """
    from qsgd_lab.coding.tables import encode_tables
    from qsgd_lab.kernels.encode_cpu import OUT_OF_RANGE, encode_chunks

    chunks = -(-levels.size // chunk_size)
    counts = chunks if layout == "sparse" else 0
    directory = Directory(
        np.empty(chunks, np.uint32), np.empty(chunks, np.uint16), np.empty(counts, np.uint16)
    )
    tables = encode_tables(layout, code, num_levels)
    words = -(-chunk_size * max_bits_per_coordinate(layout, code, num_levels) // WORD_BITS)
    room = WORD_BYTES * words + TAIL_BYTES  # stores run up to eight bytes over, also between regions
    stream = np.empty(lead + room * chunks + TAIL_BYTES, np.uint8)

    def write(first: int, last: int) -> tuple[int, int]:
        start = lead + room * first
        size = encode_chunks(
            levels,
            chunk_size,
            first,
            last,
            num_levels,
            LAYOUTS[layout],
            np.uint64(fixed_width(num_levels)),
            tables,
            stream[start : lead + room * last],
            directory.num_words,
            directory.checksums,
            directory.num_nonzeros,
        )
        return start, size

    regions = run_ranges(write, chunks, threads)
    if any(size == OUT_OF_RANGE for _, size in regions):
        raise _out_of_range(num_levels)
    stream.resize(_close_gaps(stream, lead, regions) + TAIL_BYTES, refcheck=False)
    return stream, directory


def _close_gaps(stream: NDArray[np.uint8], end: int, regions: list[tuple[int, int]]) -> int:
    """Move regions (start, size) together behind `end`, in place; return where the last one ends."""
    with stream.data as bytes_:  # assigning slices of it moves memory without a copy aside
        for start, size in regions:
            if start != end:
                bytes_[end : end + size] = bytes_[start : start + size]
            end += size
    return end

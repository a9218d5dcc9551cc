"""A message back to levels and norms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.arrays import is_torch, like_input, not_compiled, resolve_backend
from qsgd_lab.coding.message import Frame, host_bytes, kernel_scheme, open_frame, raise_unless_good
from qsgd_lab.coding.threads import num_threads, run_ranges
from qsgd_lab.coding.version2 import check_kinds_of_version_1, decode_version_2, is_version_2
from qsgd_lab.errors import MessageError
from qsgd_lab.partition import excerpt
from qsgd_lab.quantization import QuantizedGradient, level_dtype
from qsgd_lab.wire.checks import check_dead
from qsgd_lab.wire.message import limits_of


@not_compiled
def decode(
    message: Any,
    start: int | None = None,
    stop: int | None = None,
    *,
    max_coordinates: int | None = None,
    kinds: Iterable[str] | None = None,
    threads: int | None = 1,
    backend: str = "auto",
) -> Any:
    """Return what a message carries, a quantized gradient or another payload, or coordinates of it.

    Parameters
    ----------
    message : bytes-like, uint8 tensor, or uint8 array on a CUDA device
        Untrusted: bytes from anywhere, a memory map, an array of bytes. It is not copied.
    start, stop : int, optional
        A range of coordinates, as in a slice of the flat gradient. Header and index are read, and of the
        payload only the chunks that hold the range. In version 2, raw values and levels have ranges.
    max_coordinates : int, optional
        Refuse messages of more coordinates. Without it, the message's own length is the limit, see Notes.
    kinds : iterable of str, optional
        Refuse messages of other payload kinds: "levels", "raw", "sparse", ... (docs/wire-format-2.md).
    threads : int or None
        Chunks are decoded in parallel by as many threads; None takes all processors.
    backend : {"auto", "cpu", "reference", "cuda"}
        Auto works where the message lives.

    Returns
    -------
    QuantizedGradient, or a payload of another kind
        Of NumPy arrays; if the message is a tensor, or an array on a device, of its like there. The whole
        gradient has its shape; a range is flat, and its buckets are the parts in it of the gradient's, so
        that its values are those of the range. Payloads of other kinds than levels are always of NumPy
        arrays.

    Raises
    ------
    MessageError
        If the message is damaged, cut off, made to mislead, has more than `max_coordinates`, or is of a kind
        that is not allowed; its `reason` is one word for programs.
    ValueError
        If another argument is out of its range, or the backend is "cuda" and there is no device.
    TypeError
        If the message has no bytes, or is an array or tensor of something else.
    MemoryError
        If it lives on a device that has not enough memory for the levels.

    Notes
    -----
    On a device, the host reads header and index and waits for one number in the end; `threads` has no part in
    it.

    A message of version 1 of m bytes describes fewer than 512 m coordinates: chunks hold at most 4096, and
    each has eight bytes in the directory of the sparse layout, while in the others a coordinate takes at
    least one bit. What is allocated is the levels, one byte a coordinate for s <= 127 and two above, and a
    few bytes for each byte of the index; claims of more are refused before anything is allocated. For
    version 2, see the theorem in docs/wire-format-2.md.

    Examples
    --------
    >>> import numpy as np
    >>> from qsgd_lab import encode, quantize
    >>> q = quantize(np.float32([3, -4, 0, 0]), bits=2, norm="max", rounding="nearest")
    >>> decode(encode(q)).levels.tolist(), decode(encode(q), 1, 3).levels.tolist()
    ([2, -3, 0, 0], [-3, 0])
    """
    threads = num_threads(threads)
    backend = resolve_backend(message, backend)
    on_device = backend == "cuda"
    example, message = message, message if on_device else host_bytes(message)
    if is_version_2(message, on_device):
        payload = decode_version_2(message, start, stop, limits_of(max_coordinates, kinds), on_device)
        return payload if on_device else _like(payload, example)
    check_kinds_of_version_1(kinds)
    if on_device:
        from qsgd_lab.coding.device.decode import decode_on_device

        return decode_on_device(message, start, stop, max_coordinates)
    frame = open_frame(message, max_coordinates)
    return _like(_read_frame(frame, start, stop, threads, backend), example)


def _like(payload: Any, message: Any) -> Any:
    """Return a quantized gradient of tensors if the message is one; other payloads as they are."""
    if not is_torch(message) or not isinstance(payload, QuantizedGradient):
        return payload
    # A view of the message is read-only, of which torch would warn.
    norms = payload.norms if payload.norms.flags.writeable else payload.norms.copy()
    return replace(payload, levels=like_input(payload.levels, message), norms=like_input(norms, message))


def _read_frame(
    frame: Frame, start: int | None, stop: int | None, threads: int, backend: str
) -> QuantizedGradient:
    """Return coordinates start..stop-1 of a message of version 1, or all with its shape."""
    header, index = frame.header, frame.index
    low, high, _ = slice(start, stop).indices(header.num_coordinates)
    if (start, stop) == (None, None):
        levels = _read_levels(frame, 0, header.num_coordinates, threads, backend)
        check_dead(index.norms, levels, index.partition)
        return QuantizedGradient(
            levels, index.norms, header.num_levels, header.norm, index.partition, index.shape
        )
    high = max(low, high)
    levels = _read_levels(frame, low, high, threads, backend)
    parts, buckets = excerpt(index.partition, low, high)
    check_dead(index.norms[buckets], levels, parts)
    return QuantizedGradient(
        levels, index.norms[buckets], header.num_levels, header.norm, parts, (high - low,)
    )


def _read_levels(frame: Frame, low: int, high: int, threads: int | None, backend: str) -> NDArray[Any]:
    """Return levels low..high-1."""
    if low == high:
        return np.empty(0, level_dtype(frame.header.num_levels))
    size = frame.header.chunk_size
    first, last = low // size, -(-high // size)
    offset = first * size
    read = _read_reference if backend == "reference" else _read_cpu
    return read(frame, first, last, threads)[low - offset : high - offset]


def _read_reference(frame: Frame, first: int, last: int, threads: int | None) -> NDArray[Any]:
    from qsgd_lab.coding.header import crc32c
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


def _read_cpu(frame: Frame, first: int, last: int, threads: int | None) -> NDArray[Any]:
    from qsgd_lab.coding.tables import decode_tables
    from qsgd_lab.kernels.cpu.decode import decode_chunks

    header, directory = frame.header, frame.index.directory
    size = header.chunk_size
    tables = tuple(decode_tables(header.layout, header.code, header.num_levels))
    scheme = kernel_scheme(header)
    total = min(last * size, header.num_coordinates) - first * size
    levels = np.empty(total, level_dtype(header.num_levels))

    def read(low: int, high: int) -> tuple[int, int]:
        outcome: tuple[int, int] = decode_chunks(
            frame.payload,
            (frame.starts, directory.checksums, directory.num_nonzeros),
            (header.num_coordinates, size, first + high),
            first + low,
            scheme,
            tables,
            levels[low * size :],
        )
        return outcome

    raise_unless_good(run_ranges(read, last - first, threads))
    return levels

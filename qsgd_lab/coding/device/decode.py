"""Messages on a device back to levels, values and sums there.

The host reads header and index, and in the end one number that says whether all chunks were good; nothing
else is waited for.

Messages on a device: what the host must know of one before its payload can be read there.

Header and index, a few hundredths of a large message, are copied to the host and checked by the code that
checks them for the CPU, so that every offset and count that a kernel is given is known to be inside the
message. The payload stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.device.sizes import device_memory
from qsgd_lab.coding.device.tables import bucket_offsets, dense_entries, word_checksum_tables
from qsgd_lab.coding.header import TAIL_BYTES, Header, parse_header
from qsgd_lab.coding.index import WORD_BYTES, Index, check_length_for_lists, parse_index, payload_start
from qsgd_lab.coding.layouts import LAYOUTS, chunk_format
from qsgd_lab.coding.message import (
    Message,
    check_length,
    check_total,
    is_version_2,
    raise_unless_good,
)
from qsgd_lab.coding.version2 import add_version_2_on_device
from qsgd_lab.partition import Partition, excerpt
from qsgd_lab.quantization import QuantizedGradient, level_dtype
from qsgd_lab.wire.checks import Limits, check_bound, check_scales, dead_scales

FIRST_READ = 4096  # bytes: header, and lists of some hundred tensors


@dataclass(frozen=True)
class DeviceFrame:
    """A message on a device taken apart and checked, but for its chunks.

    Attributes
    ----------
    context : DeviceContext
        Where it lives.
    header : Header
    index : Index
        On the host.
    words : Numba uint32
        Payload and the eight zeros after it.
    """

    context: Any
    header: Header
    index: Index
    words: Any

    def directory(self, first: int, last: int) -> NDArray[np.int64]:
        """Return where chunks first..last-1 begin and end, in words, their checksums and non-zeros.

        int64, shape (3, last - first + 1); the last two rows have one entry less, and non-zeros are 0 but in
        the sparse layout.
        """
        whole, directory = self.index.directory, np.zeros((3, last - first + 1), np.int64)
        directory[0] = whole.starts[first : last + 1] // WORD_BYTES
        directory[1, :-1] = whole.checksums[first:last]
        if whole.num_nonzeros.size:
            directory[2, :-1] = whole.num_nonzeros[first:last]
        return directory


def open_device_message(message: Any, max_coordinates: int | None = None) -> DeviceFrame:
    """Take a message on a device apart.

    Parameters
    ----------
    message : uint8 array on a device, contiguous
        Untrusted. It is not copied, unless it does not begin at a multiple of four bytes.
    max_coordinates : int, optional
        Refuse messages of more coordinates.

    Raises
    ------
    MessageError
        If it is not one whole message, or has more than `max_coordinates`.
    TypeError, ValueError
        If it is not a contiguous array of bytes on a device.
    """
    from qsgd_lab.kernels.cuda.device import context_of, device_view, to_host
    from qsgd_lab.kernels.cuda.messages.message_frame import word_view

    context = context_of(message, "message")
    view = device_view(message, np.uint8, "message").reshape(-1)
    # One copy is enough for most messages; each waits for the device.
    head = to_host(view[:FIRST_READ]) if view.size else np.empty(0, np.uint8)
    header = parse_header(head)
    check_length(header, view.size)
    check_bound(header.num_coordinates, max_coordinates)
    head = _read_on(view, head, check_length_for_lists(header))
    start = payload_start(head, header)
    head = _read_on(view, head, start)
    tail = to_host(view[view.size - TAIL_BYTES :]).tobytes()
    index, start = parse_index(head[:start], header, tail)
    return DeviceFrame(context, header, index, word_view(context, view[start:]))


def _read_on(view: Any, head: NDArray[np.uint8], end: int) -> NDArray[np.uint8]:
    """Return the first `end` bytes of a message, or more, of which `head` have been read."""
    from qsgd_lab.kernels.cuda.device import to_host

    return head if head.size >= end else np.concatenate([head, to_host(view[head.size : end])])


def to_host_message(message: Any) -> Message:
    """Return a copy in host memory of a message on a device.

    Parameters
    ----------
    message : uint8 array on a device
        What `encode` returns for levels on a device.

    Returns
    -------
    Message
        The same bytes, for files, sockets and `Message.sizes`.

    Raises
    ------
    TypeError, ValueError
        If it is not a contiguous array of bytes on a device.
    """
    from qsgd_lab.kernels.cuda.device import device_view, to_host

    copy = to_host(device_view(message, np.uint8, "message").reshape(-1)).view(Message)
    copy.flags.writeable = False
    return copy


def decode_on_device(
    message: Any, start: int | None, stop: int | None, max_coordinates: int | None
) -> QuantizedGradient:
    """Return the quantized gradient of a message, or coordinates start..stop-1 of it; all on the device.

    Raises
    ------
    MessageError
        If the message is damaged, cut off, made to mislead, or has more than `max_coordinates`.
    TypeError, ValueError
        If it is not a contiguous array of bytes on a device.
    MemoryError
        If the device has not enough memory.
    """
    from qsgd_lab.kernels.cuda.device import context_of

    with context_of(message, "message").active():
        return _decode(open_device_message(message, max_coordinates), start, stop)


def _decode(frame: DeviceFrame, start: int | None, stop: int | None) -> QuantizedGradient:
    header, index = frame.header, frame.index
    low, high, _ = slice(start, stop).indices(header.num_coordinates)
    whole = (start, stop) == (None, None)
    high = header.num_coordinates if whole else max(low, high)
    levels = _read_levels(frame, low, high)
    parts, buckets = (index.partition, slice(None)) if whole else excerpt(index.partition, low, high)
    shape = index.shape if whole else (high - low,)
    check_dead_on_device(frame.context, index.norms[buckets], levels, parts)
    norms = frame.context.from_host(index.norms[buckets])
    return QuantizedGradient(levels, norms, header.num_levels, header.norm, parts, shape)


def decode_values_on_device(message: Any, max_coordinates: int | None) -> Any:
    """Return the float32 gradient of a message, on the device; raises as `decode_on_device` does."""
    from qsgd_lab.kernels.cuda.device import context_of, device_view

    with context_of(message, "message").active():
        frame = open_device_message(message, max_coordinates)
        count = frame.header.num_coordinates
        with device_memory("decoding", 4 * count):
            values = frame.context.empty(count, np.float32)
        _check(_write_values(frame, device_view(values, np.float32), add=False))
    return values.reshape(frame.index.shape)


def add_decoded_on_device(messages: Iterable[Any], total: Any, limits: Limits) -> None:
    """Add the gradients of messages on a device to `total` there, in place and in order.

    All messages are opened before any is added, and the host waits for the last of them only.

    Raises
    ------
    MessageError
        If a message is not one, or has another number of coordinates. If its header or index is bad, nothing
        has been added; if a chunk is, all other chunks of all messages have.
    TypeError, ValueError
        If `total` is not a contiguous float32 array on a device, or a message not a contiguous array of bytes
        there.
    """
    from qsgd_lab.kernels.cuda.device import context_of, device_view

    flat = device_view(total, np.float32, "total").reshape(-1)
    with context_of(total, "total").active():
        listed = list(messages)  # read twice, and an iterable may be read once
        if any(is_version_2(message, on_device=True) for message in listed):
            for message in listed:  # in order: a sum in float32 depends on it
                _add_one(message, flat, limits)
            return
        if listed:  # version 1 carries levels alone
            limits.check_kind("levels")
        # All are opened before any is added, so that a bad header leaves the total as it was.
        frames = [open_device_message(message) for message in listed]
        for frame in frames:
            check_total(frame.header.num_coordinates, flat.size)
        for status in [_write_values(frame, flat, add=True) for frame in frames]:
            _check(status)


def _add_one(message: Any, flat: Any, limits: Limits) -> None:
    """Add one message of either version to a flat total on the device."""
    if is_version_2(message, on_device=True):
        add_version_2_on_device(message, flat, limits)
        return
    limits.check_kind("levels")  # all that version 1 carries
    frame = open_device_message(message)
    check_total(frame.header.num_coordinates, flat.size)
    _check(_write_values(frame, flat, add=True))


def check_dead_on_device(context: Any, norms: NDArray[np.float32], levels: Any, parts: Partition) -> None:
    """Check norms, which are on the host, and that buckets of norm 0 or NaN have no levels other than 0.

    Raises
    ------
    MessageError
        If a rule does not hold. Nothing is waited for if no norm is 0 or NaN.
    """
    from qsgd_lab.kernels.cuda.device import device_view
    from qsgd_lab.kernels.cuda.messages.decode import launch_find_levels

    if check_scales(norms):  # only then is anything asked of the device
        dead = dead_scales(norms)
        offsets, status = parts.bucket_offsets, _new_status(context)
        bounds = context.to_device(np.stack([offsets[:-1][dead], offsets[1:][dead]]))
        launch_find_levels(context, device_view(levels, (np.int8, np.int16)).reshape(-1), bounds, status)
        _check(status)


def _new_status(context: Any) -> Any:
    from qsgd_lab.kernels.cuda.messages.decode import ALL_GOOD

    return context.to_device(np.array([ALL_GOOD]))


def _check(status: Any) -> None:
    """Raise a `MessageError` for the first chunk that could not be decoded; this waits for the device."""
    from qsgd_lab.kernels.cuda.device import to_host
    from qsgd_lab.kernels.cuda.messages.decode import ALL_GOOD, OUTCOMES

    found = int(to_host(status)[0])
    if found != ALL_GOOD:
        chunk, outcome = divmod(found, OUTCOMES)  # one number, whose least is the first bad chunk
        raise_unless_good([(outcome, chunk)])


def _read_levels(frame: DeviceFrame, low: int, high: int) -> Any:
    """Return levels low..high-1."""
    from qsgd_lab.kernels.cuda.device import device_view
    from qsgd_lab.kernels.cuda.messages.decode import launch_decode

    header, context = frame.header, frame.context
    dtype = level_dtype(header.num_levels)
    with device_memory("decoding", (high - low) * np.dtype(dtype).itemsize):
        levels = context.empty(high - low, dtype)
    if low == high:
        return levels
    first, last = low // header.chunk_size, -(-high // header.chunk_size)
    status = _new_status(context)
    launch_decode(
        context,
        frame.words,
        context.to_device(frame.directory(first, last)),
        (header.num_coordinates, header.chunk_size, first, low),
        tuple(chunk_format(header.layout, header.code, header.num_levels)),
        word_checksum_tables(context),
        device_view(levels, dtype),
        status,
    )
    _check(status)
    return levels


def _whole_chunks(frame: DeviceFrame, values: Any) -> int:
    """Return how many chunks, the first ones, ``cuda.dense_decode`` takes: all whole ones, or none."""
    from qsgd_lab.kernels.cuda.device import address_of
    from qsgd_lab.kernels.cuda.messages.dense_decode import BUCKET
    from qsgd_lab.kernels.cuda.messages.encode import ALIGNED, is_dense_and_small

    header, parts = frame.header, frame.index.partition
    if not is_dense_and_small(LAYOUTS[header.layout], header.num_levels, header.chunk_size):
        return 0
    if parts.bucket_size != BUCKET or any(size % BUCKET for size in parts.tensor_sizes[:-1]):
        return 0  # buckets are not the halves, quarters and eighths of chunks
    whole = header.num_coordinates // header.chunk_size
    return whole if whole and address_of(values) % ALIGNED == 0 else 0


def _write_values(frame: DeviceFrame, values: Any, *, add: bool) -> Any:
    """Write or add the values of a message; return the status of its chunks."""
    from qsgd_lab.kernels.cuda.messages.decode import launch_decode_to_values
    from qsgd_lab.kernels.cuda.messages.dense_decode import launch_decode_dense

    header, index, context = frame.header, frame.index, frame.context
    status = _new_status(context)
    norms = context.to_device(index.norms)
    whole = _whole_chunks(frame, values)
    if whole:
        launch_decode_dense(
            context,
            frame.words,
            context.to_device(frame.directory(0, whole)),
            dense_entries(context, header.code, header.num_levels)[1],
            word_checksum_tables(context),
            norms,
            header.num_levels,
            add,
            values[: whole * header.chunk_size],
            status,
        )
    if whole < header.num_chunks:
        launch_decode_to_values(
            context,
            frame.words,
            context.to_device(frame.directory(whole, header.num_chunks)),
            (header.num_coordinates, header.chunk_size, whole, 0),
            tuple(chunk_format(header.layout, header.code, header.num_levels)),
            word_checksum_tables(context),
            norms,
            bucket_offsets(context, index.partition),
            add,
            values,
            status,
        )
    return status

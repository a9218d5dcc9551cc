"""What a receiver does with messages: their values, and their sum, without materialising levels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.arrays import is_device_array, is_torch, like_input, not_compiled, resolve_backend
from qsgd_lab.coding.message import (
    Frame,
    check_total,
    host_bytes,
    kernel_scheme,
    open_frame,
    raise_unless_good,
)
from qsgd_lab.coding.tables import decode_tables
from qsgd_lab.coding.threads import num_threads, run_ranges
from qsgd_lab.coding.version2 import (
    add_version_2,
    check_kinds_of_version_1,
    is_version_2,
    values_version_2,
)
from qsgd_lab.quantization import level_dtype
from qsgd_lab.wire.message import limits_of


@not_compiled
def decode_values(
    message: Any,
    *,
    max_coordinates: int | None = None,
    kinds: Iterable[str] | None = None,
    threads: int | None = 1,
    backend: str = "auto",
) -> Any:
    """Return the gradient that a message carries: ``dequantize(decode(message))`` in one pass.

    Parameters
    ----------
    message : bytes-like, uint8 tensor, or uint8 array on a CUDA device
        Untrusted.
    max_coordinates, kinds, threads
        As in `decode`. Of kinds whose length says nothing of the number of coordinates (sparse, masked, none,
        select, private), `max_coordinates` must be given.
    backend : {"auto", "cpu", "cuda"}
        Auto works where the message lives.

    Returns
    -------
    float32, of the gradient's shape
        A NumPy array, or a tensor or array like the message on its device.

    Raises
    ------
    MessageError
        If the message is damaged, cut off, made to mislead, or is not allowed; `LimitError` if it has more
        than `max_coordinates`, or has no bound without it.
    TypeError
        If the message has no bytes, or is an array or tensor of something else.

    Notes
    -----
    A message of version 1 of m bytes describes fewer than 512 m coordinates, hence allocates less than 2048 m
    bytes; see `decode`.
    """
    threads = num_threads(threads)
    backend = resolve_backend(message, backend)
    on_device = backend == "cuda"
    example, message = message, message if on_device else host_bytes(message)
    if is_version_2(message, on_device):
        values = values_version_2(message, limits_of(max_coordinates, kinds), on_device)
        return values if on_device else like_input(values, example)
    check_kinds_of_version_1(kinds)
    if on_device:
        from qsgd_lab.coding.device.decode import decode_values_on_device

        return decode_values_on_device(message, max_coordinates)
    frame = open_frame(message, max_coordinates)
    values = np.empty(frame.header.num_coordinates, np.float32)
    _deliver(frame, values, add=False, threads=threads)
    return like_input(values.reshape(frame.index.shape), example)


@not_compiled
def add_decoded(
    messages: Iterable[Any],
    total: Any,
    *,
    kinds: Iterable[str] | None = None,
    threads: int | None = 1,
    backend: str = "auto",
) -> None:
    """Add the gradients that messages carry to `total`, in place and in order.

    Parameters
    ----------
    messages : iterable of bytes-like, of uint8 tensors, or of uint8 arrays on a CUDA device
        Untrusted; an iterable of messages, not one message.
    total : float32 array or torch tensor, contiguous
        As many coordinates as each message has. It lives where the messages do.
    kinds : iterable of str, optional
        As in `decode`.
    threads : int or None
        As in `decode`. The sum does not depend on it.
    backend : {"auto", "cpu", "cuda"}
        Auto works where `total` lives.

    Raises
    ------
    MessageError
        If a message is not one, or has another number of coordinates. Messages before it have then been
        added, and it may have been in part.
    TypeError
        If `total` is not a contiguous float32 array, `messages` is a single message, or one has no bytes.
    """
    threads = num_threads(threads)
    single = isinstance(messages, bytes | bytearray | memoryview | np.ndarray) or is_torch(messages)
    if single or is_device_array(messages):
        raise TypeError("add_decoded takes an iterable of messages: put a single one in a list")
    if resolve_backend(total, backend) == "cuda":
        from qsgd_lab.coding.device.decode import add_decoded_on_device

        add_decoded_on_device(messages, total, kinds)
        return
    flat = _flat_total(total)
    for message in messages:
        message = host_bytes(message)
        if is_version_2(message, on_device=False):
            add_version_2(message, flat, kinds)
            continue
        check_kinds_of_version_1(kinds)
        frame = open_frame(message)
        check_total(frame.header.num_coordinates, flat.size)
        _deliver(frame, flat, add=True, threads=threads)


def _flat_total(total: Any) -> NDArray[np.float32]:
    """Return a flat view of what is added to."""
    try:
        array = total.detach().numpy() if is_torch(total) else total
    except (RuntimeError, TypeError):  # sparse, nested, negated by a bit, or without data
        array = None
    is_plain = isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray)
    if not is_plain or array.dtype != np.float32 or not array.flags.c_contiguous:
        raise TypeError("total must be a contiguous float32 array or CPU torch tensor")
    if not array.flags.writeable:
        raise TypeError("total must be writable")
    flat: NDArray[np.float32] = array.reshape(-1)
    return flat


def _deliver(frame: Frame, values: NDArray[np.float32], *, add: bool, threads: int | None) -> None:
    """Write or add the values of a message."""
    from qsgd_lab.kernels.cpu.decode import GROUP, deliver_chunks

    header, index = frame.header, frame.index
    directory = (frame.starts, index.directory.checksums, index.directory.num_nonzeros)
    scheme = kernel_scheme(header)
    tables = tuple(decode_tables(header.layout, header.code, header.num_levels))

    def deliver(first: int, last: int) -> tuple[int, int]:
        outcome: tuple[int, int] = deliver_chunks(
            frame.payload,
            directory,
            (header.num_coordinates, header.chunk_size, last),
            first,
            scheme,
            tables,
            index.norms,
            index.partition.bucket_offsets,
            np.empty(GROUP * header.chunk_size, level_dtype(header.num_levels)),
            add,
            values,
        )
        return outcome

    raise_unless_good(run_ranges(deliver, header.num_chunks, threads))

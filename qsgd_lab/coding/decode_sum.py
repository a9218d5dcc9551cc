"""Values of messages, and their sum, without an array of levels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from qsgd_lab.arrays import is_device_array, is_torch, like_input, not_compiled
from qsgd_lab.coding.codec import codec_for
from qsgd_lab.coding.message import host_bytes, is_version_2
from qsgd_lab.coding.version2 import values_version_2
from qsgd_lab.threads import num_threads, using_threads
from qsgd_lab.wire.kinds import limits_of


@not_compiled
def decode_values(
    message: Any,
    *,
    max_coordinates: int | None = None,
    kinds: Iterable[str] | None = None,
    out: Any = None,
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
    out : float32 array or CPU tensor of as many elements, optional
        Memory for the result, contiguous, which is then returned. After an error its content is undefined.
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
    codec = codec_for(message, backend)
    bytes_ = message if codec.IS_DEVICE else host_bytes(message)
    limits = limits_of(max_coordinates, kinds)
    if is_version_2(bytes_, codec.IS_DEVICE):
        with using_threads(threads):
            values = values_version_2(bytes_, limits, codec.IS_DEVICE, out)
    else:
        limits.check_kind("levels")  # all that version 1 carries
        values = codec.decode_values(bytes_, max_coordinates, threads, out)
    return values if codec.IS_DEVICE or out is not None else like_input(values, message)


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
    with using_threads(threads):
        codec_for(total, backend).add_decoded(messages, total, limits_of(None, kinds), threads)

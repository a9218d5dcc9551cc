"""A message back to levels and norms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from qsgd_lab.arrays import is_torch, like_input, not_compiled
from qsgd_lab.coding.codec import codec_for
from qsgd_lab.coding.message import host_bytes, is_version_2
from qsgd_lab.coding.version2 import decode_version_2
from qsgd_lab.quantization import QuantizedGradient
from qsgd_lab.threads import num_threads, using_threads
from qsgd_lab.wire.kinds import limits_of


@not_compiled
def decode(
    message: Any,
    start: int | None = None,
    stop: int | None = None,
    *,
    max_coordinates: int | None = None,
    kinds: Iterable[str] | None = None,
    out: Any = None,
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
    out : int8 or int16 array or CPU tensor of as many elements, optional
        Memory for the levels of a whole gradient, contiguous, int8 for s <= 127: a result in fresh memory
        costs more for its pages than decoding does. After an error its content is undefined.
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
    codec = codec_for(message, backend)
    bytes_ = message if codec.IS_DEVICE else host_bytes(message)
    limits = limits_of(max_coordinates, kinds)
    if is_version_2(bytes_, codec.IS_DEVICE):
        with using_threads(threads):
            payload = decode_version_2(bytes_, start, stop, limits, codec.IS_DEVICE, out)
    else:
        limits.check_kind("levels")  # all that version 1 carries
        payload = codec.decode(bytes_, start, stop, max_coordinates, threads, backend, out)
    return payload if codec.IS_DEVICE else _like(payload, message)


def _like(payload: Any, message: Any) -> Any:
    """Return a quantized gradient of tensors if the message is one; other payloads as they are."""
    if not is_torch(message) or not isinstance(payload, QuantizedGradient):
        return payload
    # A view of the message is read-only, of which torch would warn.
    norms = payload.norms if payload.norms.flags.writeable else payload.norms.copy()
    return replace(payload, levels=like_input(payload.levels, message), norms=like_input(norms, message))

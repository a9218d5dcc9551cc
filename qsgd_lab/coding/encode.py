"""Levels and norms to a message."""

from __future__ import annotations

from typing import Any

import numpy as np

from qsgd_lab.arrays import is_device_array, is_torch, not_compiled
from qsgd_lab.coding.codec import codec_for
from qsgd_lab.coding.elias import CODES
from qsgd_lab.coding.layouts import DEFAULT_CHUNK_SIZE, LAYOUTS, check_chunk_size
from qsgd_lab.coding.message import Message
from qsgd_lab.coding.version2 import encode_version_2
from qsgd_lab.quantization import QuantizedGradient
from qsgd_lab.threads import num_threads, using_threads
from qsgd_lab.wire.key import Key
from qsgd_lab.wire.structure import Structure


@not_compiled
def encode(
    payload: Any,
    code: str = "auto",
    layout: str = "auto",
    *,
    version: int | None = None,
    structure: Structure | None = None,
    key: Key | None = None,
    used: Any = None,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    effort: int = 1,
    threads: int | None = 1,
    backend: str = "auto",
) -> Message | Any:
    """Return the message that carries a quantized gradient, or another payload.

    Parameters
    ----------
    payload : QuantizedGradient, or a payload of another kind of docs/wire-format-2.md
    code : {"auto", "gamma", "delta", "omega"}
        The code of integers; omega is the paper's. It has no part in the fixed layout.
    layout : {"auto", "auto-any", "fixed", "dense", "dense-signed", "sparse", "base3", "ranged"}
        See `qsgd_lab.coding.layouts`. Version 2 has "fixed", for s = 1 "base3", and "ranged", which takes
        about the entropy of the levels; "auto" never takes it, and "auto-any" takes the shortest message of
        both versions.
    version : {1, 2}, optional
        Of the wire format. Version 1 carries levels under Elias codes, version 2 everything else; by default
        1 for a quantized gradient, unless something is asked for that only version 2 has.
    structure, key, used
        Of version 2, as `qsgd_lab.wire.message.pack` takes them.
    chunk_size : int
        Coordinates that are coded together: a multiple of 32, at most 4096. Not of the layout "ranged".
    effort : {0, 1, 2}
        Of the layout "ranged": one table; up to eight, chosen from samples; eight, from all levels.
    threads : int or None
        Chunks are coded in parallel by as many threads; None takes all processors. The message does not
        depend on it.
    backend : {"auto", "cpu", "reference", "cuda"}
        Auto works where the levels live. The reference is plain Python; all backends give the same bytes.

    Returns
    -------
    Message
        Bytes to send; its length is what they cost. For levels on a CUDA device a uint8 array of their
        library there, which a collective sends as it is; `to_host_message` makes a `Message` of it.

    Raises
    ------
    ValueError
        If an argument is out of its range, the quantized gradient is inconsistent, or version 1 cannot say
        it: more than 32 dimensions (version 2 has 64), a norm that is negative, -0 or infinite, or levels
        other than 0 in a bucket of norm 0 or NaN.
    TypeError
        If no message carries such a payload, as a gradient that is not quantized, or levels or norms on a
        device have another dtype than their own.
    MemoryError
        If the device has not enough memory.

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
    if not isinstance(payload, QuantizedGradient):
        _refuse_arrays(payload)
    check_chunk_size(chunk_size)
    threads = num_threads(threads)
    around = {"structure": structure, "key": key, "used": used}
    codec = codec_for(getattr(payload, "levels", None), backend)
    if layout == "auto-any":
        arguments = {"chunk_size": chunk_size, "effort": effort, "threads": threads, "backend": backend}
        return _shortest(payload, code, version, around, arguments)
    if _version_for(payload, layout, version, around) == 2:
        with using_threads(threads):
            return encode_version_2(payload, code, layout, around, codec.IS_DEVICE, effort)
    check_choice(code, layout)
    return codec.encode(payload, code, layout, chunk_size, threads, backend)


def _shortest(
    payload: Any, code: str, version: int | None, around: dict[str, Any], arguments: dict[str, Any]
) -> Message | Any:
    """Return the shortest message of the versions and layouts that the arguments leave open.

    Raises
    ------
    TypeError
        If the payload is not a quantized gradient.
    """
    if not isinstance(payload, QuantizedGradient):
        raise TypeError(f'layout "auto-any" is of levels, which a {type(payload).__name__} does not have')
    found = []
    if _version_for(payload, "auto", version, around) == 1:
        found.append(encode(payload, code, **arguments))
    if version != 1 and (code == "auto" or not found):
        for layout in ("fixed", "base3", "ranged") if payload.num_levels == 1 else ("fixed", "ranged"):
            found.append(encode(payload, code, layout, version=2, **around, **arguments))
    return min(found, key=len)


def _refuse_arrays(payload: Any) -> None:
    """Raise a `TypeError` for what is not a payload, saying what makes one of it."""
    given = f"encode takes a quantized gradient, not a {type(payload).__name__}"
    if isinstance(payload, Message | bytes | bytearray | memoryview):
        raise TypeError(f"{given}: this is a message already")
    if isinstance(payload, np.ndarray | list | tuple) or is_torch(payload) or is_device_array(payload):
        raise TypeError(
            f"{given}: write encode(quantize(gradient, bits=...)) or quantize_and_encode(gradient, bits=...)"
        )


def _is_given(value: Any) -> bool:
    return value is not None


def _version_for(payload: Any, layout: str, version: int | None, around: dict[str, Any]) -> int:
    """Return the version of the format for a payload.

    Raises
    ------
    ValueError
        If the version is unknown, or version 1 is asked for what it does not have.
    """
    if version not in (None, 1, 2):
        raise ValueError(f"version is {version!r}; it must be 1 or 2")
    # Only what version 1 cannot say is of version 2: version 1 has the Elias codes.
    needs_2 = not isinstance(payload, QuantizedGradient) or layout in ("base3", "ranged")
    needs_2 = needs_2 or payload.norm == "shared"
    needs_2 = needs_2 or any(map(_is_given, around.values()))
    if version == 1 and needs_2:
        raise ValueError("version 1 carries levels under Elias codes, without key, mask or lists of arrays")
    return version or (2 if needs_2 else 1)


def check_choice(code: str, layout: str) -> None:
    """Check the names of a code and a layout, either of which may be "auto".

    Raises
    ------
    ValueError
        If one is unknown.
    """
    if code != "auto" and code not in CODES:
        raise ValueError(f"unknown code {code!r}; known: auto, {', '.join(CODES)}")
    if layout != "auto" and layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; known: auto, {', '.join(LAYOUTS)}")

"""Messages of version 2 behind the functions of version 1: encoding, ranges, values and sums.

On a device a message of version 2 goes through host memory: its bytes are copied, read or written there, and
the arrays copied back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.arrays import flat_output
from qsgd_lab.coding.message import Message, check_total
from qsgd_lab.quantization import QuantizedGradient, level_dtype
from qsgd_lab.wire.checks import Limits
from qsgd_lab.wire.envelope import open_sections
from qsgd_lab.wire.kinds.levels import LAYOUTS, Levels, LevelsKind, default_layout
from qsgd_lab.wire.message import check_bound, pack


def encode_version_2(
    payload: Any, code: str, layout: str, around: dict[str, Any], on_device: bool, effort: int = 1
) -> Message | Any:
    """Return the message of version 2 that carries a payload.

    Parameters
    ----------
    payload : QuantizedGradient or a payload of another kind
        A quantized gradient may live on a device.
    code : {"auto"}
    layout : {"auto", "fixed", "base3", "ranged"}
        Of levels.
    around : dict
        What `qsgd_lab.wire.message.pack` takes beside the payload.
    on_device : bool
        Whether a quantized gradient's arrays live on a device.
    effort : {0, 1, 2}
        Of the layout ranged.

    Raises
    ------
    ValueError
        If a code is named, the layout is not one of version 2, or the payload breaks a rule.
    """
    if code != "auto":
        raise ValueError(f"version 2 has no code {code!r}; messages under Elias codes are of version 1")
    if layout not in ("auto", *LAYOUTS):
        raise ValueError(f"version 2 has no layout {layout!r}; known: auto, {', '.join(LAYOUTS)}")
    context = None
    if isinstance(payload, QuantizedGradient):
        payload, context = _to_host(payload, on_device)
        if layout == "ranged" or layout not in ("auto", default_layout(payload)):
            payload = Levels.of(payload, layout, effort)
    elif layout != "auto":
        raise ValueError(f"layout {layout!r} is of levels, which a {type(payload).__name__} does not have")
    message = pack(payload, **around)
    if context is not None:
        return context.from_host(np.asarray(message))
    return message.view(Message)


def decode_version_2(
    message: Any, start: int | None, stop: int | None, limits: Limits, on_device: bool, out: Any = None
) -> Any:
    """Return the payload of a message, or of coordinates start..stop-1 of it, where the message lives."""
    host, context = _bytes_of(message, on_device)
    sections = open_sections(host, limits)
    kind, options, content, side, body, _ = sections
    if out is not None and (context is not None or not isinstance(kind, LevelsKind)):
        raise ValueError("out is for levels in host memory")
    if (start, stop) != (None, None):
        low, high, _ = slice(start, stop).indices(content.structure.num_coordinates)
        payload = kind.read_range(sections, limits, low, max(low, high))
        if out is not None:
            flat_output(out, payload.levels.dtype, payload.levels.size)[:] = payload.levels
    elif isinstance(kind, LevelsKind) and out is not None:
        flat = flat_output(out, level_dtype(options.num_levels), content.structure.num_coordinates)
        payload = kind.read(options, content, side, body, limits, flat)
    else:
        payload = kind.read(options, content, side, body, limits)
    if context is None or not isinstance(payload, QuantizedGradient):
        return payload
    with context.active():
        arrays = context.from_host(payload.levels), context.from_host(payload.norms)
    return QuantizedGradient(*arrays, payload.num_levels, payload.norm, payload.partition, payload.shape)


def values_version_2(message: Any, limits: Limits, on_device: bool, out: Any = None) -> Any:
    """Return the dense values of a message, float32, where it lives."""
    host, context = _bytes_of(message, on_device)
    sections = open_sections(host, limits)
    check_bound(sections, limits)
    structure = sections.content.structure
    if out is not None:
        if context is not None:
            raise ValueError("out is for host memory; a message on a device is decoded to memory of its own")
        buffer = flat_output(out, np.float32, structure.num_coordinates)
        sections.kind.fill_values(sections, limits, buffer, add=False)
        return out
    values = np.empty(structure.num_coordinates, np.float32)
    sections.kind.fill_values(sections, limits, values, add=False)
    if context is None:
        return values.reshape(structure.shape)
    with context.active():
        return context.from_host(values).reshape(structure.shape)


def add_version_2(message: Any, total: NDArray[np.float32], limits: Limits, on_device: bool = False) -> None:
    """Add the dense values of a message to flat `total` on the host; a message of more is refused."""
    limits = Limits(total.size, limits.kinds)
    host, _ = _bytes_of(message, on_device)
    sections = open_sections(host, limits)
    check_total(sections.content.structure.num_coordinates, total.size)
    sections.kind.fill_values(sections, limits, total, add=True)


def add_version_2_on_device(message: Any, total: Any, limits: Limits) -> None:
    """Add the dense values of a message to `total`, a flat Numba array on a device, through host memory."""
    from qsgd_lab.kernels.cuda.device import to_host

    summed = np.array(to_host(total))  # a copy that may be written
    add_version_2(message, summed, limits, on_device=True)
    total.copy_to_device(summed)


def _bytes_of(message: Any, on_device: bool) -> tuple[Any, Any]:
    """Return a message on the host and, if it lives on a device, its context there."""
    if not on_device:
        return message, None
    from qsgd_lab.kernels.cuda.device import context_of, device_view, to_host

    return to_host(device_view(message, np.uint8, "message").reshape(-1)), context_of(message, "message")


def _to_host(quantized: QuantizedGradient, on_device: bool) -> tuple[QuantizedGradient, Any]:
    """Return a quantized gradient on the host and, if it lives on a device, its context there."""
    if not on_device:
        return quantized, None
    from qsgd_lab.coding.device.sizes import device_arrays
    from qsgd_lab.kernels.cuda.device import to_host

    context, levels, norms = device_arrays(quantized)
    scheme = (quantized.num_levels, quantized.norm, quantized.partition, quantized.shape)
    return QuantizedGradient(to_host(levels), to_host(norms), *scheme), context

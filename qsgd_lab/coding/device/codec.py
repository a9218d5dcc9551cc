"""Coding on a CUDA device: the twin of `coding.host`, chosen by `coding.codec`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qsgd_lab.coding.device.decode import add_decoded_on_device, decode_on_device, decode_values_on_device
from qsgd_lab.coding.device.encode import encode_on_device
from qsgd_lab.coding.device.fused import quantize_and_pack_on_device
from qsgd_lab.coding.device.sizes import device_payload_bytes
from qsgd_lab.coding.payload import ChunkScheme
from qsgd_lab.partition import Partition
from qsgd_lab.quantization import QuantizedGradient
from qsgd_lab.stream import KernelKey
from qsgd_lab.wire.checks import Limits

IS_DEVICE = True


def encode(
    quantized: QuantizedGradient, code: str, layout: str, chunk_size: int, threads: int | None, backend: str
) -> Any:
    """Return the message of a quantized gradient; see `encode_on_device`."""
    return encode_on_device(quantized, code, layout, chunk_size)


def quantize_and_encode(
    gradient: Any,
    parts: Partition,
    scheme: ChunkScheme,
    norm: str,
    stochastic: bool,
    key: KernelKey,
    threads: int | None,
) -> Any:
    """Return the message of fixed width of a gradient; see `quantize_and_pack_on_device`."""
    return quantize_and_pack_on_device(gradient, parts, scheme, norm, stochastic, key)


def payload_bytes(
    quantized: QuantizedGradient, chunk_size: int, threads: int | None
) -> dict[tuple[str, str], int]:
    """Return the payload's exact length in bytes by (layout, code)."""
    return device_payload_bytes(quantized, chunk_size)


def decode(
    message: Any,
    start: int | None,
    stop: int | None,
    max_coordinates: int | None,
    threads: int | None,
    backend: str,
    out: Any = None,
) -> QuantizedGradient:
    """Return the quantized gradient of a message; see `decode_on_device`."""
    refuse_memory(out)
    return decode_on_device(message, start, stop, max_coordinates)


def refuse_memory(out: Any) -> None:
    """Raise a `ValueError` if memory is given for a result."""
    if out is not None:
        raise ValueError("out is for host memory; a message on a device is decoded to memory of its own")


def decode_values(message: Any, max_coordinates: int | None, threads: int | None, out: Any = None) -> Any:
    """Return the values of a message; see `decode_values_on_device`."""
    refuse_memory(out)
    return decode_values_on_device(message, max_coordinates)


def add_decoded(messages: Iterable[Any], total: Any, limits: Limits, threads: int | None) -> None:
    """Add the values of messages to `total`; see `add_decoded_on_device`."""
    add_decoded_on_device(messages, total, limits)

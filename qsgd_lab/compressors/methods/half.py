"""fp16 and bf16: every coordinate rounded to half of float32's bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from qsgd_lab.compressors.message_wire import MessageWire
from qsgd_lab.compressors.protocol import Array, Stateless
from qsgd_lab.compressors.registry import Method
from qsgd_lab.stream import Stream
from qsgd_lab.wire.kinds.raw import Raw
from qsgd_lab.wire.raw_values import widened

#: Format -> dtype of its patterns, as kind "raw" takes them.
DTYPES: dict[str, type] = {"fp16": np.float16, "bf16": np.uint16}


class HalfPrecision(Stateless):
    """Rounds every coordinate to the nearest float16 or bfloat16, ties to even.

    What exceeds the format's range becomes an infinity, and is seen: float16 ends at 65504, bfloat16 at
    3.39e38. Below 2^-25, float16 rounds to 0. Each format has one NaN.

    Parameters
    ----------
    format : {"fp16", "bf16"}

    Raises
    ------
    ValueError
        If the format is unknown.
    """

    is_unbiased = False  # rounding to nearest has the same error every time
    contracts_by_data = True  # within the format's range no error exceeds the coordinate

    def __init__(self, format: str) -> None:  # noqa: A002 - the field's word
        if format not in DTYPES:
            raise ValueError(f"unknown format {format!r}; known: {', '.join(DTYPES)}")
        self.format = format

    def compress(self, gradient: Array, state: Any, stream: Stream) -> tuple[Raw, Any]:
        """Return (the rounded coordinates, state)."""
        from qsgd_lab.kernels.cpu.methods import half

        codes = np.empty(gradient.size, np.uint16)
        if self.format == "bf16":
            half.to_bfloat16(gradient.view(np.uint32), codes)
            return Raw(codes), state
        scratch = np.empty(half.PIECE, np.float32)
        half.to_float16(gradient, gradient.view(np.uint32), scratch, scratch.view(np.uint32), codes)
        return Raw(codes.view(np.float16)), state

    def decompress(self, payload: Raw) -> Array:
        """Return the coordinates in float32."""
        return widened(payload.values)

    @property
    def wire(self) -> MessageWire:
        """Kind "raw" of wire format 2, 16 bits a coordinate."""
        return _WIRES[self.format]

    def variance_factor(self, num_coordinates: int) -> float | None:
        """Return 2^-16 for bfloat16, whose range is that of float32; None for float16, whose range ends.

        Of normal numbers: bfloat16 keeps 8 significant bits. Coordinates below 2^-126 are left aside.
        """
        return 2.0**-16 if self.format == "bf16" else None


def _wire(dtype: type) -> MessageWire:
    return MessageWire(
        "raw",
        lambda payload, layout: (
            payload.values.dtype == dtype and payload.values.shape == (layout.num_coordinates,)
        ),
        lambda payload: 16 * payload.values.size,
    )


_WIRES = {name: _wire(dtype) for name, dtype in DTYPES.items()}

METHODS = (
    Method(
        "fp16",
        lambda: HalfPrecision("fp16"),
        (),
        lambda _: "fp16",
        summary="coordinates rounded to float16; above 65504 infinite",
        source="IEEE 754",
        theory="qsgd_lab.theory.methods.half",
    ),
    Method(
        "bf16",
        lambda: HalfPrecision("bf16"),
        (),
        lambda _: "bf16",
        summary="coordinates rounded to bfloat16: float32's range, 8 significant bits",
        source="Kalamkar et al., 2019",
        theory="qsgd_lab.theory.methods.half",
    ),
)

"""fp32: the gradient as it is, the baseline of every comparison."""

from __future__ import annotations

import math

import numpy as np

from qsgd_lab.arrays import is_torch
from qsgd_lab.compressors.protocol import Array, Compressor, Layout, NodeRows, Wire, divide, node_vector
from qsgd_lab.compressors.registry import Method
from qsgd_lab.errors import MessageError
from qsgd_lab.ledger import Ledger, Size
from qsgd_lab.stream import Stream


class RawWire(Wire[Array]):
    """Little-endian float32 coordinates, and nothing around them."""

    kind = "raw"

    def size(self, payload: Array) -> Size:
        """Return 32 bits a coordinate."""
        return Size(0, {}, math.prod(payload.shape))

    def pack(self, payload: Array) -> bytes:
        """Return the coordinates' bytes."""
        host = payload.cpu().numpy() if is_torch(payload) else payload
        return bytes(host.astype("<f4").tobytes())

    def unpack(self, message: bytes, layout: Layout) -> Array:
        """Return the coordinates."""
        if len(message) != 4 * layout.num_coordinates:
            raise MessageError(
                f"{len(message)} bytes do not hold {layout.num_coordinates} float32 coordinates"
            )
        return np.frombuffer(message, "<f4").astype(np.float32)


class FullPrecision(Compressor):
    """Sends float32 coordinates; bypasses the quantizer."""

    aggregates = "sums"
    takes_device_arrays = True
    wire = RawWire()
    is_unbiased = True

    def compress(self, gradient: Array, state: None, stream: Stream) -> tuple[Array, None]:
        """Return (a copy of the gradient, None)."""
        return (gradient.clone() if is_torch(gradient) else gradient.copy()), None

    def decompress(self, payload: Array) -> Array:
        """Return the payload."""
        return payload

    def variance_factor(self, num_coordinates: int) -> float:
        """Return 0: nothing is lost."""
        return 0.0

    def mean(
        self, rows: NodeRows, states: list[None], stream: Stream, out: Array, ledger: Ledger
    ) -> list[None]:
        """Average the gradients without a copy of each."""
        if rows.residuals is not None:
            after: list[None] = super().mean(rows, states, stream, out, ledger)
            return after
        out[...] = 0
        for node in range(len(states)):
            vector = node_vector(rows, node)
            out += vector
            ledger.add(self.wire.size(vector))
        divide(out, len(states))
        return states


METHOD = Method(
    "fp32",
    FullPrecision,
    (),
    lambda _: "fp32",
    summary="float32 coordinates as they are: the baseline",
    source="-",
)

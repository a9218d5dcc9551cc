"""fp32: the gradient as it is, the baseline of every comparison."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qsgd_lab.arrays import is_torch
from qsgd_lab.compressors.protocol import Array, Layout, NodeRows, Stateless, Wire, divide, node_vector
from qsgd_lab.compressors.registry import Method
from qsgd_lab.errors import MessageError
from qsgd_lab.ledger import Ledger, Size
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.stream import Stream
from qsgd_lab.wire import message
from qsgd_lab.wire.kinds.raw import Raw


class RawWire(Wire[Array]):
    """Kind "raw" of wire format 2: float32 coordinates in an envelope, so that damage is seen.

    An all-reduce adds bare coordinates, and that is what fp32 is counted as: 32 bits each. The envelope of a
    message is `envelope_bits` besides, and not in the size.
    """

    kind = "raw"

    def size(self, payload: Array) -> Size:
        """Return 32 bits a coordinate."""
        return Size(0, {}, math.prod(payload.shape))

    def pack(self, payload: Array) -> bytes:
        """Return the message."""
        host = payload.cpu().numpy() if is_torch(payload) else payload
        return bytes(message.pack(Raw(np.asarray(host, np.float32).reshape(-1))))

    def unpack(self, received: bytes, layout: Layout) -> Array:
        """Return the coordinates."""
        n = layout.num_coordinates
        values = message.unpack(received, max_coordinates=n, kinds=["raw"]).values
        if values.dtype != np.float32 or values.shape != (n,):
            raise MessageError(f"the message is not of {n} coordinates in float32")
        return np.array(values)


def envelope_bits(num_coordinates: int) -> int:
    """Return the bits of a message of n float32 coordinates that are not coordinates: 48 bytes and padding.

    Examples
    --------
    >>> envelope_bits(2), envelope_bits(3)
    (384, 416)
    """
    values = np.broadcast_to(np.float32(0), (num_coordinates,))
    return message.size(Raw(values)) - FLOAT_BITS * num_coordinates


class FullPrecision(Stateless):
    """Sends float32 coordinates; bypasses the quantizer."""

    aggregates = "sums"
    takes_device_arrays = True
    wire = RawWire()
    is_unbiased = True

    def compress(self, gradient: Array, state: Any, stream: Stream) -> tuple[Array, Any]:
        """Return (a copy of the gradient, state)."""
        return (gradient.clone() if is_torch(gradient) else gradient.copy()), state

    def decompress(self, payload: Array) -> Array:
        """Return the payload."""
        return payload

    def variance_factor(self, num_coordinates: int) -> float:
        """Return 0: nothing is lost."""
        return 0.0

    def mean(self, rows: NodeRows, states: Any, stream: Stream, out: Array, ledger: Ledger) -> Any:
        """Average the gradients without a copy of each."""
        if rows.residuals is not None:
            return super().mean(rows, states, stream, out, ledger)
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
    theory="qsgd_lab.theory.methods.half",
)

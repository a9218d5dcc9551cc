"""Top-K: the k coordinates of largest magnitude, with their indices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from qsgd_lab.compressors.protocol import Array, Layout, Stateless, Wire
from qsgd_lab.compressors.registry import Method, Option
from qsgd_lab.errors import MessageError
from qsgd_lab.ledger import Size
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.stream import Stream
from qsgd_lab.wire import message
from qsgd_lab.wire.kinds.sparse import SparseValues


class SparseWire(Wire[SparseValues]):
    """Kind "sparse" of wire format 2: indices in the shortest of three codes, and values."""

    kind = "sparse"

    def size(self, payload: SparseValues) -> Size:
        """Return "fixed", indices at fixed width and values alone, and "message", the whole."""
        n, k = payload.num_coordinates, payload.indices.size
        index_width = max(1, (n - 1).bit_length())
        return Size(n, {"fixed": k * (index_width + FLOAT_BITS), "message": message.size(payload)})

    def pack(self, payload: SparseValues) -> bytes:
        """Return the message."""
        return bytes(message.pack(payload))

    def unpack(self, received: bytes, layout: Layout) -> SparseValues:
        """Read a message of float32 values."""
        n = layout.num_coordinates
        payload: SparseValues = message.unpack(received, max_coordinates=n, kinds=["sparse"])
        if payload.num_coordinates != n or getattr(payload.values, "dtype", None) != np.float32:
            raise MessageError(f"the message is not of {n} coordinates in float32")
        return payload


def kept(fraction: float, num_coordinates: int) -> int:
    """Return k = max(1, round(fraction n)), at most n.

    Raises
    ------
    ValueError
        If the fraction is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction is {fraction}; it must be above 0 and at most 1")
    return min(num_coordinates, max(1, round(fraction * num_coordinates)))


class TopK(Stateless):
    """Sends the k = max(1, round(fraction n)) coordinates of largest magnitude of the whole gradient.

    Of equal magnitudes the first coordinates are taken; NaN counts as larger than infinity, so that a
    diverged gradient is seen.

    Parameters
    ----------
    fraction : float
        Above 0, at most 1.

    Raises
    ------
    ValueError
        If the fraction is out of range.

    References
    ----------
    Stich, Cordonnier, Jaggi: Sparsified SGD with memory. NeurIPS 2018.
    """

    needs_feedback = True
    wire = SparseWire()

    def __init__(self, fraction: float = 0.01) -> None:
        kept(fraction, 1)  # refuses a bad fraction here, not at the first gradient
        self.fraction = fraction

    def kept(self, num_coordinates: int) -> int:
        """Return k."""
        return kept(self.fraction, num_coordinates)

    def compress(self, gradient: Array, state: Any, stream: Stream) -> tuple[SparseValues, Any]:
        """Return (the largest coordinates, state)."""
        indices = np.empty(self.kept(gradient.size), np.int64)
        if indices.size == gradient.size:
            indices[:] = np.arange(gradient.size)
        else:
            from qsgd_lab.kernels.cpu.methods.selection import largest

            # Magnitudes are ordered by their bits, sign cleared: exact, and NaN comes last.
            largest(gradient.view(np.uint32), np.uint32(0x7FFFFFFF), np.uint32(0), indices)
        return SparseValues(indices, gradient[indices], gradient.size), state

    def decompress(self, payload: SparseValues) -> Array:
        """Return the vector with zeros elsewhere."""
        values = np.zeros(payload.num_coordinates, np.float32)
        values[payload.indices] = payload.values
        return values

    @property
    def is_unbiased(self) -> bool:
        """False, unless all coordinates are sent."""
        return self.fraction == 1

    def variance_factor(self, num_coordinates: int) -> float:
        """Return 1 - k/n, attained where all magnitudes are equal."""
        return 1 - self.kept(num_coordinates) / num_coordinates if num_coordinates else 0.0


def _label(options: Mapping[str, Any]) -> str:
    percent = 100 * options["fraction"]
    return f"top {percent:.6g} %"


def _fraction(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


#: Shares at which top-k and rand-k are compared with others at equal bits.
KEPT_SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
FRACTION = Option("fraction", _fraction, 0.01, "share of the coordinates that are sent, above 0, at most 1")

METHOD = Method(
    "top-k",
    TopK,
    (FRACTION,),
    _label,
    summary="the coordinates of largest magnitude, with their indices",
    source="Stich, Cordonnier, Jaggi, NeurIPS 2018",
    theory="qsgd_lab.theory.methods.top_k",
    settings=tuple(f"top-k(fraction={share})" for share in KEPT_SHARES),
)

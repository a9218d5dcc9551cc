"""Top-K: the k coordinates of largest magnitude, with their indices."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.compressors.protocol import Array, Compressor, Layout, Wire
from qsgd_lab.compressors.registry import Method, Option
from qsgd_lab.errors import MessageError
from qsgd_lab.ledger import Size
from qsgd_lab.levels import FLOAT_BITS
from qsgd_lab.stream import Stream

_HEAD = struct.Struct("<4sQQ")  # magic, n, k
_MAGIC = b"QLK1"
_CHECK_BYTES = 4


@dataclass(frozen=True)
class SparseValues:
    """Some coordinates of a vector of n.

    Attributes
    ----------
    num_coordinates : int
        n.
    indices : int64, shape (k,)
        Ascending, without repetition.
    values : float32, shape (k,)
    """

    num_coordinates: int
    indices: NDArray[np.int64]
    values: NDArray[np.float32]


class SparseWire(Wire[SparseValues]):
    """Head (magic, n, k), indices at fixed width, values, and a CRC-32 of all before it; little-endian."""

    kind = "sparse"

    def size(self, payload: SparseValues) -> Size:
        """Return "fixed", indices and values alone, and "message", the whole."""
        n, k = payload.num_coordinates, payload.indices.size
        index_bits = k * _width(n)
        length = _HEAD.size + -(-index_bits // 8) + 4 * k + _CHECK_BYTES
        return Size(n, {"fixed": index_bits + FLOAT_BITS * k, "message": 8 * length})

    def pack(self, payload: SparseValues) -> bytes:
        """Return the message."""
        n, k = payload.num_coordinates, payload.indices.size
        places = np.arange(_width(n))
        bits = (payload.indices[:, None] >> places) & 1
        packed = np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little").tobytes()
        body = _HEAD.pack(_MAGIC, n, k) + packed + payload.values.astype("<f4").tobytes()
        return body + struct.pack("<I", zlib.crc32(body))

    def unpack(self, message: bytes, layout: Layout) -> SparseValues:
        """Read a message; its length must follow from n and k before anything is allocated."""
        if len(message) < _HEAD.size + _CHECK_BYTES:
            raise MessageError("the message is truncated: its head is not whole")
        magic, n, k = _HEAD.unpack_from(message)
        if magic != _MAGIC:
            raise MessageError("this is no message of sparse values")
        if n != layout.num_coordinates or k > n:
            raise MessageError(f"the message has {k} of {n} coordinates; expected {layout.num_coordinates}")
        index_bits = k * _width(n)
        start = _HEAD.size + -(-index_bits // 8)
        end = start + 4 * k
        if len(message) != end + _CHECK_BYTES:
            raise MessageError(f"the message has {len(message)} bytes; {end + _CHECK_BYTES} are right")
        if struct.unpack_from("<I", message, end)[0] != zlib.crc32(message[:end]):
            raise MessageError("the message is damaged: its checksum does not match")
        bits = np.unpackbits(
            np.frombuffer(message, np.uint8, start - _HEAD.size, _HEAD.size), bitorder="little"
        )
        if bits[index_bits:].any():
            raise MessageError("the padding behind the indices is not zero")
        weights = np.int64(1) << np.arange(_width(n), dtype=np.int64)
        indices = bits[:index_bits].reshape(k, _width(n)) @ weights if k else np.empty(0, np.int64)
        if k and ((np.diff(indices) <= 0).any() or indices[-1] >= n):
            raise MessageError("the indices do not ascend, or exceed the gradient")
        return SparseValues(n, indices, np.frombuffer(message, "<f4", k, start).astype(np.float32))


def _width(num_coordinates: int) -> int:
    """Return the bits of an index."""
    return max(1, (num_coordinates - 1).bit_length())


class TopK(Compressor):
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

    def __init__(self, fraction: float = 0.01) -> None:
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction is {fraction}; it must be above 0 and at most 1")
        self.fraction = fraction

    def kept(self, num_coordinates: int) -> int:
        """Return k."""
        return min(num_coordinates, max(1, round(self.fraction * num_coordinates)))

    def init(self, layout: Layout) -> None:
        """Return None: there is no state."""

    def compress(self, gradient: Array, state: None, stream: Stream) -> tuple[SparseValues, None]:
        """Return (the largest coordinates, None)."""
        n = gradient.size
        k = self.kept(n)
        # Magnitudes are ordered by their bits, sign cleared: exact, and NaN comes last.
        order = np.ascontiguousarray(gradient).view(np.uint32) & np.uint32(0x7FFFFFFF)
        if k == n:
            indices = np.arange(n)
        else:
            least = np.partition(order, n - k)[n - k]
            above = np.flatnonzero(order > least)
            equal = np.flatnonzero(order == least)[: k - above.size]
            indices = np.sort(np.concatenate([above, equal]))
        return SparseValues(n, indices.astype(np.int64), gradient[indices].astype(np.float32)), None

    def decompress(self, payload: SparseValues) -> Array:
        """Return the vector with zeros elsewhere."""
        values = np.zeros(payload.num_coordinates, np.float32)
        values[payload.indices] = payload.values
        return values

    @property
    def wire(self) -> SparseWire:
        """Indices and values."""
        return _WIRE

    @property
    def is_unbiased(self) -> bool:
        """False, unless all coordinates are sent."""
        return self.fraction == 1

    def variance_factor(self, num_coordinates: int) -> float:
        """Return 1 - k/n, attained where all magnitudes are equal."""
        return 1 - self.kept(num_coordinates) / num_coordinates if num_coordinates else 0.0


_WIRE = SparseWire()


def _label(options: Mapping[str, Any]) -> str:
    percent = 100 * options["fraction"]
    return f"top {percent:.6g} %"


def _fraction(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


METHOD = Method(
    "top-k",
    TopK,
    (Option("fraction", _fraction, 0.01, "share of the coordinates that are sent, above 0, at most 1"),),
    _label,
    summary="the coordinates of largest magnitude, with their indices",
    source="Stich, Cordonnier, Jaggi, NeurIPS 2018",
    theory="qsgd_lab.theory.methods.top_k",
)

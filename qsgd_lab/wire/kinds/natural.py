"""Kind 10: signed powers of two, nine bits each: natural compression."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.wire.checks import NAN_BITS, Bytes, Limits, check_zeros, parse_bits, require, up8
from qsgd_lab.wire.kind import Content, Kind, Lengths
from qsgd_lab.wire.structure import Structure

NOT_A_NUMBER = 255


@dataclass(frozen=True, eq=False)
class Powers:
    """Zeros and signed powers of two.

    Attributes
    ----------
    codes : uint8, shape (n,)
        c = 0 is zero, c = 1 to 254 is 2^(c - 127), c = 255 NaN.
    negative : bool, shape (n,)
        False where the code is 0 or 255.
    """

    codes: NDArray[np.uint8]
    negative: NDArray[np.bool_]


class NaturalKind(Kind[Powers]):
    """Kind 10."""

    number = 10
    name = "natural"
    payload_types = (Powers,)
    arrays = ("codes", "negative")
    fields = struct.Struct("<8x")

    def count(self, payload: Powers) -> int:
        """Return n."""
        return payload.codes.size

    def fixed(self, options: Any, structure: Structure) -> Lengths:
        """Return the bytes of codes and signs."""
        n = structure.num_coordinates
        return Lengths(payload=up8(n) + -(-n // 8))

    def write(self, payload: Powers, options: Any, side: Bytes, buffer: Bytes) -> None:
        """Write codes and signs."""
        codes, negative = payload.codes.reshape(-1), payload.negative.reshape(-1)
        types = codes.dtype == np.uint8 and negative.dtype == np.bool_ and codes.size == negative.size
        require(types, "parameters", "a natural payload has as many uint8 codes as bool signs")
        _check_signs(codes, negative)
        n = codes.size
        buffer[:n] = codes
        buffer[n : up8(n)] = 0
        buffer[up8(n) : up8(n) + -(-n // 8)] = np.packbits(negative, bitorder="little")

    def read(self, options: Any, content: Content, side: Bytes, body: Bytes, limits: Limits) -> Powers:
        """Return codes and signs."""
        n = content.structure.num_coordinates
        check_zeros(body[n : up8(n)], "the padding after the codes")
        codes = body[:n].copy()
        negative = parse_bits(body[up8(n) :], n, "the signs")
        _check_signs(codes, negative)
        return Powers(codes, negative)

    def put_values(self, payload: Powers, values: NDArray[np.float32]) -> None:
        """Write the powers of two; the code is the exponent of their float32."""
        codes, negative = payload.codes.reshape(-1), payload.negative.reshape(-1)
        bits = values.view(np.uint32)
        bits[:] = codes
        bits <<= np.uint32(23)
        np.bitwise_or(bits, np.uint32(1 << 31), out=bits, where=negative)
        np.copyto(bits, NAN_BITS, where=codes == NOT_A_NUMBER)


def _check_signs(codes: NDArray[np.uint8], negative: NDArray[np.bool_]) -> None:
    """Check that zeros and NaN have no sign."""
    unsigned = (codes == 0) | (codes == NOT_A_NUMBER)
    require(not (negative & unsigned).any(), "canonical", "a zero or a NaN has a sign")


KIND = NaturalKind()

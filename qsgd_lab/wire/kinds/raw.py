"""Kind 1: values as they are, in float32, float16 or bfloat16."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.wire.checks import Bytes, Limits
from qsgd_lab.wire.key import Key
from qsgd_lab.wire.kind import Content, Kind, Lengths, array_of
from qsgd_lab.wire.raw_values import (
    DTYPES,
    check_value_type,
    put_widened,
    value_type_of,
    width_of,
    write_values,
)
from qsgd_lab.wire.structure import Structure


@dataclass(frozen=True, eq=False)
class Raw:
    """Values that are sent as they are.

    Attributes
    ----------
    values : float32, float16, or uint16 that holds the bits of bfloat16; of any shape
    """

    values: NDArray[Any]


class RawKind(Kind[Raw]):
    """Kind 1."""

    number = 1
    name = "raw"
    payload_types = (Raw,)
    arrays = ("values",)
    fields = struct.Struct("<B7x")

    def count(self, payload: Raw) -> int:
        """Return n."""
        return int(payload.values.size)

    def structure(self, payload: Raw) -> Structure:
        """Return the structure of one array of the values' shape."""
        return Structure.array(payload.values.shape)

    def options(self, payload: Raw) -> tuple[int]:
        """Return the value type."""
        return (value_type_of(payload.values),)

    def check(self, options: tuple[int], structure: Structure, key: Key | None) -> None:
        """Check the value type."""
        check_value_type(options[0])

    def fixed(self, options: tuple[int], structure: Structure) -> Lengths:
        """Return the bytes of the values."""
        return Lengths(payload=width_of(options[0]) * structure.num_coordinates)

    def write(self, payload: Raw, options: tuple[int], side: Bytes, buffer: Bytes) -> None:
        """Write the values' patterns."""
        write_values(payload.values, buffer)

    def read(self, options: tuple[int], content: Content, side: Bytes, body: Bytes, limits: Limits) -> Raw:
        """Return the values, in the shape of the one array or flat."""
        structure = content.structure
        return Raw(array_of(body, DTYPES[options[0]], structure.num_coordinates).reshape(structure.shape))

    def read_range(self, sections: Any, limits: Limits, low: int, high: int) -> Raw:
        """Return some of the values, flat."""
        _, options, _, _, body, _ = sections
        return Raw(array_of(body, DTYPES[options[0]], high - low, low * width_of(options[0])))

    def put_values(self, payload: Raw, values: NDArray[np.float32]) -> None:
        """Write the values widened to float32."""
        put_widened(payload.values, values)


KIND = RawKind()

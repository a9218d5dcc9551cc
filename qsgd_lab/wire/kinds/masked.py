"""Kind 7: values at positions that follow from the key, such as Rand-K's; all others are +0."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.wire.checks import Bytes, Limits, require
from qsgd_lab.wire.key import Key, Purpose, check_common_words, needed_key, words
from qsgd_lab.wire.kind import Content, Kind, Lengths, array_of
from qsgd_lab.wire.raw_values import DTYPES, check_value_type, value_type_of, widened, width_of, write_values
from qsgd_lab.wire.structure import Structure


@dataclass(frozen=True, eq=False)
class Masked:
    """Values at the positions of a mask that the key draws.

    Attributes
    ----------
    values : float32, float16 or uint16 (bits of bfloat16), shape (k,)
        In the order of their positions, as they are decoded: a factor n/k is already in them.
    num_coordinates : int
        n.
    key : Key
        Its node is `SHARED_NODE` for a mask that all nodes share.
    """

    values: NDArray[Any]
    num_coordinates: int
    key: Key


class MaskedOptions(NamedTuple):
    """The parameters of kind 7."""

    value_type: int
    num_values: int


class MaskedKind(Kind[Masked]):
    """Kind 7."""

    number = 7
    name = "masked"
    payload_types = (Masked,)
    arrays = ("values",)
    fields = struct.Struct("<xB6xQ")
    make_options = MaskedOptions._make
    needs_bound = True

    def count(self, payload: Masked) -> int:
        """Return n."""
        return payload.num_coordinates

    def key(self, payload: Masked) -> Key:
        """Return the key of the mask."""
        return payload.key

    def options(self, payload: Masked) -> MaskedOptions:
        """Return the parameters."""
        return MaskedOptions(value_type_of(payload.values), payload.values.size)

    def check(self, options: MaskedOptions, structure: Structure, key: Key | None) -> None:
        """Check the parameters, and that one stream has words for all coordinates."""
        n = structure.num_coordinates
        check_value_type(options.value_type)
        require(options.num_values <= n, "parameters", f"{options.num_values} values of {n} coordinates")
        check_common_words(needed_key(key, self.name), n)

    def fixed(self, options: MaskedOptions, structure: Structure) -> Lengths:
        """Return the bytes of the values."""
        return Lengths(payload=width_of(options.value_type) * options.num_values)

    def write(self, payload: Masked, options: MaskedOptions, side: Bytes, buffer: Bytes) -> None:
        """Write the values."""
        write_values(payload.values, buffer)

    def read(
        self, options: MaskedOptions, content: Content, side: Bytes, body: Bytes, limits: Limits
    ) -> Masked:
        """Return the values; the mask is not drawn yet."""
        values = array_of(body, DTYPES[options.value_type], options.num_values)
        return Masked(values, content.structure.num_coordinates, needed_key(content.key, self.name))

    def put_values(self, payload: Masked, values: NDArray[np.float32]) -> None:
        """Write the values at the mask's positions, and +0 elsewhere."""
        values[:] = 0
        positions = mask_positions(payload.key, payload.values.size, payload.num_coordinates)
        values[positions] = widened(payload.values)


def mask_positions(key: Key, count: int, num_coordinates: int) -> NDArray[np.int64]:
    """Return the positions of a mask, ascending, int64, shape (k,).

    They are those of the k smallest (word, position) of n coordinates.

    Parameters
    ----------
    key : Key
    count : int
        k, at most n.
    num_coordinates : int
        n.
    """
    if count == 0:
        return np.empty(0, np.int64)
    from qsgd_lab.kernels.cpu.methods.selection import largest

    positions, every = np.empty(count, np.int64), np.uint32(0xFFFFFFFF)
    largest(words(key, Purpose.MASK, num_coordinates), every, every, positions)  # of the complements
    return positions


KIND = MaskedKind()

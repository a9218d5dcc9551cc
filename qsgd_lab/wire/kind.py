"""A payload kind: its parameters, its sections, and the functions that write and read them.

A kind is one file in `qsgd_lab.wire.kinds` that ends in ``KIND = ...``. Writer and reader share `check`,
`lengths` and `check_payload`: the writer calls them on what it is given, the reader on what it has read.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.wire.checks import Bytes, Limits, up8
from qsgd_lab.wire.key import Key
from qsgd_lab.wire.structure import Structure

P = TypeVar("P")


class Lengths(NamedTuple):
    """Bytes of the sections of a kind, before they are padded to multiples of 8."""

    side: int = 0
    payload: int = 0
    tail: int = 0

    @property
    def total(self) -> int:
        """The bytes of all sections, padding included."""
        return up8(self.side) + up8(self.payload) + self.tail


@dataclass(frozen=True, eq=False)
class Content:
    """What a message carries.

    Attributes
    ----------
    payload : Any
        The payload type of a kind.
    structure : Structure
    key : Key or None
    used : bool, shape (T,), or None
        Which tensors had a gradient in this step.
    number : int
        The kind's number in the message that was read.
    """

    payload: Any
    structure: Structure
    key: Key | None = None
    used: NDArray[np.bool_] | None = None
    number: int = 0


class Kind(ABC, Generic[P]):
    """One payload kind.

    Attributes
    ----------
    number : int
        In messages.
    name : str
    payload_types : tuple of type
        What it carries in memory.
    fields : struct.Struct
        Bytes of the parameters.
    arrays : tuple of str
        Fields of the payload that must be NumPy arrays.
    make_options : callable
        Numbers of the parameters -> what the kind's methods take as options.
    needs_bound : bool
        Whether n is not bounded by the length of a message, so that dense values need `max_coordinates`.
    """

    number: ClassVar[int]
    name: ClassVar[str]
    payload_types: ClassVar[tuple[type, ...]]
    fields: ClassVar[struct.Struct] = struct.Struct("")
    arrays: ClassVar[tuple[str, ...]] = ()
    make_options: ClassVar[Any] = tuple
    needs_bound: ClassVar[bool] = False

    def structure(self, payload: P) -> Structure:
        """Return the structure that a payload has by itself: flat, unless it knows more."""
        return Structure.flat(self.count(payload))

    def key(self, payload: P) -> Key | None:
        """Return the key that belongs to a payload, if its values depend on one."""
        return None

    def number_of(self, payload: P) -> int:
        """Return the kind's number in the message that carries a payload."""
        return self.number

    @abstractmethod
    def count(self, payload: P) -> int:
        """Return the number of coordinates of a payload, n."""

    def options(self, payload: P) -> Any:
        """Return the parameters of a payload, as `check` takes them and `pack_options` writes them."""
        return ()

    def check(self, options: Any, structure: Structure, key: Key | None) -> None:
        """Check parameters, structure and key against each other; both sides call it.

        Raises
        ------
        MessageError
            If they are out of their range.
        """

    def pack_options(self, options: Any) -> bytes:
        """Return the bytes of the parameters."""
        return self.fields.pack(*options)

    def unpack_options(self, data: bytes) -> Any:
        """Return the parameters of these bytes, of the right length and otherwise unchecked."""
        return self.make_options(self.fields.unpack(data))

    def size_of_parameters(self, size: int) -> bool:
        """Whether the parameters of this kind can have `size` bytes."""
        return size == self.fields.size

    def fixed(self, options: Any, structure: Structure) -> Lengths:
        """Return the sections' lengths where parameters and structure fix them."""
        return Lengths()

    def lengths(self, payload: P, options: Any, structure: Structure) -> Lengths:
        """Return the sections' lengths, without coding."""
        return self.fixed(options, structure)

    def claimed(self, options: Any, structure: Structure, body: Bytes) -> Lengths:
        """Return the lengths that a message claims, of which `body` is side data, payload and tail.

        Raises
        ------
        MessageError
            If `body` is too short to tell. Nothing of size n or B is allocated here.
        """
        return self.fixed(options, structure)

    @abstractmethod
    def write(self, payload: P, options: Any, side: Bytes, buffer: Bytes) -> None:
        """Write the side data, and the payload into `buffer`, which has eight bytes more than it takes.

        Raises
        ------
        MessageError
            If the payload breaks a rule.
        """

    @abstractmethod
    def read(self, options: Any, content: Content, side: Bytes, body: Bytes, limits: Limits) -> P:
        """Return the payload; `content` has structure and key, `body` is payload, its padding and tail.

        Raises
        ------
        MessageError
            If it is not what `write` writes.
        """

    def read_range(self, sections: Any, limits: Limits, low: int, high: int) -> P:
        """Return the payload of coordinates low..high-1 of a message taken apart.

        Raises
        ------
        ValueError
            If the kind cannot be read in part.
        MessageError
            As `read` does.
        """
        raise ValueError(f"a message of kind {self.name} cannot be decoded in part: decode all of it")

    def fill_values(self, sections: Any, limits: Limits, values: NDArray[np.float32], *, add: bool) -> None:
        """Write or add the dense values of a message taken apart; raises as `read` does."""
        _, options, content, side, body, _ = sections
        payload = self.read(options, content, side, body, limits)
        if add:
            values += self.values(payload)
        else:
            self.put_values(payload, values)

    @abstractmethod
    def put_values(self, payload: P, values: NDArray[np.float32]) -> None:
        """Write the dense values, float32, shape (n,), contiguous; no second array of that size is made."""

    def values(self, payload: P) -> NDArray[np.float32]:
        """Return the dense values, float32, shape (n,)."""
        values = np.empty(self.count(payload), np.float32)
        self.put_values(payload, values)
        return values


def array_of(data: Bytes, dtype: Any, count: int, offset: int = 0) -> NDArray[Any]:
    """Return `count` little-endian numbers at a byte of a message, as a copy in the machine's own order."""
    return np.frombuffer(data, _little(dtype), count, offset).astype(dtype)


@cache
def _little(dtype: Any) -> np.dtype[Any]:
    little: np.dtype[Any] = np.dtype(dtype).newbyteorder("<")
    return little

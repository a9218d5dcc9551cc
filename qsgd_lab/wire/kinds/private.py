"""Kinds 128 to 254: payloads of other people's compressors, found by a name that the receiver registers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.errors import MessageError
from qsgd_lab.wire.checks import Bytes, Limits, require
from qsgd_lab.wire.key import Key
from qsgd_lab.wire.kind import Content, Kind, Lengths
from qsgd_lab.wire.structure import Structure

NAME_BYTES = 16
MAX_OWN_BYTES = 2024
NUMBERS = range(128, 255)
_NAME = re.compile(r"[a-z][a-z0-9.-]{0,15}")


@dataclass(frozen=True, eq=False)
class Private:
    """A payload of a kind of one's own.

    Attributes
    ----------
    name : str
        1 to 16 of a-z, 0-9, "." and "-", the first a letter; it was given to `register`.
    payload : bytes-like
        A multiple of 8 bytes; registered functions get it as uint8.
    structure : Structure
    key : Key or None
    parameters : bytes
        A multiple of 8, at most 2024.
    number : int
        128 to 254.
    """

    name: str
    payload: Any
    structure: Structure
    key: Key | None = None
    parameters: bytes = b""
    number: int = NUMBERS[0]


@dataclass(frozen=True)
class Reader:
    """What a receiver knows of a private kind.

    Attributes
    ----------
    check : (Private, max_coordinates or None) -> None
        Raises a `MessageError` if the payload, which comes from anywhere, is not one of this kind.
    values : (Private) -> float32, shape (n,)
    """

    check: Callable[[Private, int | None], None]
    values: Callable[[Private], NDArray[np.float32]]


_READERS: dict[str, Reader] = {}


def register(
    name: str,
    check: Callable[[Private, int | None], None],
    values: Callable[[Private], NDArray[np.float32]],
) -> None:
    """Make a private kind known to this process; a name given again replaces what it meant.

    Raises
    ------
    ValueError
        If the name is not one.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"a name is 1 to 16 of a-z, 0-9, '.' and '-', the first a letter, not {name!r}")
    _READERS[name] = Reader(check, values)


def reader_of(name: str) -> Reader:
    """Return what is registered under a name.

    Raises
    ------
    MessageError
        If nothing is.
    """
    require(_NAME.fullmatch(name), "parameters", f"{name!r} is not the name of a private kind")
    require(name in _READERS, "unknown", f'private kind "{name}" is not registered')
    return _READERS[name]


class PrivateKind(Kind[Private]):
    """Kinds 128 to 254."""

    number = NUMBERS[0]
    name = "private"
    payload_types = (Private,)
    needs_bound = True

    def number_of(self, payload: Private) -> int:
        """Return the payload's own number, which `options` checks."""
        return payload.number

    def count(self, payload: Private) -> int:
        """Return n."""
        return payload.structure.num_coordinates

    def structure(self, payload: Private) -> Structure:
        """Return the payload's structure."""
        return payload.structure

    def key(self, payload: Private) -> Key | None:
        """Return the payload's key."""
        return payload.key

    def options(self, payload: Private) -> tuple[str, bytes]:
        """Return the name and the kind's own parameters."""
        text = f"private kinds have numbers 128 to 254, not {payload.number}"
        require(payload.number in NUMBERS, "parameters", text)
        return payload.name, _bytes_of(payload.parameters).tobytes()

    def check(self, options: tuple[str, bytes], structure: Structure, key: Key | None) -> None:
        """Check that the name is registered."""
        own = options[1]
        reader_of(options[0])
        text = f"own parameters have a multiple of 8 bytes up to {MAX_OWN_BYTES}, not {len(own)}"
        require(len(own) % 8 == 0 and len(own) <= MAX_OWN_BYTES, "parameters", text)

    def pack_options(self, options: tuple[str, bytes]) -> bytes:
        """Return the name in 16 bytes, and the kind's own parameters."""
        return options[0].encode("ascii", "replace").ljust(NAME_BYTES, b"\0") + options[1]

    def unpack_options(self, data: bytes) -> tuple[str, bytes]:
        """Return the name and the kind's own parameters."""
        return data[:NAME_BYTES].rstrip(b"\0").decode("ascii", "replace"), data[NAME_BYTES:]

    def size_of_parameters(self, size: int) -> bool:
        """Whether the parameters have space for the name."""
        return size >= NAME_BYTES

    def lengths(self, payload: Private, options: Any, structure: Structure) -> Lengths:
        """Return the bytes of the payload."""
        size = _bytes_of(payload.payload).size
        require(
            size % 8 == 0, "length", f"the payload of a private kind has a multiple of 8 bytes, not {size}"
        )
        return Lengths(payload=size)

    def claimed(self, options: Any, structure: Structure, body: Bytes) -> Lengths:
        """Return all that is left: it is the payload."""
        return Lengths(payload=body.size)

    def write(self, payload: Private, options: Any, side: Bytes, buffer: Bytes) -> None:
        """Write the payload, which its own reader has checked."""
        data = _bytes_of(payload.payload)
        reader_of(payload.name).check(replace(payload, payload=data), None)
        buffer[: data.size] = data

    def read(self, options: Any, content: Content, side: Bytes, body: Bytes, limits: Limits) -> Private:
        """Return the payload, a view of the message, which the registered reader has checked."""
        payload = Private(options[0], body, content.structure, content.key, options[1], content.number)
        reader_of(payload.name).check(payload, limits.max_coordinates)
        return payload

    def put_values(self, payload: Private, values: NDArray[np.float32]) -> None:
        """Write what the registered reader makes of the payload."""
        data = _bytes_of(payload.payload)
        made = reader_of(payload.name).values(replace(payload, payload=data))
        dense = np.asarray(made, np.float32).reshape(-1)
        if dense.size != values.size:
            raise MessageError(f'private kind "{payload.name}" gave {dense.size} values', "parameters")
        values[:] = dense


def _bytes_of(data: Any) -> Bytes:
    """Return bytes-like data, not copied; a MessageError if it is not that."""
    try:
        return np.frombuffer(memoryview(data).cast("B"), np.uint8)
    except TypeError:
        raise MessageError("payload and parameters must be bytes, or contiguous", "parameters") from None


KIND = PrivateKind()

"""The envelope of version 2, written and taken apart: head, structure, parameters, key, mask, checksums."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from qsgd_lab.wire import checksum
from qsgd_lab.wire.checks import Bytes, Limits, bit_bytes, check_zeros, pack_bits, parse_bits, require, up8
from qsgd_lab.wire.key import Key, check_place, checked_key, key_bytes, parse_key
from qsgd_lab.wire.kind import Content, Kind, Lengths
from qsgd_lab.wire.kinds import kind_of_number
from qsgd_lab.wire.structure import Structure, check_structure, parse_structure

MAGIC = b"QSGD"
VERSION = 2
HEAD_BYTES = 40
FLAG_KEY, FLAG_FIRST, FLAG_USED = 1, 2, 4

NO_LIMITS = Limits()

_HEAD = struct.Struct("<4s4BIBBHQQII")
_LENGTH = struct.Struct("<HQ")
_CHECK_AT, _LENGTH_AT = 14, 16


class Sections(NamedTuple):
    """A message taken apart and checked, its payload not yet read.

    Attributes
    ----------
    kind : Kind
    options : Any
        The kind's parameters.
    content : Content
        Structure, key and mask; its payload is None.
    side : uint8
        Side data.
    body : uint8
        Payload, its padding and tail.
    lengths : Lengths
        Of side data, payload and tail.
    """

    kind: Kind[Any]
    options: Any
    content: Content
    side: Bytes
    body: Bytes
    lengths: Lengths

    @property
    def bytes(self) -> dict[str, int]:
        """Bytes of the message by part; they sum to its length."""
        structure, key, used = self.content.structure, self.content.key, self.content.used
        return {
            "head": HEAD_BYTES,
            "structure": structure.packed_bytes,
            "parameters": len(self.kind.pack_options(self.options)),
            "key and mask": key_bytes(key) + (0 if used is None else bit_bytes(used.size)),
            "side": up8(self.lengths.side),
            "payload": up8(self.lengths.payload),
            "tail": self.lengths.tail,
        }

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes by the parts that version 1 has too; they sum to the length."""
        part = self.bytes
        is_levels = self.kind.name == "levels"
        return {
            "header": part["head"] + part["parameters"] + part["key and mask"] + part["tail"],
            "lists": part["structure"],
            "norms": part["side"] if is_levels else 0,
            "directory": 0 if is_levels else part["side"],
            "payload": part["payload"],
        }


def view_of(message: Any) -> Bytes:
    """Return the bytes of a message, read-only and not copied."""
    view = np.frombuffer(memoryview(message).cast("B"), np.uint8)
    view.flags.writeable = False
    return view


def check_start(view: Bytes) -> None:
    """Check that 32 bytes are there and begin like a message of any version."""
    require(view[:4].tobytes() == MAGIC[: view.size], "foreign", "not a message: it does not begin with QSGD")
    require(view.size >= 32, "truncated", f"a message has at least {HEAD_BYTES} bytes; this has {view.size}")


def message_length(data: Any) -> int:
    """Return the length of a message in bytes from its first 32, as a receiver needs it.

    Raises
    ------
    MessageError
        If they are not the beginning of a message of version 2.
    """
    view = view_of(data)
    check_start(view)
    require(view[4] == VERSION, "version", f"the message is of version {view[4]}; this reads 2")
    claimed, length = _LENGTH.unpack(view[_CHECK_AT : _LENGTH_AT + 8].tobytes())
    intact = checksum.head_check(view) == claimed
    require(intact, "damaged", "the head is damaged: its checksum does not match")
    text = f"the head claims {length} bytes; a message has at least {HEAD_BYTES}, and a multiple of 8"
    require(length >= HEAD_BYTES and length % 8 == 0, "length", text)
    return int(length)


def inner_length(rest: Bytes) -> int:
    """Return the length of the inner message that `rest` begins with; a MessageError if it is cut off."""
    length = message_length(rest)
    require(length <= rest.size, "length", "an inner message is longer than what is left")
    return length


def open_sections(message: Any, limits: Limits = NO_LIMITS, *, inner: bool = False) -> Sections:
    """Take a message apart and check all but its payload, in the order of docs/wire-format-2.md.

    Raises
    ------
    MessageError
        If something does not hold.
    """
    view = view_of(message)
    size, length = view.size, message_length(view)
    require(size == length, "truncated", f"the message has {size} bytes, but its head claims {length}")
    head = _HEAD.unpack(view[:HEAD_BYTES].tobytes())
    _, _, number, flags, forms, tensors, rank, units, _, _, n, front, payload = head
    kind, most = kind_of_number(number), 8 * units
    limits.check_kind(kind.name)
    require(flags < 8, "unknown", f"flags {flags} are not known")
    require(not flags & FLAG_FIRST or flags & FLAG_KEY, "parameters", "a shard needs a key")
    if not inner:
        limits.check_coordinates(n)
    text = f"kind {kind.name} does not have {most} bytes of parameters"
    require(kind.size_of_parameters(most), "parameters", text)
    structure, taken = parse_structure(view[HEAD_BYTES:], forms & 15, forms >> 4, tensors, rank, n)
    at = HEAD_BYTES + taken
    require(size - at >= most, "truncated", "the message ends inside its parameters")
    raw = view[at : at + most].tobytes()
    options, key, used = kind.unpack_options(raw), None, None
    at += most
    if flags & FLAG_KEY:
        key = parse_key(view[at:], bool(flags & FLAG_FIRST))
        check_place(key, structure.sizes)
        at += key_bytes(key)
    if flags & FLAG_USED:
        used = parse_bits(view[at:], tensors, "the used mask")
        at += bit_bytes(tensors)
    kind.check(options, structure, key)
    canonical = kind.pack_options(options) == raw
    require(canonical, "zeros", "bytes of the parameters that mean nothing are not zero")
    body = view[at:]
    lengths = kind.claimed(options, structure, body)
    require(lengths.total == body.size, "length", "the lengths do not fill the message")
    start = up8(lengths.side)
    check_zeros(body[lengths.side : start], "the padding after the side data")
    check_zeros(body[start + lengths.payload :], "the padding after the payload")
    found = checksum.front_and_payload_check(view, at + start)
    for part, is_intact in (("front", found[0] == front), ("payload", found[1] == payload)):
        require(is_intact, "damaged", f"the {part} is damaged: its checksum does not match")
    content = Content(None, structure, key, used, number)
    return Sections(kind, options, content, body[: lengths.side], body[start:], lengths)


def read_payload(sections: Sections, limits: Limits) -> Content:
    """Read the payload of a message taken apart; raises a MessageError where it breaks a rule."""
    kind, options, content, side, body, _ = sections
    return replace(content, payload=kind.read(options, content, side, body, limits))


def content_of(
    kind: Kind[Any], payload: Any, structure: Structure | None, key: Key | None, used: Any
) -> Content:
    """Return what is to be written, checked but for the payload itself."""
    for name in kind.arrays:
        given = getattr(payload, name)
        text = f"{name} of a {type(payload).__name__} must be an array, not a {type(given).__name__}"
        require(hasattr(given, "dtype") and hasattr(given, "shape"), "parameters", text)  # also on a device
    own = kind.key(payload)
    if own is not None and key is not None and tuple(own) != tuple(key):
        raise ValueError("the payload has another key than the message")
    key = checked_key(own if key is None else key)
    if structure is None:
        structure = kind.structure(payload)  # of checked parts
    else:
        check_structure(structure)
    require(
        structure.num_coordinates == kind.count(payload),
        "structure",
        f"the structure has {structure.num_coordinates} coordinates, the payload {kind.count(payload)}",
    )
    if key is not None:
        check_place(key, structure.sizes)
    if used is not None:
        used = np.asarray(used, dtype=bool).reshape(-1)
        require(
            used.size == structure.num_tensors,
            "structure",
            f"the used mask has {used.size} entries, not {structure.num_tensors}",
        )
    return Content(payload, structure, key, used)


def bytes_around(content: Content, parameters: int) -> int:
    """Return the bytes before the side data."""
    mask = 0 if content.used is None else bit_bytes(content.structure.num_tensors)
    return HEAD_BYTES + content.structure.packed_bytes + parameters + key_bytes(content.key) + mask


def front_of(kind: Kind[Any], options: Any, content: Content, lengths: Lengths) -> bytes:
    """Return the bytes before the side data, checksums not yet entered."""
    structure, key, used = content.structure, content.key, content.used
    parameters = kind.pack_options(options)
    rest = structure.pack() + parameters
    rest += key.pack() if key is not None else b""
    rest += pack_bits(used) if used is not None else b""
    flags = (FLAG_KEY if key else 0) | (FLAG_FIRST if key and key.first else 0)
    flags |= FLAG_USED if used is not None else 0
    number, forms = kind.number_of(content.payload), structure.form | structure.width << 4
    rank = 0 if structure.ranks is not None else structure.dimensions.size
    counts = (structure.num_tensors, rank, len(parameters) // 8, 0)
    total = HEAD_BYTES + len(rest) + lengths.total
    head = (MAGIC, VERSION, number, flags, forms, *counts, total, structure.num_coordinates, 0, 0)
    return _HEAD.pack(*head) + rest

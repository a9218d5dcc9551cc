"""Kind 13: some tensors in one message and the others in another, such as small ones raw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.wire.checks import Bytes, Limits, check_zeros, require, up8
from qsgd_lab.wire.key import Key
from qsgd_lab.wire.kind import Content, Kind, Lengths
from qsgd_lab.wire.structure import CUT, LIST, Structure

NUM_WORDS = 2**32


@dataclass(frozen=True, eq=False)
class Select:
    """Two payloads and which tensors each of them has; build it with `select`.

    Attributes
    ----------
    in_first : bool, shape (T,)
        Whether a tensor is in the first part; tensor 0 is.
    first, second : Content
        Payloads with the structures of their tensors, and keys.
    structure : Structure
        Of all tensors.
    """

    in_first: NDArray[np.bool_]
    first: Content
    second: Content
    structure: Structure


def select(
    structure: Structure,
    in_first: Any,
    first: Any,
    second: Any,
    *,
    first_key: Key | None = None,
    second_key: Key | None = None,
) -> Select:
    """Return a payload that has some tensors in one part and the rest in another.

    Parameters
    ----------
    structure : Structure
        Of all tensors: a list, or one array cut in at least two.
    in_first : bool, shape (T,)
        Whether a tensor is in the first part; true for tensor 0.
    first, second : payloads
        Of the coordinates of their tensors; `Nothing` for tensors that are not sent.
    first_key, second_key : Key, optional
        The number of a part's t-th tensor is the key's plus the tensor's place in `structure`.
    """
    chosen = np.array(in_first, dtype=bool).reshape(-1)
    if chosen.size != structure.num_tensors:
        raise ValueError(f"{chosen.size} flags for {structure.num_tensors} tensors")
    parts = (
        Content(first, structure.part(chosen), first_key),
        Content(second, structure.part(~chosen), second_key),
    )
    return Select(chosen, *parts, structure)


class SelectKind(Kind[Select]):
    """Kind 13."""

    number = 13
    name = "select"
    payload_types = (Select,)
    needs_bound = True

    def count(self, payload: Select) -> int:
        """Return n."""
        return payload.structure.num_coordinates

    def structure(self, payload: Select) -> Structure:
        """Return the structure of all tensors."""
        return payload.structure

    def check(self, options: Any, structure: Structure, key: Key | None) -> None:
        """Check that there are tensors to choose from, and that the message is not a shard."""
        enough = structure.form in (CUT, LIST) and structure.num_tensors >= 2
        require(enough, "structure", "select needs at least two tensors")
        require(
            key is None or not key.first,
            "parameters",
            "a select is not a shard: make messages of its parts' shards",
        )

    def lengths(self, payload: Select, options: Any, structure: Structure) -> Lengths:
        """Return the bytes of flags and both messages."""
        from qsgd_lab.wire.message import size

        require(structure == payload.structure, "structure", "the payload has another structure")
        parts = (payload.first, payload.second)
        bits = sum(size(part.payload, structure=part.structure, key=part.key) for part in parts)
        return Lengths(payload=up8(-(-structure.num_tensors // 8)) + bits // 8)

    def claimed(self, options: Any, structure: Structure, body: Bytes) -> Lengths:
        """Return the bytes of flags and both messages, by the lengths that these claim."""
        from qsgd_lab.wire.envelope import message_length

        start = up8(-(-structure.num_tensors // 8))
        require(start <= body.size, "length", "the message is too short for its tensors")
        at = start
        for _ in range(2):
            length = message_length(body[at:])
            require(length <= body.size - at, "length", "an inner message is longer than what is left")
            at += length
        return Lengths(payload=at)

    def write(self, payload: Select, options: Any, side: Bytes, buffer: Bytes) -> None:
        """Write flags and both messages."""
        from qsgd_lab.wire.envelope import open_sections
        from qsgd_lab.wire.message import pack

        bits = np.packbits(payload.in_first, bitorder="little")
        at = up8(bits.size)
        buffer[: bits.size], buffer[bits.size : at] = bits, 0
        found = []
        for part in (payload.first, payload.second):
            message = pack(part.payload, structure=part.structure, key=part.key)
            buffer[at : at + message.size] = message
            at += message.size
            found.append(open_sections(message, Limits()))
        _check_parts(payload.in_first, [(part.kind.name, part.content) for part in found], payload.structure)

    def read(self, options: Any, content: Content, side: Bytes, body: Bytes, limits: Limits) -> Select:
        """Return both payloads and the flags."""
        from qsgd_lab.wire.envelope import message_length, open_sections, read_payload

        tensors = content.structure.num_tensors
        filled = -(-tensors // 8)
        in_first = np.unpackbits(body[:filled], count=tensors, bitorder="little").view(bool)
        beyond = int(body[filled - 1]) >> (tensors % 8) if tensors % 8 else 0
        require(beyond == 0, "zeros", "bits after the flags are not zero")
        check_zeros(body[filled : up8(filled)], "the padding after the flags")
        at, found = up8(filled), []
        for _ in range(2):
            length = message_length(body[at:])
            found.append(open_sections(body[at : at + length], limits, inner=True))
            at += length
        _check_parts(in_first, [(part.kind.name, part.content) for part in found], content.structure)
        parts = [read_payload(part, limits) for part in found]
        return Select(in_first, parts[0], parts[1], content.structure)

    def values(self, payload: Select) -> NDArray[np.float32]:
        """Return the values of all tensors in their order."""
        from qsgd_lab.wire.message import dense

        values = np.empty(payload.structure.num_coordinates, np.float32)
        chosen = np.repeat(payload.in_first, payload.structure.sizes)
        values[chosen] = dense(payload.first.payload)
        np.logical_not(chosen, out=chosen)
        values[chosen] = dense(payload.second.payload)
        return values


def _check_parts(in_first: NDArray[np.bool_], parts: list[tuple[str, Content]], structure: Structure) -> None:
    """Check the two inner messages against the flags and the outer structure."""
    require(
        in_first[0] and not in_first.all(),
        "canonical",
        "tensor 0 must be in the first message, and not all tensors",
    )
    names = [name for name, _ in parts]
    require("select" not in names, "inner", "a select has no select inside")
    require(names != ["none", "none"], "canonical", "both inner messages send nothing")
    for which, (_, part) in zip((in_first, ~in_first), parts, strict=True):
        require(
            part.structure == structure.part(which),
            "inner",
            "an inner message has another structure than its tensors",
        )
        require(part.used is None, "inner", "an inner message has a used mask")
        if part.key is not None:
            require(not part.key.first, "inner", "an inner message is a shard")
            last = part.key.tensor + 1 + int(np.flatnonzero(which)[-1])
            require(
                last <= NUM_WORDS, "parameters", "the last tensor number of an inner message exceeds 32 bits"
            )


KIND = SelectKind()

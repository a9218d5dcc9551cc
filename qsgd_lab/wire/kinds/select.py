"""Kind 13: some tensors in one message and the others in another, such as small ones raw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.wire.checks import Bytes, Limits, bit_bytes, pack_bits, parse_bits, require
from qsgd_lab.wire.envelope import Sections, inner_length, open_sections, read_payload
from qsgd_lab.wire.key import Key
from qsgd_lab.wire.kind import Content, Kind, Lengths
from qsgd_lab.wire.message import dense, pack, size
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
        whole = key is None or not key.first
        require(whole, "parameters", "a select is not a shard: make messages of its parts' shards")

    def lengths(self, payload: Select, options: Any, structure: Structure) -> Lengths:
        """Return the bytes of flags and both messages."""
        require(structure == payload.structure, "structure", "the payload has another structure")
        parts = (payload.first, payload.second)
        bits = sum(size(part.payload, structure=part.structure, key=part.key) for part in parts)
        return Lengths(payload=bit_bytes(structure.num_tensors) + bits // 8)

    def claimed(self, options: Any, structure: Structure, body: Bytes) -> Lengths:
        """Return the bytes of flags and both messages, by the lengths that these claim."""
        at = bit_bytes(structure.num_tensors)
        require(at <= body.size, "length", "the message is too short for its tensors")
        for _ in range(2):
            at += inner_length(body[at:])
        return Lengths(payload=at)

    def write(self, payload: Select, options: Any, side: Bytes, buffer: Bytes) -> None:
        """Write flags and both messages."""
        flags = pack_bits(payload.in_first)
        parts = [pack(p.payload, structure=p.structure, key=p.key) for p in (payload.first, payload.second)]
        body = np.concatenate([np.frombuffer(flags, np.uint8), *parts])
        buffer[: body.size] = body
        _check_parts(payload.in_first, [open_sections(part) for part in parts], payload.structure)

    def read(self, options: Any, content: Content, side: Bytes, body: Bytes, limits: Limits) -> Select:
        """Return both payloads and the flags."""
        in_first = parse_bits(body, content.structure.num_tensors, "the flags")
        at, parts = bit_bytes(in_first.size), []
        for _ in range(2):
            end = at + inner_length(body[at:])
            parts.append(open_sections(body[at:end], limits, inner=True))
            at = end
        _check_parts(in_first, parts, content.structure)
        first, second = (read_payload(part, limits) for part in parts)
        return Select(in_first, first, second, content.structure)

    def put_values(self, payload: Select, values: NDArray[np.float32]) -> None:
        """Write the values of all tensors in their order."""
        chosen = np.repeat(payload.in_first, payload.structure.sizes)
        values[chosen] = dense(payload.first.payload)
        np.logical_not(chosen, out=chosen)
        values[chosen] = dense(payload.second.payload)


def _check_parts(in_first: NDArray[np.bool_], parts: list[Sections], structure: Structure) -> None:
    """Check the two inner messages against the flags and the outer structure."""
    both = in_first[0] and not in_first.all()
    require(both, "canonical", "tensor 0 must be in the first message, and not all tensors")
    names = [part.kind.name for part in parts]
    require("select" not in names, "inner", "a select has no select inside")
    require(names != ["none", "none"], "canonical", "both inner messages send nothing")
    for which, part in zip((in_first, ~in_first), parts, strict=True):
        key, same = part.content.key, part.content.structure == structure.part(which)
        require(same, "inner", "an inner message has another structure than its tensors")
        require(part.content.used is None, "inner", "an inner message has a used mask")
        first, last = (key.first, key.tensor + 1 + int(np.flatnonzero(which)[-1])) if key else (0, 0)
        require(not first, "inner", "an inner message is a shard")
        fits = last <= NUM_WORDS
        require(fits, "parameters", "the last tensor number of an inner message exceeds 32 bits")


KIND = SelectKind()

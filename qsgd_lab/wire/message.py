"""Messages of version 2: `pack`, `unpack`, `size`, `values`; `open_content` gives structure and key too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.errors import LimitError
from qsgd_lab.wire import checksum
from qsgd_lab.wire.checks import Limits, up8, writing
from qsgd_lab.wire.envelope import (
    Sections,
    bytes_around,
    content_of,
    front_of,
    open_sections,
    read_payload,
)
from qsgd_lab.wire.key import Key
from qsgd_lab.wire.kind import Content
from qsgd_lab.wire.kinds import kind_of, limits_of
from qsgd_lab.wire.structure import Structure


def pack(
    payload: Any,
    *,
    structure: Structure | None = None,
    key: Key | None = None,
    used: Any = None,
) -> NDArray[np.uint8]:
    """Return the message that carries a payload.

    Parameters
    ----------
    payload : QuantizedGradient, Raw, SparseValues, Masked, Select, Private or Nothing
    structure : Structure, optional
        Arrays and tensors of the coordinates; by default what the payload knows, else one flat array.
    key : Key, optional
        Which random words the sender drew, and the role; a payload whose values depend on a key brings it.
    used : bool, shape (T,), optional
        Which tensors had a gradient in this step.

    Returns
    -------
    uint8, read-only
        Bytes-like; its length is the cost.

    Raises
    ------
    ValueError
        If the payload breaks a rule of docs/wire-format-2.md.
    TypeError
        If no kind carries a payload of this type.
    """
    kind = kind_of(payload)
    with writing():
        content = content_of(kind, payload, structure, key, used)
        options = kind.options(payload)
        kind.check(options, content.structure, content.key)
        lengths = kind.lengths(payload, options, content.structure)
        front = front_of(kind, options, content, lengths)
        start, total = len(front) + up8(lengths.side), len(front) + lengths.total
        buffer = np.empty(total + 8, np.uint8)  # eight more, over which kernels' stores may run
        buffer[: len(front)] = np.frombuffer(front, np.uint8)
        end = len(front) + lengths.side
        buffer[end:start] = 0
        kind.write(payload, options, buffer[len(front) : end], buffer[start:])
        buffer[start + lengths.payload :] = 0
    message = buffer[:total]
    checksum.seal(message, start)
    message.flags.writeable = False
    return message


def size(
    payload: Any, *, structure: Structure | None = None, key: Key | None = None, used: Any = None
) -> int:
    """Return the exact number of bits of the message that carries a payload, without coding it.

    Parameters and errors are those of `pack`, but that values are not looked at.
    """
    kind = kind_of(payload)
    with writing():
        content = content_of(kind, payload, structure, key, used)
        options = kind.options(payload)
        kind.check(options, content.structure, content.key)
        parameters = len(kind.pack_options(options))
        return 8 * (
            bytes_around(content, parameters) + kind.lengths(payload, options, content.structure).total
        )


def unpack(message: Any, *, max_coordinates: int | None = None, kinds: Iterable[str] | None = None) -> Any:
    """Return the payload that a message carries.

    Parameters
    ----------
    message : bytes-like
        Untrusted; it is not copied.
    max_coordinates : int, optional
        Refuse messages of more coordinates.
    kinds : iterable of str, optional
        Refuse messages of other kinds, inner ones included: "raw", "levels", "sparse", ...

    Raises
    ------
    MessageError
        If it is not what `pack` writes, or is not allowed; `.reason` says why in one word.
    """
    return open_content(message, max_coordinates=max_coordinates, kinds=kinds).payload


def open_content(
    message: Any, *, max_coordinates: int | None = None, kinds: Iterable[str] | None = None
) -> Content:
    """Return all that a message carries: payload, structure, key and mask. Arguments as of `unpack`."""
    limits = limits_of(max_coordinates, kinds)
    return read_payload(open_sections(message, limits), limits)


def values(message: Any, *, max_coordinates: int | None = None, kinds: Iterable[str] | None = None) -> Any:
    """Return the dense values of a message, float32 of the shape of its array; of a list, shape (n,).

    Raises
    ------
    LimitError
        If the kind needs a bound and `max_coordinates` is not given.
    MessageError
        As `unpack` does.
    """
    limits = limits_of(max_coordinates, kinds)
    sections = open_sections(message, limits)
    check_bound(sections, limits)
    structure = sections.content.structure
    made = np.empty(structure.num_coordinates, np.float32)
    sections.kind.fill_values(sections, limits, made, add=False)
    return made.reshape(structure.shape)


def dense(payload: Any) -> NDArray[np.float32]:
    """Return the dense values of a payload, float32, shape (n,)."""
    return kind_of(payload).values(payload)


def check_bound(sections: Sections, limits: Limits) -> None:
    """Check that a bound is given, where a short message may have any number of coordinates."""
    if sections.kind.needs_bound and limits.max_coordinates is None:
        raise LimitError(f"a bound is needed for dense values of kind {sections.kind.name}: max_coordinates")

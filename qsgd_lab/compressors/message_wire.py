"""The wire of a payload that is one kind of wire format 2 as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qsgd_lab.compressors.protocol import Layout, Wire
from qsgd_lab.errors import MessageError
from qsgd_lab.ledger import Size
from qsgd_lab.wire import message
from qsgd_lab.wire.kinds import kind_of


class MessageWire(Wire[Any]):
    """Messages of one kind of wire format 2.

    Parameters
    ----------
    kind : str
        Name of the kind, such as "masked".
    matches : callable
        (payload, layout) -> whether the compressor writes such a payload for gradients of this layout.
    fixed_bits : callable
        Payload -> bits of scales and codes at fixed width, without envelope and padding.
    also : tuple of str
        Kinds of earlier rounds, such as "raw" for scales.
    """

    def __init__(
        self,
        kind: str,
        matches: Callable[[Any, Layout], bool],
        fixed_bits: Callable[[Any], int],
        also: tuple[str, ...] = (),
    ) -> None:
        self.kind = kind  # type: ignore[misc]
        self._matches, self._fixed_bits, self._kinds = matches, fixed_bits, (kind, *also)

    def size(self, payload: Any) -> Size:
        """Return "fixed", scales and codes alone, and "message", the whole."""
        bits = {"fixed": self._fixed_bits(payload), "message": message.size(payload)}
        return Size(kind_of(payload).count(payload), bits)

    def pack(self, payload: Any) -> bytes:
        """Return the message."""
        return bytes(message.pack(payload))

    def unpack(self, received: bytes, layout: Layout) -> Any:
        """Read a message of these kinds, and refuse what the compressor does not write for the layout."""
        payload = message.unpack(received, max_coordinates=layout.num_coordinates, kinds=self._kinds)
        if not self._matches(payload, layout):
            raise MessageError("the message is not what this compressor writes for the receiver's gradient")
        return payload


def is_whole(payload: Any, layout: Layout) -> bool:
    """Return True for a payload with as many coordinates as the receiver's gradient, and refuse others."""
    n = layout.num_coordinates
    if payload.num_coordinates != n:
        raise MessageError(f"the message is not of {n} coordinates")
    return True

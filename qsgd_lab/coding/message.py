"""Messages: bytes to send, and what can be known of them without decoding.

A message is header, index (tensor sizes, shape, norms, directory of chunks), payload and eight zero bytes.
docs/wire-format.md describes it completely.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.arrays import is_device_array, is_torch
from qsgd_lab.coding.header import HEADER_BYTES, MAGIC, TAIL_BYTES, Header, parse_header
from qsgd_lab.coding.index import Index, directory_bytes, parse_index
from qsgd_lab.errors import MessageError
from qsgd_lab.wire.checks import check_bound
from qsgd_lab.wire.envelope import Sections, open_sections


@dataclass(frozen=True)
class Sizes:
    """The bytes of a message by what they hold; they sum to its length.

    Attributes
    ----------
    header : int
        Header and the zeros at the end; in version 2 also parameters, key and mask.
    lists : int
        Tensor sizes and shape, and padding.
    norms, directory, payload : int
    """

    header: int
    lists: int
    norms: int
    directory: int
    payload: int

    @property
    def total(self) -> int:
        """The length of the message."""
        return self.header + self.lists + self.norms + self.directory + self.payload


@dataclass(frozen=True)
class Frame:
    """A message taken apart and checked, but for its chunks, which are not read.

    Attributes
    ----------
    header : Header
    index : Index
    payload : uint8, read-only
        Payload and the eight zeros after it: a view of the message.
    """

    header: Header
    index: Index
    payload: NDArray[np.uint8]

    @property
    def starts(self) -> NDArray[np.int64]:
        """Byte offsets of the chunks in `payload`, shape (C + 1,)."""
        return self.index.directory.starts

    @property
    def sizes(self) -> Sizes:
        """The message's bytes by what they hold."""
        norms = self.index.norms.nbytes
        directory = directory_bytes(self.header.num_chunks, self.header.layout)
        payload = self.payload.size - TAIL_BYTES
        fixed = HEADER_BYTES + TAIL_BYTES
        return Sizes(
            fixed, self.header.message_bytes - fixed - norms - directory - payload, norms, directory, payload
        )


def version_of(message: Any) -> int:
    """Return the version of a message in host memory; 1 for what is too short to have one."""
    view = memoryview(message).cast("B")
    return view[4] if len(view) > 4 and view[:4] == MAGIC else 1


def is_version_2(message: Any, on_device: bool) -> bool:
    """Whether a message, on the host or on a device, is of version 2."""
    if on_device:
        from qsgd_lab.kernels.cuda.device import device_view, to_host

        message = to_host(device_view(message, np.uint8, "message").reshape(-1)[:5])  # magic and version
    return version_of(message) == 2


def host_bytes(message: Any) -> Any:
    """Return a message in host memory as what has a buffer; nothing is copied but what is strided.

    Raises
    ------
    TypeError
        If it has no bytes, lives on a CUDA device, or is a tensor of something else than bytes.
    """
    check_on_host(message)
    if is_torch(message):
        if str(message.dtype) != "torch.uint8":
            raise TypeError(f"the message is a tensor of {message.dtype}; a message is one of torch.uint8")
        return message.detach().contiguous().view(-1).numpy()
    try:
        view = memoryview(message)
    except TypeError:
        view = None
    if view is None or view.itemsize != 1:
        raise TypeError(f"a message is bytes, or an array or tensor of uint8; this is {_described(message)}")
    return message if view.c_contiguous else np.ascontiguousarray(view)


def _described(message: Any) -> str:
    kind = type(message).__name__
    return f"{kind} of {message.dtype}" if hasattr(message, "dtype") else f"a {kind}"


def open_message(data: Any) -> Frame | Sections:
    """Take a message apart.

    Parameters
    ----------
    data : bytes-like, or uint8 tensor
        A message: bytes, a memory map, or an array of bytes. It is not copied.

    Returns
    -------
    Frame or Sections
        Of version 1 or 2.

    Raises
    ------
    MessageError
        If it is not one whole message.
    TypeError
        If it has no bytes, or lives on a CUDA device.
    """
    data = host_bytes(data)
    return open_sections(data) if version_of(data) == 2 else open_frame(data)


def check_on_host(data: Any) -> None:
    """Raise a TypeError if a message lives on a CUDA device."""
    if is_device_array(data):
        raise TypeError("the message lives on a CUDA device: copy it to the host with to_host_message first")


def open_frame(data: Any, max_coordinates: int | None = None) -> Frame:
    """Take a message of version 1 apart, unless it has more than `max_coordinates`.

    Raises
    ------
    MessageError
        If it has, or is not one whole message.
    """
    view = memoryview(data).cast("B")
    header = parse_header(view)
    check_length(header, len(view))
    check_bound(header.num_coordinates, max_coordinates)  # before the index, whose size grows with the claim
    index, payload_start = parse_index(view, header)
    payload = np.frombuffer(view, np.uint8, offset=payload_start)
    payload.flags.writeable = False  # also where the caller's memory is not: kernels compile for one kind
    return Frame(header, index, payload)


def check_length(header: Header, size: int) -> None:
    """Raise a `MessageError` if a message has not the length that its header claims."""
    if header.message_bytes != size:
        raise MessageError(
            f"the message should have {header.message_bytes} bytes; this has {size}", "truncated"
        )


class Message(np.ndarray[tuple[int], np.dtype[np.uint8]]):
    """A message: read-only bytes, whose number is its cost.

    It is a NumPy array of uint8, so that it is bytes-like (files, sockets, ``bytes(message)``) and what the
    encoder wrote is never copied. Slices are plain arrays; a message is equal to whatever has the same bytes.

    To read one from a file without copying it, hand a memory map to `qsgd_lab.decode` or to `open_message`.
    """

    @property
    def version(self) -> int:
        """The version of the format, 1 or 2."""
        return version_of(self)

    @property
    def header(self) -> Header:
        """The fields of the header of version 1; `MessageError` if the bytes have none."""
        return parse_header(self)

    @property
    def sizes(self) -> Sizes:
        """The message's bytes by what they hold; `MessageError` if it is not one whole message."""
        if self.version == 2:
            return Sizes(**open_sections(self).sizes)
        return open_frame(self).sizes

    @property
    def bits_per_coordinate(self) -> float:
        """All bits of the message per coordinate; NaN if it has none."""
        coordinates = int.from_bytes(self[24:32].tobytes(), "little")  # at the same place in both versions
        return 8 * len(self) / coordinates if coordinates else float("nan")

    def __getitem__(self, key: Any) -> Any:
        return self.view(np.ndarray)[key]

    def __eq__(self, other: object) -> Any:
        try:
            return memoryview(self) == memoryview(other).cast("B")  # type: ignore[arg-type]
        except TypeError:
            return NotImplemented

    def __ne__(self, other: object) -> Any:
        equal = self.__eq__(other)
        return NotImplemented if equal is NotImplemented else not equal

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Message of {len(self)} bytes>"


def seal(header: bytes, index: bytes, stream: NDArray[np.uint8]) -> Message:
    """Return the message whose payload is in `stream`; nothing is copied.

    The stream has space for header and index before the payload and eight bytes after it.
    """
    front = header + index
    view = stream.data
    view[: len(front)] = front
    view[stream.size - TAIL_BYTES :] = bytes(TAIL_BYTES)
    message = stream.view(Message)
    message.flags.writeable = False
    return message


def raise_unless_good(outcomes: list[tuple[int, int]]) -> None:
    """Raise a `MessageError` for the first (outcome, chunk) that says that a chunk could not be decoded."""
    from qsgd_lab.kernels.constants import DAMAGED, GOOD, NOT_CANONICAL

    for outcome, chunk in outcomes:  # one a thread, in the order of their chunks: the first bad one is named
        if outcome == DAMAGED:
            raise MessageError(f"chunk {chunk} is damaged: its checksum does not match", "damaged")
        if outcome == NOT_CANONICAL:
            raise MessageError("a bucket of norm 0 or NaN has levels other than 0", "canonical")
        if outcome != GOOD:
            raise MessageError(f"chunk {chunk} is malformed: no encoder writes such bits", "code")


def check_total(num_coordinates: int, size: int) -> None:
    """Raise a `MessageError` if a message has not as many coordinates as what it is to be added to."""
    if num_coordinates != size:
        raise MessageError(f"the message has {num_coordinates} coordinates, the total {size}", "structure")

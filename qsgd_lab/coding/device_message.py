"""Messages on a device: what the host must know of one before its payload can be read there.

Header and index, a few hundredths of a large message, are copied to the host and checked by the code that
checks them for the CPU, so that every offset and count that a kernel is given is known to lie inside the
message. The payload stays where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.chunks import check_limit
from qsgd_lab.coding.header import TAIL_BYTES, Header, parse_header
from qsgd_lab.coding.index import WORD_BYTES, Index, check_room, parse_index, payload_start
from qsgd_lab.coding.message import Message, check_length

FIRST_READ = 4096  # bytes: header, and lists of some hundred tensors


@dataclass(frozen=True)
class DeviceFrame:
    """A message on a device taken apart and checked, but for its chunks.

    Attributes
    ----------
    home : Home
        Where it lives.
    header : Header
    index : Index
        On the host.
    words : Numba uint32
        Payload and the eight zeros after it.
    """

    home: Any
    header: Header
    index: Index
    words: Any

    def directory(self, first: int, last: int) -> NDArray[np.int64]:
        """Return where chunks first..last-1 begin and end, in words, their checksums and non-zeros.

        int64, shape (3, last - first + 1); the last two rows have one entry less, and non-zeros are 0 but in
        the sparse layout.
        """
        whole, directory = self.index.directory, np.zeros((3, last - first + 1), np.int64)
        directory[0] = whole.starts()[first : last + 1] // WORD_BYTES
        directory[1, :-1] = whole.checksums[first:last]
        if whole.num_nonzeros.size:
            directory[2, :-1] = whole.num_nonzeros[first:last]
        return directory


def open_device_message(message: Any, max_coordinates: int | None = None) -> DeviceFrame:
    """Take a message on a device apart.

    Parameters
    ----------
    message : uint8 array on a device, contiguous
        Untrusted. It is not copied, unless it does not begin at a multiple of four bytes.
    max_coordinates : int, optional
        Refuse messages of more coordinates.

    Raises
    ------
    MessageError
        If it is not one whole message, or has more than `max_coordinates`.
    TypeError, ValueError
        If it is not a contiguous array of bytes on a device.
    """
    from qsgd_lab.kernels.device_arrays_cuda import device_view, home_of, to_host
    from qsgd_lab.kernels.words_cuda import word_view

    home = home_of(message, "message")
    view = device_view(message, np.uint8, "message").reshape(-1)
    head = to_host(view[:FIRST_READ]) if view.size else np.empty(0, np.uint8)
    header = parse_header(head)
    check_length(header, view.size)
    check_limit(header, max_coordinates)
    head = _read_on(view, head, check_room(header))
    start = payload_start(head, header)
    head = _read_on(view, head, start)
    tail = to_host(view[view.size - TAIL_BYTES :]).tobytes()
    index, start = parse_index(head[:start], header, tail)
    return DeviceFrame(home, header, index, word_view(home, view[start:]))


def _read_on(view: Any, head: NDArray[np.uint8], end: int) -> NDArray[np.uint8]:
    """Return the first `end` bytes of a message, or more, of which `head` have been read."""
    from qsgd_lab.kernels.device_arrays_cuda import to_host

    return head if head.size >= end else np.concatenate([head, to_host(view[head.size : end])])


def to_host_message(message: Any) -> Message:
    """Return a copy in host memory of a message on a device.

    Parameters
    ----------
    message : uint8 array on a device
        What `encode` returns for levels on a device.

    Returns
    -------
    Message
        The same bytes, for files, sockets and `Message.sizes`.

    Raises
    ------
    TypeError, ValueError
        If it is not a contiguous array of bytes on a device.
    """
    from qsgd_lab.kernels.device_arrays_cuda import device_view, to_host

    copy = to_host(device_view(message, np.uint8, "message").reshape(-1)).view(Message)
    copy.flags.writeable = False
    return copy

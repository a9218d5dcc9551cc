"""The first 64 bytes of a message: what it is, and how long.

See docs/wire-format.md for the meaning of each field. Everything read here is untrusted.

CRC-32C of bytes, the checksum of messages.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from qsgd_lab.coding.elias import CODES
from qsgd_lab.coding.layouts import CHUNK_UNIT, LAYOUTS, MAX_CHUNK_SIZE
from qsgd_lab.errors import LimitError, MessageError
from qsgd_lab.levels import MAX_LEVELS, NORMS
from qsgd_lab.partition import MAX_TENSOR_SIZE
from qsgd_lab.wire.checks import writing


def crc32c(data: Any) -> int:
    """Return the CRC-32C of a bytes-like object.

    Examples
    --------
    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    array = np.frombuffer(data, np.uint8)
    array.flags.writeable = False
    return int(_crc32c_kernel()(array, 0, array.size))


@cache  # an import statement inside the function would take a quarter of the time of a short checksum
def _crc32c_kernel() -> Any:
    from qsgd_lab.kernels.crc32c import crc32c as kernel

    return kernel


MAGIC = b"QSGD"
VERSION = 1
HEADER_BYTES = 64
TAIL_BYTES = 8  # zeros after the payload, so that a reader may load 64 bits at any of its bytes
MAX_COORDINATES = 2**60
MAX_DIMENSIONS = 32

#: Bucket sizes that are words, as the header spells them.
BUCKET_WORDS = {"tensor": 0, "model": 2**64 - 1}

# magic, version, layout, code, norm, s, chunk size, bytes, coordinates, bucket size, tensors, dimensions,
# reserved, index CRC
_FIELDS = struct.Struct("<4sBBBBIIQQQIIQI")
_CHECKSUM = struct.Struct("<I")
_LAYOUT_NAMES = {number: name for name, number in LAYOUTS.items()}
_CODE_NAMES = {number: name for name, number in CODES.items()}
_BUCKET_NAMES = {number: word for word, number in BUCKET_WORDS.items()}


@dataclass(frozen=True)
class Header:
    """The fields of a header.

    Attributes
    ----------
    layout : str
        A key of `qsgd_lab.coding.layouts.LAYOUTS`.
    code : str
        "gamma", "delta" or "omega"; "none" for the fixed layout.
    norm : {"l2", "max"}
    num_levels : int
        s.
    chunk_size : int
        Coordinates of every chunk but the last, which may be shorter.
    message_bytes : int
        Length of the whole message.
    num_coordinates : int
        n.
    bucket_size : int, "tensor" or "model"
    num_tensors, num_dimensions : int
        Lengths of the lists that follow the header.
    index_crc : int
        CRC-32C of everything between header and payload.
    """

    layout: str
    code: str
    norm: str
    num_levels: int
    chunk_size: int
    message_bytes: int
    num_coordinates: int
    bucket_size: int | str
    num_tensors: int
    num_dimensions: int
    index_crc: int

    @property
    def num_chunks(self) -> int:
        """The number of chunks, C."""
        return -(-self.num_coordinates // self.chunk_size)

    def pack(self) -> bytes:
        """Return the 64 bytes.

        Raises
        ------
        ValueError
            If they were not a header that `parse_header` takes.
        """
        return header_bytes(
            (self.layout, self.code, self.norm),
            (self.num_levels, self.chunk_size, self.message_bytes, self.num_coordinates),
            self.bucket_size,
            (self.num_tensors, self.num_dimensions),
            self.index_crc,
        )


def header_bytes(
    names: tuple[str, str, str],
    numbers: tuple[int, int, int, int],
    bucket_size: int | str,
    lists: tuple[int, int],
    index_crc: int,
) -> bytes:
    """Return the 64 bytes of a header, of its fields in order: an encoder needs no `Header` around them.

    Parameters
    ----------
    names : layout, code, norm
    numbers : s, chunk size, bytes of the message, coordinates
    bucket_size : int, "tensor" or "model"
    lists : number of tensors, number of dimensions
    index_crc : int

    Raises
    ------
    ValueError
        If they were not a header that `parse_header` takes.
    """
    layout, code, norm = names
    bucket = BUCKET_WORDS[bucket_size] if isinstance(bucket_size, str) else bucket_size
    if bucket in _BUCKET_NAMES and not isinstance(bucket_size, str):
        raise ValueError(f"buckets of {bucket}; {MAX_COORDINATES} is the most, and 1 the least")
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}; version 1 has: {', '.join(NORMS)}")
    with writing():
        _check_numbers(*numbers, bucket, lists[1])
    kinds = LAYOUTS[layout], CODES.get(code, 0), NORMS.index(norm)
    fields = _FIELDS.pack(MAGIC, VERSION, *kinds, *numbers, bucket, *lists, 0, index_crc)
    return fields + _CHECKSUM.pack(crc32c(fields))


def parse_header(data: Any) -> Header:
    """Read and check the header of a message.

    Parameters
    ----------
    data : bytes-like
        At least the first 64 bytes.

    Raises
    ------
    MessageError
        If the bytes are not a header that `Header.pack` can have written.
    """
    raw = bytes(memoryview(data)[:HEADER_BYTES])
    if len(raw) < HEADER_BYTES:
        raise MessageError(f"a message has at least {HEADER_BYTES} bytes; this has {len(raw)}", "truncated")
    if raw[:4] != MAGIC:
        raise MessageError("not a message: it does not begin with QSGD", "foreign")
    if raw[4] != VERSION:  # before the checksum, which another version may have elsewhere
        raise MessageError(f"the message is of version {raw[4]}; this library reads 1 and 2", "version")
    if crc32c(raw[: _FIELDS.size]) != _CHECKSUM.unpack(raw[_FIELDS.size :])[0]:
        raise MessageError("the header is damaged: its checksum does not match")
    _, _, layout, code, norm, *numbers, reserved, index_crc = _FIELDS.unpack(raw[: _FIELDS.size])
    # A good checksum proves nothing: an attacker can compute it too.
    _check_kinds(layout, code, norm, reserved)
    levels, chunk_size, size, coordinates, bucket, tensors, dimensions = numbers
    _check_numbers(levels, chunk_size, size, coordinates, bucket, dimensions)
    return Header(
        _LAYOUT_NAMES[layout],
        _CODE_NAMES.get(code, "none"),
        NORMS[norm],
        levels,
        chunk_size,
        size,
        coordinates,
        _BUCKET_NAMES.get(bucket, bucket),
        tensors,
        dimensions,
        index_crc,
    )


def _check_kinds(layout: int, code: int, norm: int, reserved: int) -> None:
    if layout not in _LAYOUT_NAMES:
        raise MessageError(f"the header names layout {layout}; known are 0 to {len(LAYOUTS) - 1}", "unknown")
    codes = (0,) if layout == LAYOUTS["fixed"] else tuple(_CODE_NAMES)
    if code not in codes:
        raise MessageError(f"the header names code {code}, which layout {layout} does not have", "unknown")
    if norm >= len(NORMS):
        raise MessageError(f"the header names norm {norm}; known are 0 and 1", "unknown")
    if reserved:
        raise MessageError("the header's reserved bytes are not 0", "zeros")


def _check_numbers(
    levels: int, chunk_size: int, size: int, coordinates: int, bucket: int, dimensions: int
) -> None:
    """Check the numbers of a header; reader and writer call it."""
    if not 1 <= levels <= MAX_LEVELS:
        raise MessageError(f"{levels} levels; 1 to {MAX_LEVELS} are possible", "parameters")
    if chunk_size % CHUNK_UNIT or not CHUNK_UNIT <= chunk_size <= MAX_CHUNK_SIZE:
        text = f"chunks of {chunk_size}, which is not a multiple of {CHUNK_UNIT} up to {MAX_CHUNK_SIZE}"
        raise MessageError(text, "parameters")
    if size < HEADER_BYTES + TAIL_BYTES:
        raise MessageError(f"the header claims a message of {size} bytes", "length")
    if coordinates > MAX_COORDINATES:
        raise LimitError(f"{coordinates} coordinates; {MAX_COORDINATES} are possible")
    if bucket not in _BUCKET_NAMES and bucket > MAX_COORDINATES:
        raise MessageError(f"buckets of {bucket}; {MAX_COORDINATES} is the most", "parameters")
    if dimensions > MAX_DIMENSIONS:
        text = (
            f"{dimensions} dimensions; version 1 has at most {MAX_DIMENSIONS}: take version 2, which has 64"
        )
        raise LimitError(text)


def check_lists(sizes: Sequence[int], shape: Sequence[int], coordinates: int) -> None:
    """Check tensor sizes and shape against the number of coordinates; reader and writer call it.

    Raises
    ------
    MessageError
        If they do not agree.
    """
    if max(sizes, default=0) > MAX_TENSOR_SIZE or sum(sizes) != coordinates:
        raise MessageError(f"tensor sizes do not sum to the {coordinates} coordinates", "structure")
    elements = extent = 1
    for length in shape:
        if length < 0 or int(length) != length or isinstance(length, float):
            raise MessageError(f"a length of {length!r} in the shape", "structure")
        if length > MAX_COORDINATES // extent:  # by division, so that no product grows without bound
            raise MessageError(f"a shape of more than {MAX_COORDINATES} coordinates", "structure")
        elements *= length
        extent *= max(length, 1)  # a 0 must not hide lengths that no array could have
    if elements != coordinates:
        raise MessageError(f"the shape does not hold the {coordinates} coordinates", "structure")

"""Files of the IDX format, in which MNIST and its relatives are published; plain or compressed by gzip.

A file begins with four bytes (0, 0, the type of the values, the number of dimensions), then each dimension as
4 bytes, big-endian, then the values. Only unsigned bytes (type 8) are read.

References
----------
LeCun, Cortes, Burges: The MNIST database of handwritten digits, "File formats for the MNIST database".
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_UNSIGNED_BYTES = 8
_GZIP = 16 + zlib.MAX_WBITS


def idx_bytes(shape: Sequence[int]) -> int:
    """Return the size of a file that holds bytes of a shape."""
    return 4 + 4 * len(shape) + math.prod(shape)


def decompress(content: bytes, most: int) -> bytes:
    """Return what a gzip file holds.

    Parameters
    ----------
    content : bytes
    most : int
        No more than so many bytes and one are ever made, whatever the file claims.

    Raises
    ------
    ValueError
        If it is not a gzip file, is cut off or damaged, holds more, or something follows it.
    """
    stream = zlib.decompressobj(_GZIP)
    try:
        plain = stream.decompress(content, most + 1)
    except zlib.error as error:
        raise ValueError(f"is not a sound gzip file ({error})") from error
    if len(plain) > most:
        raise ValueError(f"holds more than {most} bytes")
    if not stream.eof:
        raise ValueError("is a gzip file that is cut off")
    if stream.unused_data:
        raise ValueError(f"has {len(stream.unused_data)} bytes after its end")
    return plain


def parse_idx(content: bytes, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Return the array of an IDX file; nothing is copied.

    Parameters
    ----------
    content : bytes
    shape : sequence of int
        Which shape it must have.

    Returns
    -------
    uint8, of this shape

    Raises
    ------
    ValueError
        If the content is anything else.
    """
    if content[:2] != b"\0\0" or len(content) < 4:
        raise ValueError("is not an IDX file: it does not begin with two zero bytes")
    if content[2] != _UNSIGNED_BYTES:
        raise ValueError(f"holds values of type {content[2]}; unsigned bytes are type {_UNSIGNED_BYTES}")
    end = 4 + 4 * content[3]
    if len(content) < end:
        raise ValueError("ends inside its dimensions")
    found = tuple(np.frombuffer(content[4:end], ">u4").tolist())
    if found != tuple(shape):
        raise ValueError(f"has the shape {found} instead of {tuple(shape)}")
    if len(content) != idx_bytes(shape):
        raise ValueError(f"has {len(content)} bytes instead of {idx_bytes(shape)}")
    return np.frombuffer(content, np.uint8, offset=end).reshape(found)

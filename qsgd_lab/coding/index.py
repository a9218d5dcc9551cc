"""The index between a message's header and its payload: sizes, shape, norms and the directory of chunks.

Everything read here is untrusted: what a field claims is compared with the bytes that are there before
anything of that size is allocated.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.header import HEADER_BYTES, TAIL_BYTES, Header, check_lists, crc32c
from qsgd_lab.coding.layouts import min_bits_per_coordinate
from qsgd_lab.errors import MessageError
from qsgd_lab.partition import Partition, partition
from qsgd_lab.wire.checks import check_scales

ALIGNMENT = 4  # the payload begins at a multiple of this
WORD_BYTES = 4


@dataclass(frozen=True)
class Directory:
    """What is known of each of C chunks without reading it.

    Attributes
    ----------
    checksums : uint32, shape (C,)
        CRC-32C of the chunk's payload.
    num_words : uint16, shape (C,)
        Its length in 32-bit words.
    num_nonzeros : uint16, shape (C,)
        Levels other than 0, in the sparse layout; elsewhere of shape (0,).
    """

    checksums: NDArray[np.uint32]
    num_words: NDArray[np.uint16]
    num_nonzeros: NDArray[np.uint16]

    def pack(self) -> bytes:
        """Return the directory's bytes."""
        return self.checksums.tobytes() + self.num_words.tobytes() + self.num_nonzeros.tobytes()

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each chunk's payload begins and the last one ends, in bytes, int64, shape (C + 1,)."""
        from qsgd_lab.kernels.cpu.messages.sizes import chunk_starts

        starts = np.empty(self.num_words.size + 1, np.int64)
        chunk_starts(self.num_words, starts)
        return starts


@dataclass(frozen=True)
class Index:
    """What is between header and payload.

    Attributes
    ----------
    partition : Partition
    shape : tuple of int
        Of the gradient.
    norms : float32, shape (B,)
    directory : Directory
    has_dead : bool
        Whether a norm is +0 or NaN; known of an index that was read.
    """

    partition: Partition
    shape: tuple[int, ...]
    norms: NDArray[np.float32]
    directory: Directory
    has_dead: bool = True

    def pack(self) -> bytes:
        """Return the bytes between header and payload."""
        return pack_index(self.partition, self.shape, self.norms, self.directory)


def pack_index(
    parts: Partition, shape: tuple[int, ...], norms: NDArray[np.float32], directory: Directory
) -> bytes:
    """Return the bytes between header and payload."""
    lists = struct.pack(f"<{len(parts.tensor_sizes) + len(shape)}Q", *parts.tensor_sizes, *shape)
    packed = b"".join([lists, norms.tobytes(), directory.pack()])
    return packed + bytes(-len(packed) % ALIGNMENT)  # so that the payload's words are aligned


def directory_bytes(num_chunks: int, layout: str) -> int:
    """Return the size of the directory."""
    return num_chunks * (8 if layout == "sparse" else 6)


def index_bytes(lists: int, norms: int, num_chunks: int, layout: str) -> int:
    """Return the size of the index, padding included, for as many list entries, norms and chunks."""
    size = 8 * lists + 4 * norms + directory_bytes(num_chunks, layout)
    return size + -size % ALIGNMENT


def count_buckets(tensor_sizes: tuple[int, ...], bucket_size: int | str) -> int:
    """Return the number of buckets without allocating anything."""
    if bucket_size == "model":
        return int(sum(tensor_sizes) > 0)
    if bucket_size == "tensor":
        return sum(size > 0 for size in tensor_sizes)
    assert isinstance(bucket_size, int)
    return sum(-(-size // bucket_size) for size in tensor_sizes)


def parse_index(data: Any, header: Header, tail: bytes | None = None) -> tuple[Index, int]:
    """Read and check the index of a message.

    Parameters
    ----------
    data : bytes-like
        The whole message, of the length that its header claims.
    header : Header
    tail : bytes, optional
        The message's last eight bytes, if `data` need not go on after the index.

    Returns
    -------
    Index, int
        The index, and where the payload begins, in bytes.

    Raises
    ------
    MessageError
        If anything in it contradicts the header, itself or the message's length.
    """
    view = memoryview(data)
    sizes, shape, num_norms, size = _extent(view, header)
    lists = len(sizes) + len(shape)
    # Sizes first: the checksum is of as many bytes as they say.
    if crc32c(view[HEADER_BYTES : HEADER_BYTES + size]) != header.index_crc:
        raise MessageError("norms or directory are damaged: their checksum does not match", "damaged")
    first_norm = HEADER_BYTES + 8 * lists
    norms = np.frombuffer(view, "<f4", num_norms, first_norm).astype(np.float32)  # aligned, and one's own
    directory = _parse_directory(view, header, first_norm + 4 * num_norms)
    has_dead = check_scales(norms)
    zeros = bytes(view[-TAIL_BYTES:]) if tail is None else tail
    _check_extent(view, zeros, directory, header, size, lists, num_norms)
    check_chunks(header, directory)
    parts = partition(header.num_coordinates, header.bucket_size, sizes)
    return Index(parts, shape, norms, directory, has_dead), HEADER_BYTES + size


def check_length_for_lists(header: Header) -> int:
    """Return where the lists end, in bytes, if the message is long enough for them and the directory.

    Raises
    ------
    MessageError
        If it has not.
    """
    lists = header.num_tensors + header.num_dimensions
    available = header.message_bytes - HEADER_BYTES - TAIL_BYTES
    # Norms are not known yet: their number follows from the lists.
    if index_bytes(lists, 0, header.num_chunks, header.layout) > available:
        raise MessageError(
            "the message is too short for the tensors and chunks that its header claims", "length"
        )
    return HEADER_BYTES + 8 * lists


def payload_start(data: Any, header: Header) -> int:
    """Return where the payload begins, in bytes, from a message's header and lists.

    Raises
    ------
    MessageError
        If these contradict each other, or the message is too short for what they imply.
    """
    return HEADER_BYTES + _extent(memoryview(data), header)[3]


def _extent(view: memoryview, header: Header) -> tuple[tuple[int, ...], tuple[int, ...], int, int]:
    """Return tensor sizes, shape, the number of norms and the size of the index."""
    check_length_for_lists(header)
    sizes, shape = _parse_lists(view, header)
    num_norms = count_buckets(sizes, header.bucket_size)
    size = index_bytes(len(sizes) + len(shape), num_norms, header.num_chunks, header.layout)
    if size > header.message_bytes - HEADER_BYTES - TAIL_BYTES:
        raise MessageError("the message is too short for the norms that its header implies", "length")
    return sizes, shape, num_norms, size


def _parse_lists(view: memoryview, header: Header) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return tensor sizes and shape, both of which agree with the number of coordinates."""
    count = header.num_tensors + header.num_dimensions
    numbers = np.frombuffer(view, "<u8", count, HEADER_BYTES).tolist()
    sizes, shape = tuple(numbers[: header.num_tensors]), tuple(numbers[header.num_tensors :])
    check_lists(sizes, shape, header.num_coordinates)
    return sizes, shape


def _parse_directory(view: memoryview, header: Header, offset: int) -> Directory:
    chunks = header.num_chunks
    counts = chunks if header.layout == "sparse" else 0
    return Directory(
        np.frombuffer(view, "<u4", chunks, offset).astype(np.uint32),
        np.frombuffer(view, "<u2", chunks, offset + 4 * chunks).astype(np.uint16),
        np.frombuffer(view, "<u2", counts, offset + 6 * chunks).astype(np.uint16),
    )


def check_chunks(header: Header, directory: Directory) -> None:
    """Check that each chunk is long enough for its coordinates, before anything of their size is allocated.

    Raises
    ------
    MessageError
        If one is too short, or counts more levels than it has coordinates.
    """
    if not header.num_chunks:
        return
    from qsgd_lab.kernels.cpu.messages.sizes import unfit_chunk

    # With this a message of m bytes describes fewer than 512 m coordinates, see `qsgd_lab.decode`.
    bits = min_bits_per_coordinate(header.layout, header.num_levels)
    chunk, counts_too_many = unfit_chunk(
        header.num_coordinates, header.chunk_size, bits, directory.num_words, directory.num_nonzeros
    )
    if counts_too_many:
        raise MessageError("a chunk counts more levels than it has coordinates", "length")
    if chunk >= 0:
        raise MessageError(f"chunk {chunk} is too short for its coordinates", "length")


def _check_extent(
    view: memoryview, tail: bytes, directory: Directory, header: Header, size: int, lists: int, norms: int
) -> None:
    """Check that the parts fill the message exactly, and that what separates them is zero."""
    payload = int(directory.starts[-1])
    if HEADER_BYTES + size + payload + TAIL_BYTES != header.message_bytes:
        raise MessageError("the directory's chunks do not fill the message", "length")
    used = 8 * lists + 4 * norms + directory_bytes(header.num_chunks, header.layout)
    gap = bytes(view[HEADER_BYTES + used : HEADER_BYTES + size])  # short: compared at once
    if gap.count(0) != len(gap) or tail.count(0) != len(tail):
        raise MessageError("the message's padding is not 0", "zeros")

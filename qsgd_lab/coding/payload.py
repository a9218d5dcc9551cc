"""The payload of a message on the CPU: chunks written by several threads, each into memory of its own."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.header import HEADER_BYTES, TAIL_BYTES
from qsgd_lab.coding.index import WORD_BYTES, Directory, index_bytes
from qsgd_lab.coding.layouts import WORD_BITS, chunk_format, max_bits_per_coordinate
from qsgd_lab.coding.tables import encode_tables
from qsgd_lab.kernels.arguments import ChunkFormat
from qsgd_lab.partition import Partition
from qsgd_lab.threads import run_ranges

SMALL = 1 << 14  #: Bytes up to which copying a message is cheaper than shrinking its memory.
MEDIUM = 1 << 18  #: Bytes up to which NumPy shrinks it: 4 us less, and old and new count together since 2.5.


def _memory_function(name: str, *arguments: Any) -> Any:
    """Return a function of Python's own allocator, which tracemalloc sees."""
    return ctypes.PYFUNCTYPE(ctypes.c_void_p, *arguments)((name, ctypes.pythonapi))


_malloc = _memory_function("PyMem_RawMalloc", ctypes.c_size_t)
_realloc = _memory_function("PyMem_RawRealloc", ctypes.c_void_p, ctypes.c_size_t)
_free = _memory_function("PyMem_RawFree", ctypes.c_void_p)


class ChunkScheme(NamedTuple):
    """How levels become chunks.

    Attributes
    ----------
    layout, code : str
        Names, "auto" resolved.
    num_levels : int
        s.
    chunk_size : int
    """

    layout: str
    code: str
    num_levels: int
    chunk_size: int

    def format(self) -> ChunkFormat:
        """Return the same as kernels take it."""
        return chunk_format(self.layout, self.code, self.num_levels)

    def max_chunk_bytes(self) -> int:
        """Return the bytes that one chunk may take, and eight by which stores run over."""
        bits = self.chunk_size * max_bits_per_coordinate(self.layout, self.code, self.num_levels)
        return WORD_BYTES * -(-bits // WORD_BITS) + TAIL_BYTES


def lead_bytes(parts: Partition, shape: tuple[int, ...], scheme: ChunkScheme) -> int:
    """Return the bytes before the payload: header and index."""
    chunks = -(-parts.num_coordinates // scheme.chunk_size)
    lists = len(parts.tensor_sizes) + len(shape)
    return HEADER_BYTES + index_bytes(lists, parts.num_buckets, chunks, scheme.layout)


def write_payload(
    write_range: Callable[[int, int, NDArray[np.uint8], Directory], int],
    num_coordinates: int,
    scheme: ChunkScheme,
    threads: int | None,
    lead: int,
) -> tuple[NDArray[np.uint8], Directory]:
    """Return the payload after `lead` bytes and before eight, and the directory.

    Parameters
    ----------
    write_range : (first chunk, last chunk, stream, directory) -> bytes written
        Writes chunks first..last-1 from the beginning of its own `stream`, and enters them in the directory.
    num_coordinates : int
    scheme : ChunkScheme
    threads : int or None
    lead : int
        Bytes to leave free for header and index.

    Notes
    -----
    Each thread has a region large enough for the longest codewords; then the gaps between regions are closed.
    Memory that was reserved and not written is never touched.
    """
    chunks = -(-num_coordinates // scheme.chunk_size)
    # Not zeroed: threads fill every entry.
    counts = chunks if scheme.layout == "sparse" else 0
    directory = Directory(
        np.empty(chunks, np.uint32), np.empty(chunks, np.uint16), np.empty(counts, np.uint16)
    )
    most = scheme.max_chunk_bytes()
    size = lead + most * chunks + TAIL_BYTES
    memory = _ShrinkingMemory(size) if size > MEDIUM else None
    whole = np.empty(size, np.uint8) if memory is None else memory.bytes()

    def write(first: int, last: int) -> tuple[int, int]:
        start = lead + most * first
        return start, write_range(first, last, whole[start : lead + most * last], directory)

    # Threads do not know how long the chunks before theirs will be, and so begin where these end at most.
    regions = run_ranges(write, chunks, threads)
    end = _close_gaps(whole, lead, regions) + TAIL_BYTES
    if size <= SMALL:
        return whole[:end].copy(), directory
    if memory is None:
        whole.resize(end, refcheck=False)  # the threads' views of it are gone
        return whole, directory
    memory.shrink(end)
    return memory.bytes(), directory


class _ShrinkingMemory:
    """Memory whose end can be given back, of which arrays are views.

    `numpy.ndarray.resize` does it too, but since NumPy 2.5 it counts old and new memory as held together.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._address = _malloc(size)
        if not self._address:
            raise MemoryError(f"a message takes up to {size} bytes while it is written, which are not free")

    def bytes(self) -> NDArray[np.uint8]:
        """Return the bytes as an array, which keeps the memory."""
        return np.asarray(self)

    def shrink(self, size: int) -> None:
        """Give back what follows the first `size` bytes; earlier arrays must not be used any more."""
        self._address = _realloc(self._address, size) or self._address  # None: nothing has changed
        self._size = size

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"shape": (self._size,), "typestr": "|u1", "data": (self._address, False), "version": 3}

    def __del__(self, free: Any = _free) -> None:  # bound here: modules may be gone when a program ends
        free(self._address)


def write_levels(
    levels: NDArray[Any], scheme: ChunkScheme, threads: int | None, lead: int
) -> tuple[NDArray[np.uint8], Directory]:
    """Return the payload of levels after `lead` bytes and before eight, and the directory.

    Raises
    ------
    ValueError
        If a level is outside -s..s.
    """
    from qsgd_lab.kernels.cpu.messages.encode import OUT_OF_RANGE, encode_chunks

    form = tuple(scheme.format())
    tables = tuple(encode_tables(scheme.layout, scheme.code, scheme.num_levels))

    def write(first: int, last: int, stream: NDArray[np.uint8], directory: Directory) -> int:
        chunks = (levels.size, scheme.chunk_size, first, last)
        lists = (directory.num_words, directory.checksums, directory.num_nonzeros)
        size = encode_chunks(levels, chunks, form, tables, stream, lists)
        if size == OUT_OF_RANGE:
            raise out_of_range(scheme.num_levels)
        return int(size)

    return write_payload(write, levels.size, scheme, threads, lead)


def out_of_range(num_levels: int) -> ValueError:
    """Return what is raised for a level beyond s."""
    return ValueError(f"a level is outside -{num_levels}..{num_levels}")


def _close_gaps(stream: NDArray[np.uint8], end: int, regions: list[tuple[int, int]]) -> int:
    """Move regions (start, size) together behind `end`, in place; return where the last one ends."""
    with stream.data as bytes_:  # assigning slices of it moves memory without a copy aside
        for start, size in regions:
            if start != end:  # the first region is in place
                bytes_[end : end + size] = bytes_[start : start + size]
            end += size
    return end

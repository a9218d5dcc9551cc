"""Messages of gradients with what was not sent before, in one pass that also splits this sum."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.header import HEADER_BYTES, TAIL_BYTES, check_lists, crc32c, header_bytes
from qsgd_lab.coding.host import in_one_pass
from qsgd_lab.coding.index import WORD_BYTES
from qsgd_lab.coding.layouts import WORD_BITS, fixed_width
from qsgd_lab.coding.payload import ChunkScheme, lead_bytes
from qsgd_lab.kernels.arguments import ChunkDirectory, ChunkRange, StreamKey
from qsgd_lab.partition import Partition
from qsgd_lab.quantization import level_dtype
from qsgd_lab.stream import KernelKey
from qsgd_lab.wire.checks import writing

Vector = NDArray[np.float32]

#: Where a header has the checksum of the index; its own follows.
_INDEX_CRC = HEADER_BYTES - 8


class RestEncoder:
    """Makes messages of one partition, in the fixed layout, of which all but norms and payload is the same.

    It keeps what they have in common, and memory; it serves one thread at a time.

    Parameters
    ----------
    parts : Partition
    num_levels : int
        s.
    chunk_size : int
    norm : {"l2", "max"}
    stochastic : bool

    Attributes
    ----------
    num_bytes : int
        The length of every message.
    """

    def __init__(
        self, parts: Partition, num_levels: int, chunk_size: int, norm: str, *, stochastic: bool
    ) -> None:
        scheme, n = ChunkScheme("fixed", "none", num_levels, chunk_size), parts.num_coordinates
        with writing():
            check_lists(parts.tensor_sizes, (n,), n)
        count, width = -(-n // chunk_size), fixed_width(num_levels)
        whole, last = divmod(n, chunk_size)
        words = whole * (chunk_size * width // WORD_BITS) + -(-last * width // WORD_BITS)
        self._lead = lead_bytes(parts, (n,), scheme)
        self.num_bytes = self._lead + WORD_BYTES * words + TAIL_BYTES
        lists = struct.pack(f"<{len(parts.tensor_sizes) + 1}Q", *parts.tensor_sizes, n)
        numbers = (num_levels, chunk_size, self.num_bytes, n)
        header = header_bytes(
            ("fixed", "none", norm), numbers, parts.bucket_size, (len(parts.tensor_sizes), 1), 0
        )
        self._header = header[:_INDEX_CRC]
        self._lists = np.frombuffer(lists, np.uint8)
        self._norms = np.empty(parts.num_buckets, np.float32)
        self._directory = ChunkDirectory(
            np.empty(count, np.uint16), np.empty(count, np.uint32), np.empty(0, np.uint16)
        )
        #: What fills the index, in order; zeros follow.
        self._parts = [
            self._lists,
            self._norms.view(np.uint8),
            self._directory.checksums.view(np.uint8),
            self._directory.num_words.view(np.uint8),
        ]
        self._chunks = ChunkRange(n, chunk_size, 0, count)
        self._arguments = in_one_pass(parts, scheme, norm, stochastic)
        self._scratch: NDArray[np.generic] | None = None

    def encode(
        self, vectors: tuple[Vector, Vector, Vector, Vector], key: KernelKey, target: NDArray[np.uint8]
    ) -> None:
        """Write the message of gradient + residual.

        Parameters
        ----------
        vectors : (gradient, residual, rest, values), each float32, shape (n,), contiguous
            `rest` and `values` are overwritten: by what was not sent, and by what receivers read, with 0 for
            -0. Gradient and values may be the same memory.
        key : KernelKey
            Of the random words.
        target : uint8, shape (num_bytes,), contiguous
            Overwritten.
        """
        from qsgd_lab.kernels.cpu.messages.quantize_encode import CHUNKS_AT_A_TIME
        from qsgd_lab.kernels.cpu.messages.send_rest import send_rest_chunks

        gradient, residual, rest, values = vectors
        offsets, quantizer, form, tables = self._arguments
        if self._scratch is None:
            self._scratch = np.empty(CHUNKS_AT_A_TIME * self._chunks.size, level_dtype(form.num_levels))
        send_rest_chunks(
            gradient,
            residual,
            rest,
            rest.view(np.int32),
            values,
            offsets,
            StreamKey(*key),
            quantizer,
            self._chunks,
            form,
            tables,
            self._scratch,
            target[self._lead :],
            self._directory,
            self._norms,
        )
        at = HEADER_BYTES
        for part in self._parts:
            target[at : at + part.size] = part
            at += part.size
        target[at : self._lead] = 0
        target[self.num_bytes - TAIL_BYTES :] = 0
        fields = self._header + struct.pack("<I", crc32c(target[HEADER_BYTES : self._lead]))
        target[:HEADER_BYTES] = np.frombuffer(fields + struct.pack("<I", crc32c(fields)), np.uint8)

"""Header, index and checksums of a message whose payload a device holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from qsgd_lab.coding.device_tables import piece_checksum_tables, word_checksum_tables
from qsgd_lab.coding.header import Header
from qsgd_lab.coding.index import WORD_BYTES
from qsgd_lab.coding.payload import ChunkScheme, lead_bytes
from qsgd_lab.partition import Partition


def seal_on_device(
    home: Any,
    words: Any,
    scheme: ChunkScheme,
    norm: str,
    parts: Partition,
    shape: tuple[int, ...],
    norms: Any,
    directory: tuple[Any, Any, Any],
) -> None:
    """Write all of a message but its payload, which stands in `words`; nothing is waited for.

    Parameters
    ----------
    home : Home
    words : Numba uint32
        The message.
    scheme, norm, parts, shape
        What its header and lists say.
    norms : Numba float32[B]
    directory : (int32[C], uint32[C], int32[C]), Numba
        Lengths of chunks in words, checksums, and numbers of non-zeros, which only the sparse layout sends.
    """
    from qsgd_lab.kernels.seal_cuda import launch_seal

    header = Header(
        scheme.layout,
        scheme.code if scheme.layout != "fixed" else "none",
        norm,
        scheme.num_levels,
        scheme.chunk_size,
        WORD_BYTES * words.size,
        parts.num_coordinates,
        parts.bucket_size,
        len(parts.tensor_sizes),
        len(shape),
        0,  # the index's checksum, which the device computes
    )
    lists = np.array([*parts.tensor_sizes, *shape], np.uint64).tobytes()
    lead = np.frombuffer(header.pack() + lists, np.uint32)
    words[: lead.size].copy_to_device(lead, stream=home.stream)
    launch_seal(
        home,
        words,
        lead.size,
        lead_bytes(parts, shape, scheme) // WORD_BYTES,
        norms.view(np.uint32),
        directory,
        scheme.layout == "sparse",
        word_checksum_tables(home),
        piece_checksum_tables(home),
    )

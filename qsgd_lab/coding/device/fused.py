"""From a gradient on a device to its message of fixed width there, without an array of levels.

The length of such a message follows from its header, so the host does not wait.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qsgd_lab.coding.device.encode import seal_on_device
from qsgd_lab.coding.device.sizes import device_memory
from qsgd_lab.coding.device.tables import word_checksum_tables
from qsgd_lab.coding.header import TAIL_BYTES
from qsgd_lab.coding.index import WORD_BYTES
from qsgd_lab.coding.layouts import WORD_BITS, fixed_width
from qsgd_lab.coding.payload import ChunkScheme, lead_bytes
from qsgd_lab.levels import NORMS
from qsgd_lab.partition import Partition
from qsgd_lab.stream import KernelKey


def quantize_and_pack_on_device(
    gradient: Any, parts: Partition, scheme: ChunkScheme, norm: str, stochastic: bool, key: KernelKey
) -> Any:
    """Return the message of fixed width of a gradient on a device: uint8 in an array of its library.

    Raises
    ------
    TypeError, ValueError
        If the gradient is not a contiguous array on a device of a dtype that `quantize` takes.
    MemoryError
        If the device has not enough memory.
    """
    from qsgd_lab.kernels.cuda.device import context_of, device_view, flat_device_reals
    from qsgd_lab.kernels.cuda.messages.checksum import launch_enter_equal_chunks
    from qsgd_lab.kernels.cuda.messages.fixed_width import launch_quantize_pack, packed_words
    from qsgd_lab.kernels.cuda.rows import row_tables

    context, shape = context_of(gradient, "gradient"), tuple(np.shape(gradient))
    with context.active():
        x = flat_device_reals(gradient)
        width = fixed_width(scheme.num_levels)
        payload, count = lead_bytes(parts, shape, scheme), packed_words(x.size, width)
        size = payload + WORD_BYTES * count + TAIL_BYTES
        with device_memory("a message", size):
            message = context.empty(size, np.uint8)
            norms = context.scratch(parts.num_buckets, np.float32)
        words, first = device_view(message, np.uint8).view(np.uint32), payload // WORD_BYTES
        launch_quantize_pack(
            context,
            row_tables(parts, context),
            x,
            key,
            NORMS.index(norm),
            stochastic,
            scheme.num_levels,
            width,
            words[first : first + count],
            norms,
        )
        chunks = -(-x.size // scheme.chunk_size)
        num_words, checksums = context.scratch(chunks, np.int32), context.scratch(chunks, np.uint32)
        launch_enter_equal_chunks(
            context,
            words,
            first,
            count,
            scheme.chunk_size * width // WORD_BITS,
            word_checksum_tables(context),
            num_words,
            checksums,
        )
        directory = (num_words, checksums, num_words)
        seal_on_device(context, words, scheme, norm, parts, shape, norms, directory, keeps_lead=True)
    return message

"""Levels and norms on a device to a message on the device: the bytes that the CPU writes.

The host waits for the device once, for the length of the message (and once more where "auto" leaves a
choice, for the lengths to choose from). All tensors of a model are coded by the same few launches, since
chunks do not know of tensors.

Header, index and checksums of a message whose payload a device holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qsgd_lab.coding.device.decode import check_dead_on_device
from qsgd_lab.coding.device.sizes import device_arrays, device_memory, device_payload_bytes
from qsgd_lab.coding.device.tables import (
    codeword_entries,
    dense_entries,
    kept_lead,
    piece_checksum_tables,
    word_checksum_tables,
)
from qsgd_lab.coding.header import TAIL_BYTES, Header, check_lists
from qsgd_lab.coding.index import WORD_BYTES
from qsgd_lab.coding.layout_choice import shortest_of
from qsgd_lab.coding.layouts import LAYOUTS, fixed_width
from qsgd_lab.coding.payload import ChunkScheme, lead_bytes, out_of_range
from qsgd_lab.partition import Partition
from qsgd_lab.quantization import QuantizedGradient
from qsgd_lab.wire.checks import writable_scales, writing


def seal_on_device(
    context: Any,
    words: Any,
    scheme: ChunkScheme,
    norm: str,
    parts: Partition,
    shape: tuple[int, ...],
    norms: Any,
    directory: tuple[Any, Any, Any],
    keeps_lead: bool = False,
) -> None:
    """Write all of a message but its payload, which is in `words`; nothing is waited for.

    Parameters
    ----------
    context : DeviceContext
    words : Numba uint32
        The message.
    scheme, norm, parts, shape
        What its header and lists say.
    norms : Numba float32[B]
    directory : (int32[C], uint32[C], int32[C]), Numba
        Lengths of chunks in words, checksums, and numbers of non-zeros, which only the sparse layout sends.
    keeps_lead : bool
        Whether header and lists stay on the device for the next message, whose length is the same.
    """
    from qsgd_lab.kernels.cuda.messages.message_frame import launch_seal

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
    lead = header.pack() + lists
    launch_seal(
        context,
        words,
        kept_lead(context, lead) if keeps_lead else context.to_device(np.frombuffer(lead, np.uint32)),
        lead_bytes(parts, shape, scheme) // WORD_BYTES,
        norms.view(np.uint32),
        directory,
        scheme.layout == "sparse",
        word_checksum_tables(context),
        piece_checksum_tables(context),
    )


def encode_on_device(quantized: QuantizedGradient, code: str, layout: str, chunk_size: int) -> Any:
    """Return the message of a quantized gradient whose arrays live on a device.

    Parameters
    ----------
    quantized : QuantizedGradient
    code, layout : str
        Names, checked; either may be "auto".
    chunk_size : int

    Returns
    -------
    uint8, shape (length of the message,)
        An array of the library whose arrays the levels and norms are, on their device: what a collective
        sends as it is.

    Raises
    ------
    ValueError, TypeError
        If the arrays are not what a quantizer makes, or a level is outside -s..s.
    MemoryError
        If the device has not enough memory.
    """
    context, levels, norms = device_arrays(quantized)
    with context.active():
        return _encode(context, quantized, levels, norms, code, layout, chunk_size)


def _encode(
    context: Any,
    quantized: QuantizedGradient,
    levels: Any,
    norms: Any,
    code: str,
    layout: str,
    chunk_size: int,
) -> Any:
    from qsgd_lab.kernels.cuda.device import device_view, to_host
    from qsgd_lab.kernels.cuda.messages.encode import is_dense_and_small, launch_encode, launch_gather

    chunks = -(-levels.size // chunk_size)
    if layout != "fixed" and "auto" in (code, layout):
        sizes = device_payload_bytes(quantized, chunk_size)
        code, layout = shortest_of(sizes, chunks, code, layout)
    scheme = ChunkScheme(layout, code, quantized.num_levels, chunk_size)
    # Lengths are not known yet: every chunk is written into a slot of the longest possible.
    slot = (scheme.max_chunk_bytes() - TAIL_BYTES) // WORD_BYTES
    with device_memory("encoding", WORD_BYTES * slot * chunks):
        slots = context.scratch(slot * chunks, np.uint32)
        directory = (
            context.scratch(chunks, np.int32),
            context.scratch(chunks, np.uint32),
            context.scratch(chunks, np.int32),
        )
        ends = context.scratch(chunks + 2, np.int64)
    launch_encode(
        context,
        levels,
        chunk_size,
        (LAYOUTS[layout], quantized.num_levels, np.uint64(fixed_width(quantized.num_levels))),
        codeword_entries(context, layout, code, quantized.num_levels),
        slot,
        word_checksum_tables(context),
        slots,
        directory,
        ends,
        dense_entries(context, code, quantized.num_levels)[0]
        if is_dense_and_small(LAYOUTS[layout], quantized.num_levels, chunk_size)
        else None,
    )
    # The one wait: how long the message is.
    num_words, flaws = (int(number) for number in to_host(ends[chunks:]))
    if flaws:
        raise out_of_range(quantized.num_levels)
    with writing():
        check_lists(quantized.partition.tensor_sizes, quantized.shape, levels.size)
        found = to_host(norms)
        stored = writable_scales(found)[0]  # every NaN becomes that one of messages
        check_dead_on_device(context, stored, levels, quantized.partition)
    if stored is not found:
        norms = context.to_device(stored)
    payload = lead_bytes(quantized.partition, quantized.shape, scheme)
    size = payload + WORD_BYTES * num_words + TAIL_BYTES
    with device_memory("a message", size):
        message = context.empty(size, np.uint8)
    words = device_view(message, np.uint8).view(np.uint32)
    launch_gather(context, slots, slot, ends[: chunks + 1], words, payload // WORD_BYTES)
    seal_on_device(
        context, words, scheme, quantized.norm, quantized.partition, quantized.shape, norms, directory
    )
    return message

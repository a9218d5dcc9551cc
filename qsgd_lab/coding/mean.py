"""The end of a sum over nodes: the last message's values, the division, and whether all is finite."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.coding.host import kernel_arguments
from qsgd_lab.coding.message import check_total, open_frame, raise_unless_good
from qsgd_lab.errors import MessageError
from qsgd_lab.kernels.arguments import ChunkRange, ReadDirectory
from qsgd_lab.quantization import level_dtype

Vector = NDArray[np.float32]


def end_mean(message: Any, tensor_sizes: tuple[int, ...], total: Vector, nodes: int) -> bool:
    """Add the values of the last message of a sum, and divide it by the number of nodes, in one pass.

    Parameters
    ----------
    message : bytes-like
        Of version 1. Untrusted.
    tensor_sizes : tuple of int
        Coordinates of the tensors that it must have.
    total : float32, shape (n,), contiguous
        The sum of the other messages; overwritten by the mean. After an error its content is undefined.
    nodes : int

    Returns
    -------
    bool
        Whether all of the mean is finite.

    Raises
    ------
    MessageError
        If the message is damaged, or has other tensors.
    """
    from qsgd_lab.kernels.cpu.messages.decode import GROUP, decode_to_mean

    frame = open_frame(message)
    header, index = frame.header, frame.index
    check_total(header.num_coordinates, total.size)
    if index.partition.tensor_sizes != tensor_sizes:
        raise MessageError("the message is of a gradient with other tensors than the receiver's", "structure")
    form, tables = kernel_arguments(frame)
    lists = ReadDirectory(frame.starts, index.directory.checksums, index.directory.num_nonzeros)
    chunks = ChunkRange(header.num_coordinates, header.chunk_size, 0, header.num_chunks)
    scratch = np.empty(GROUP * header.chunk_size, level_dtype(header.num_levels))
    outcome, chunk, is_finite = decode_to_mean(
        frame.payload,
        lists,
        chunks,
        form,
        tables,
        index.norms,
        index.partition.bucket_offsets,
        scratch,
        np.float32(nodes),
        total,
    )
    raise_unless_good([(outcome, chunk)])
    return bool(is_finite)


def divide_sum(total: Vector, nodes: int) -> bool:
    """Divide a sum by the number of nodes, in place; return whether all of the mean is finite.

    Parameters
    ----------
    total : float32, shape (n,), contiguous
    nodes : int
    """
    from qsgd_lab.kernels.cpu.messages.divide import divide_all

    return bool(divide_all(total, np.float32(nodes)))

"""The binary edition's files: records of one byte of label and 3072 of pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.data.cifar10_release import IMAGE_SHAPE, RECORD_BYTES

Bytes = NDArray[np.uint8]


def parse_records(content: bytes, num_records: int) -> tuple[Bytes, Bytes]:
    """Take a file apart; nothing is copied.

    Parameters
    ----------
    content : bytes
        Records one after another: a label, then 1024 bytes each of red, green and blue, row by row.
    num_records : int
        How many there must be.

    Returns
    -------
    images : uint8, shape (num_records, 3, 32, 32)
    labels : uint8, shape (num_records,)

    Raises
    ------
    ValueError
        If the size is not that of so many records.
    """
    if len(content) != num_records * RECORD_BYTES:
        raise ValueError(f"has {len(content)} bytes instead of {num_records * RECORD_BYTES}")
    records = np.frombuffer(content, np.uint8).reshape(num_records, RECORD_BYTES)
    return records[:, 1:].reshape(num_records, *IMAGE_SHAPE), records[:, 0]

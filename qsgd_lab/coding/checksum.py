"""CRC-32C of bytes, the checksum of messages."""

from __future__ import annotations

from typing import Any

import numpy as np


def crc32c(data: Any) -> int:
    """Return the CRC-32C of a bytes-like object.

    Examples
    --------
    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    from qsgd_lab.kernels import crc32c as kernel

    array = np.frombuffer(data, np.uint8)
    array.flags.writeable = False
    return int(kernel.crc32c(array, 0, array.size))

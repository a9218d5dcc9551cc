"""The checksums of version 2, CRC-32C of ranges of a message."""

from __future__ import annotations

import numpy as np

from qsgd_lab.wire.checks import Bytes


def crc32c(data: Bytes, start: int, stop: int, before: int = 0) -> int:
    """Return the CRC-32C of bytes start..stop-1, after bytes whose CRC is `before`.

    Examples
    --------
    >>> hex(crc32c(np.frombuffer(b"123456789", np.uint8), 0, 9))
    '0xe3069283'
    """
    from qsgd_lab.kernels.crc32c import crc32c_after

    return int(crc32c_after(data, start, stop, np.uint32(before)))

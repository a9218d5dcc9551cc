"""The three checksums of a message of version 2, CRC-32C; `message` enters and `envelope` verifies them."""

from __future__ import annotations

from qsgd_lab.wire.checks import Bytes


def head_check(data: Bytes) -> int:
    """Return the head check of a message: 16 bits of the CRC of bytes 0-13 followed by bytes 16-31."""
    from qsgd_lab.kernels.crc32c import crc32c_around

    return int(crc32c_around(data, 14, 16, 32, 32)[0]) & 0xFFFF


def front_and_payload_check(data: Bytes, start: int) -> tuple[int, int]:
    """Return the front check, of bytes 0-31 and 36 to `start`, and the payload check, of what follows."""
    from qsgd_lab.kernels.crc32c import crc32c_around

    front, payload = crc32c_around(data, 32, 36, start, data.size)
    return int(front), int(payload)


def seal(message: Bytes, start: int) -> None:
    """Enter the three checksums of a message, whose payload begins at `start`."""
    from qsgd_lab.kernels.crc32c import seal_message

    seal_message(message, start)

"""A decoder of messages written from docs/wire-format.md alone; it trusts its input."""

from __future__ import annotations

import struct

import naive_codes

CODES = {0: "none", 1: "gamma", 2: "delta", 3: "omega"}


def crc32c(data: bytes) -> int:
    """Return the CRC-32C, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def bits_of(data: bytes) -> str:
    """Return the bits of a stream in reading order, the lowest of each byte first."""
    return "".join(str(byte >> i & 1) for byte in data for i in range(8))


def read_chunk(data: bytes, size: int, layout: int, code: str, width: int, nonzeros: int) -> list[int]:
    """Return the levels of a chunk."""
    bits, position, levels = bits_of(data), 0, [0] * size
    place = -1
    for i in range(nonzeros if layout == 3 else size):
        if layout == 0:
            value = int(bits[position : position + width][::-1], 2)
            levels[i] = value - 2**width if value >= 2 ** (width - 1) else value
            position += width
        elif layout == 1:
            k, position = naive_codes.read(bits, position, code)
            if k > 1:
                levels[i] = (k - 1) * (-1 if bits[position] == "1" else 1)
                position += 1
        elif layout == 2:
            sign = -1 if bits[position] == "1" else 1
            k, position = naive_codes.read(bits, position + 1, code)
            levels[i] = (k - 1) * sign
        else:
            gap, position = naive_codes.read(bits, position, code)
            sign = -1 if bits[position] == "1" else 1
            k, position = naive_codes.read(bits, position + 1, code)
            place += gap
            levels[place] = k * sign
    assert set(bits[position:]) <= {"0"}
    assert len(bits) - position < 32
    return levels


def decode(message: bytes) -> dict:
    """Return everything that a message says."""
    fields = struct.unpack("<4sBBBBIIQQQIIQII", message[:64])
    magic, version, layout, code, norm, s, chunk, total, n, bucket, tensors, dims, zero, index_crc, crc = (
        fields
    )
    assert (magic, version, zero, total) == (b"QSGD", 1, 0, len(message))
    assert crc32c(message[:60]) == crc
    lists = struct.unpack(f"<{tensors + dims}Q", message[64 : 64 + 8 * (tensors + dims)])
    sizes, shape = lists[:tensors], lists[tensors:]
    if bucket == 2**64 - 1:
        num_norms = int(n > 0)
    elif bucket == 0:
        num_norms = sum(size > 0 for size in sizes)
    else:
        num_norms = sum(-(-size // bucket) for size in sizes)
    at = 64 + 8 * (tensors + dims)
    norms = struct.unpack(f"<{num_norms}f", message[at : at + 4 * num_norms])
    at += 4 * num_norms
    chunks = -(-n // chunk)
    crcs = struct.unpack(f"<{chunks}I", message[at : at + 4 * chunks])
    words = struct.unpack(f"<{chunks}H", message[at + 4 * chunks : at + 6 * chunks])
    at += 6 * chunks
    counts = [0] * chunks
    if layout == 3:
        counts = list(struct.unpack(f"<{chunks}H", message[at : at + 2 * chunks]))
        at += 2 * chunks
    at += -at % 4
    assert crc32c(message[64:at]) == index_crc
    levels: list[int] = []
    for i in range(chunks):
        data = message[at : at + 4 * words[i]]
        assert crc32c(data) == crcs[i]
        size = min(chunk, n - i * chunk)
        levels += read_chunk(data, size, layout, CODES[code], s.bit_length() + 1, counts[i])
        at += 4 * words[i]
    assert message[at:] == bytes(8)
    return {
        "layout": layout,
        "code": CODES[code],
        "norm": ["l2", "max"][norm],
        "s": s,
        "bucket": bucket,
        "sizes": sizes,
        "shape": shape,
        "norms": norms,
        "levels": levels,
    }

"""Mutate messages and decode them: each is refused with a MessageError or is what an encoder writes.

    python tests/support/fuzz_messages.py --count 1000000
    NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=/tmp/checked python tests/support/fuzz_messages.py --seconds 60

Half of the mutants get their checksums corrected, so that the checks after the checksums are reached. The
test suite runs a slice of this.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import time

import numpy as np

import qsgd_lab as ql
from qsgd_lab.coding.elias import LENGTHS
from qsgd_lab.coding.header import crc32c
from qsgd_lab.coding.layouts import LAYOUTS

HOSTILE = [
    0,
    1,
    31,
    32,
    33,
    4095,
    4096,
    4097,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**63,
    2**64 - 1,
]
#: Offset and width of every number of the header.
FIELDS = [
    (4, 1),
    (5, 1),
    (6, 1),
    (7, 1),
    (8, 4),
    (12, 4),
    (16, 8),
    (24, 8),
    (32, 8),
    (40, 4),
    (44, 4),
    (48, 8),
    (56, 4),
]


def corpus() -> list[bytes]:
    """Return messages of every layout and code, of few and many chunks."""
    rng = np.random.default_rng(0)
    messages = []
    for num_levels in (1, 7, 127, 300):
        for size, chunk_size in ((0, 4096), (40, 32), (700, 64), (17_000, 4096)):
            gradient = rng.standard_normal(size).astype(np.float32)
            sizes = (size // 3, 0, size - size // 3)
            quantized = ql.quantize(gradient, levels=num_levels, bucket_size=128, tensor_sizes=sizes)
            for layout in LAYOUTS:
                for code in ["auto"] if layout == "fixed" else LENGTHS:
                    messages.append(bytes(ql.encode(quantized, code, layout, chunk_size=chunk_size)))
    return messages


def mutate(random_: random.Random, message: bytes, messages: list[bytes]) -> bytes:
    """Return a damaged message."""
    data = bytearray(message)
    for _ in range(random_.choice([1, 1, 2, 5])):
        kind = random_.randrange(7)
        at = random_.randrange(len(data) + 1)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << random_.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            other = random_.choice(messages)
            data[at:] = other[random_.randrange(len(other)) :]
        elif kind == 3 and len(data) >= 64:
            offset, width = random_.choice(FIELDS)
            value = random_.choice([*HOSTILE, random_.getrandbits(64)])
            data[offset : offset + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
        elif kind == 4:
            run = random_.randrange(1, 40)
            data[at : at + run] = random_.randbytes(run)
        elif kind == 5:
            data[at:at] = random_.randbytes(random_.randrange(1, 9))
        elif kind == 6 and len(data) > 64:
            run = random_.randrange(1, 64)
            at = random_.randrange(64, len(data))
            data[at : at + run] = random_.choice([b"\x00", b"\xff"]) * len(data[at : at + run])
    return bytes(data)


def fix_checksums(message: bytes) -> bytes:
    """Return the message with right checksums, as far as its header's claims can be followed."""
    data = bytearray(message)
    if len(data) < 72:
        return message
    data[16:24] = struct.pack("<Q", len(data))
    chunk, n, bucket, tensors, dims = (*struct.unpack_from("<I8xQQII", data, 12),)
    lists, chunks = 8 * (tensors + dims), -(-n // max(chunk, 1))
    norms = (len(data) - 72 - lists) // 4 if bucket in (0, 2**64 - 1) else 0
    if 64 + lists <= len(data) and tensors < 1000:
        sizes = struct.unpack_from(f"<{tensors}Q", data, 64)
        if bucket == 2**64 - 1:
            norms = int(sum(sizes) > 0)
        elif bucket == 0:
            norms = sum(size > 0 for size in sizes)
        else:
            norms = sum(-(-size // bucket) for size in sizes)
    directory = 64 + lists + 4 * norms
    entry = 8 if data[5] == 3 else 6
    payload = directory + entry * chunks
    payload += -payload % 4
    if chunks < 10**5 and payload < len(data):
        words = struct.unpack_from(f"<{chunks}H", data, directory + 4 * chunks)
        at = payload
        for i, count in enumerate(words):
            checksum = crc32c(bytes(data[at : at + 4 * count]))
            data[directory + 4 * i : directory + 4 * i + 4] = struct.pack("<I", checksum)
            at += 4 * count
        data[56:60] = struct.pack("<I", crc32c(bytes(data[64:payload])))
    data[60:64] = struct.pack("<I", crc32c(bytes(data[:60])))
    return bytes(data)


def check(random_: random.Random, data: bytes) -> bool:
    """Decode a mutant; return whether it was accepted, in which case it must be what an encoder writes."""
    try:
        received = ql.decode(data, threads=random_.choice([1, 1, 1, 2]))
    except ql.MessageError:
        check_range(random_, data)
        return False
    header = ql.open_message(data).header
    code = "auto" if header.code == "none" else header.code
    again = ql.encode(received, code, header.layout, chunk_size=header.chunk_size)
    assert again == data, f"accepted, but not what an encoder writes: {data.hex()}"
    assert ql.decode_values(data).tobytes() == ql.dequantize(received).tobytes()
    return True


def check_range(random_: random.Random, data: bytes) -> None:
    """Decode part of a refused mutant, and add it to a total: nothing but a MessageError may come of it."""
    try:
        header = ql.open_message(data).header
        middle = random_.randrange(header.num_coordinates + 1)
        ql.decode(data, middle, middle + 100)
        ql.add_decoded([data], np.zeros(header.num_coordinates, np.float32))
    except ql.MessageError:
        pass


def fuzz(seed: int, count: int, seconds: float) -> tuple[int, int]:
    """Check mutants until either limit; return how many there were and how many were accepted."""
    random_ = random.Random(seed)
    messages = corpus()
    end = time.monotonic() + seconds
    done = accepted = 0
    while done < count and time.monotonic() < end:
        data = mutate(random_, random_.choice(messages), messages)
        if random_.random() < 0.5:
            data = fix_checksums(data)
        accepted += check(random_, data)
        done += 1
    return done, accepted


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    done, accepted = fuzz(options.seed, options.count, options.seconds)
    sys.stdout.write(f"{done} mutants, {accepted} of them messages, none that should not be\n")


if __name__ == "__main__":
    main()

"""Mutate messages of version 2 of every kind; what is accepted must be right, canonical, and cheap.

    python tests/support/fuzz_wire2.py --count 1000000
    python tests/support/fuzz_wire2.py --count 1000000 --kind ranged --without-oracle
    NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=/tmp/checked python tests/support/fuzz_wire2.py --seconds 60

Checksums are 0 on both sides, so that every other check must do the work. The naive reader, written from the
page alone, must give the same verdict and the same values; what was read is packed again and must give the
same bytes; and memory stays within the theorem of the page. ``--without-oracle`` leaves out the naive reader,
which takes most of the time. The test suite runs a slice of this.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import tracemalloc
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

if __name__ == "__main__":  # the oracles, which conftest.py finds for the suite
    sys.path.append(str(Path(__file__).resolve().parent.parent / "oracles"))

import naive_ranged
import naive_wire2
import numpy as np
import pytest
import wire2_contents

from qsgd_lab.errors import MessageError
from qsgd_lab.wire import checksum
from qsgd_lab.wire.envelope import open_sections
from qsgd_lab.wire.kinds import kind_of
from qsgd_lab.wire.message import dense, open_content, pack

MOST = 2**16  # coordinates allowed
RANGED = 4  # number of the layout
#: Bytes that Python's own objects take, whatever the message: the head's numbers, dataclasses, array headers.
SMALL = 24_000
HOSTILE = [
    0,
    1,
    2,
    5,
    7,
    8,
    31,
    64,
    65,
    127,
    128,
    255,
    2**15,
    2**16 - 1,
    2**20,
    2**31,
    2**32 - 1,
    2**34,
    2**48,
    2**63,
    2**64 - 8,
]
#: Offset and width of numbers of the head, of the parameters after a flat structure, and of an inner head.
FIELDS = [
    (4, 1),
    (5, 1),
    (6, 1),
    (7, 1),
    (8, 4),
    (12, 1),
    (13, 1),
    (16, 8),
    (24, 8),
    (40, 8),
    (48, 8),
    (40, 1),
    (44, 2),
    (48, 4),
]


def write_zeros(message, _start) -> None:
    """Enter checksums that are 0."""
    message[14:16] = message[32:40] = 0


@contextmanager
def no_checksums():
    """Let every checksum be 0, in the library and in the naive reader."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checksum, "head_check", lambda _: 0)
        patch.setattr(checksum, "seal", write_zeros)
        patch.setattr(checksum, "front_and_payload_check", lambda *_: (0, 0))
        patch.setattr(naive_wire2, "crc32c", lambda _: 0)
        yield


ALL_KINDS = (*wire2_contents.KINDS, "ranged", "base3")


def corpus(rng: random.Random, each: int, kinds=ALL_KINDS) -> list[bytes]:
    """Return messages of these kinds."""
    found = []
    for name in kinds:
        for _ in range(each):
            content = wire2_contents.some_content(rng, name)
            found.append(
                bytes(pack(content.payload, structure=content.structure, key=content.key, used=content.used))
            )
    return found


def mutate(rng: random.Random, message: bytes, messages: list[bytes]) -> bytes:
    """Return a damaged message, its length corrected more often than not."""
    data = bytearray(message)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        kind = rng.randrange(8)
        at = rng.randrange(len(data)) if data else 0
        if kind == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and data:
            data[at] = rng.choice([0, 1, 255, rng.randrange(256)])
        elif kind == 2:
            del data[at & -8 :]
        elif kind == 3:
            other = rng.choice(messages)
            data[at & -8 :] = other[rng.randrange(len(other)) & -8 :]
        elif kind == 4:
            offset, width = rng.choice(FIELDS)
            value = rng.choice([*HOSTILE, rng.getrandbits(8), rng.getrandbits(64)])
            data[offset : offset + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
        elif kind == 5:
            data[at & -8 : at & -8] = bytes(8) if rng.random() < 0.5 else rng.randbytes(8)
        elif kind == 6:
            del data[at & -8 : (at & -8) + 8]
        elif kind == 7 and len(data) > 80:
            at = rng.randrange(80)
            data[at] ^= 1 << rng.randrange(8)
    if rng.random() < 0.8 and len(data) >= 24:
        data[16:24] = len(data).to_bytes(8, "little")
    return bytes(data)


def verdict_of_page(data: bytes):
    """Return what the naive reader makes of a message, or None."""
    try:
        return naive_wire2.decode(data, names=("acme.f32",), max_coordinates=MOST)
    except naive_wire2.Refused:
        return None


def check(data: bytes, *, with_naive: bool = True) -> str | None:
    """Check one mutant; return its kind's name if it was accepted."""
    try:
        content = open_content(data, max_coordinates=MOST)
    except MessageError as error:
        check_refusal(data, error, with_naive=with_naive)
        return None
    again = pack(content.payload, structure=content.structure, key=content.key, used=content.used)
    assert bytes(again) == data, f"accepted, but not canonical: {data.hex()}"
    name = name_of(content.payload)
    if with_naive:
        found = verdict_of_page(data)
        assert found is not None, f"accepted, but the page refuses it: {data.hex()}"
        if "private" not in str(found):
            bits = dense(content.payload).view(np.uint32).tolist()
            assert bits == naive_wire2.dense(found), f"the values differ: {data.hex()}"
    return name


def name_of(payload) -> str:
    """Return the name of a payload's kind, of levels with their layout."""
    name = kind_of(payload).name
    return f"{name} {payload.layout}" if name == "levels" else name


def check_refusal(data: bytes, error: MessageError, *, with_naive: bool) -> None:
    """Check that a refused mutant has a reason, and is refused by the page too."""
    assert error.reason, data.hex()
    found = verdict_of_page(data) if with_naive else None
    private = "private" in str(found)  # what such a kind checks itself is not on the page
    assert found is None or private, f"refused ({error}), but the page accepts it: {data.hex()}"


def memory_bound(data: bytes) -> float:
    """Return the most bytes that reading a message may allocate by the theorem, with 6 % of grace."""
    return 1.06 * theorem(data) + SMALL


def theorem(data: bytes) -> int:
    """Return the bytes that the page allows a message, beside a fixed amount."""
    bound = 32 * len(data)
    try:
        sections = open_sections(data, inner=True)
    except MessageError:
        return bound
    n, options = sections.content.structure.num_coordinates, sections.options
    if sections.kind.name == "select":  # inner messages are disjoint: what they may take more adds up
        at = naive_wire2.up8(-(-sections.content.structure.num_tensors // 8))
        for _ in range(2):
            part = bytes(
                sections.body[at : at + naive_wire2.number(sections.body[at + 16 : at + 24].tobytes())]
            )
            bound += theorem(part) - 32 * len(part)
            at += len(part)
    elif getattr(options, "layout", 0) == RANGED:
        bound += ranged_theorem(len(data), n, options)
    return bound


def ranged_theorem(size: int, n: int, options) -> int:
    """Return the bytes of levels, tables and scratch of the layout ranged."""
    s, states = options.num_levels, 1 << options.state_bits
    levels = n if s <= 127 else 2 * n
    assert levels < (2731 if s == 1 else 683 if 7 < s <= 127 else 1366) * size
    symbols = naive_ranged.symbol_count(min(n, 1 << options.chunk_bits), s, states)
    at_once = 4 if states == 16 and n >= 4 << options.chunk_bits else 1
    return levels + 24_000 * options.num_tables + (at_once + (2 if s > 127 else 0)) * symbols


def fuzz(
    seed: int, count: int, seconds: float, with_naive: bool = True, measured: int = 20, kinds=ALL_KINDS
) -> Counter:
    """Check mutants until either limit, one in `measured` under tracemalloc; return what was accepted."""
    rng = random.Random(seed)
    with no_checksums():
        messages = corpus(rng, 40, kinds)
        names = [check(message, with_naive=with_naive) for message in messages]
        assert None not in names
        end, tally = time.monotonic() + seconds, Counter()
        while tally["mutants"] < count and time.monotonic() < end:
            origin = rng.randrange(len(messages))
            data = mutate(rng, messages[origin], messages)
            tally["mutants"] += 1
            if tally["mutants"] % measured == 0:
                measure(data, tally)
            name = check(data, with_naive=with_naive)
            if name is not None:
                tally[name] += 1
                if rng.random() < 0.02 and name == names[origin]:  # so that no kind dies out
                    messages[origin] = data
    return tally


def measure(data: bytes, tally: Counter) -> None:
    """Read a mutant under tracemalloc and hold its memory to the bound."""
    tracemalloc.start()
    try:
        open_content(data, max_coordinates=MOST)
    except MessageError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    tally["measured"] += 1
    tally["largest peak"] = max(tally["largest peak"], peak)
    assert peak <= memory_bound(data), f"{peak} bytes allocated for a message of {len(data)}: {data.hex()}"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--kind", action="append", choices=ALL_KINDS, help="by default all")
    parser.add_argument("--without-oracle", action="store_true", help="without the naive reader")
    options = parser.parse_args()
    kinds = options.kind or ALL_KINDS
    tally = fuzz(options.seed, options.count, options.seconds, not options.without_oracle, kinds=kinds)
    sys.stdout.write(", ".join(f"{name} {number}" for name, number in tally.items()) + "\n")


if __name__ == "__main__":
    main()

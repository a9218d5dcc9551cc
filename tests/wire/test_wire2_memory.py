"""What reading allocates stays within the theorem of docs/wire-format-2.md."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import fuzz_wire2
import numpy as np
import pytest
import wire2_contents

from qsgd_lab.errors import MessageError
from qsgd_lab.partition import Partition
from qsgd_lab.wire.envelope import open_sections
from qsgd_lab.wire.key import Key
from qsgd_lab.wire.kinds.block_integers import BlockIntegers
from qsgd_lab.wire.kinds.exponential import ExponentialLevels
from qsgd_lab.wire.kinds.hsq import HyperSphere, code_type
from qsgd_lab.wire.kinds.levels import Levels
from qsgd_lab.wire.kinds.masked import Masked
from qsgd_lab.wire.kinds.natural import Powers
from qsgd_lab.wire.kinds.none import Nothing
from qsgd_lab.wire.kinds.one_bit import OneBit
from qsgd_lab.wire.kinds.raw import Raw
from qsgd_lab.wire.kinds.rotated import Rotated
from qsgd_lab.wire.kinds.select import select
from qsgd_lab.wire.kinds.sparse import BITMAP, RICE, IndexCode, SparseValues
from qsgd_lab.wire.message import open_content, pack, values
from qsgd_lab.wire.ranged import RangedCode, sizes_of
from qsgd_lab.wire.structure import Structure

SIZE = 2**16
FLAGS = np.arange(SIZE) % 2 == 0


def zeros(parts: Partition, s: int, layout: str) -> Levels:
    """Return levels that are all 0."""
    dtype, norms = np.int8 if s <= 127 else np.int16, np.zeros(parts.num_buckets, np.float32)
    return Levels(
        np.zeros(parts.num_coordinates, dtype), norms, s, "l2", parts, (parts.num_coordinates,), layout
    )


def ranged(s: int, states: int, chunk_bits: int, tables: int, n: int = 0) -> Levels:
    """Return zeros that need no word, the most levels a byte: n of them, or forty whole chunks."""
    n = n or 40 << chunk_bits
    frequencies = np.zeros((tables, 256), np.uint16)
    frequencies[:, :2] = 4095, 1
    classes = np.zeros(sizes_of(n, s, chunk_bits, states).num_blocks, np.uint8)
    code = RangedCode(chunk_bits, states, np.zeros(tables, np.uint8), frequencies, classes)
    return replace(zeros(Partition((n,), "model"), s, "ranged"), code=code)


def sparse(values, index: IndexCode) -> SparseValues:
    """Return sparse values of which none is left out."""
    return SparseValues(np.arange(SIZE), values, SIZE, index)


def sphere(segments: int, codebook: int, bits: int, run: int) -> HyperSphere:
    """Return segments of two coordinates of norm 0 under ranges of norms."""
    ranges = np.zeros((-(-segments >> run), 2), np.float32)
    codes, levels = np.zeros(segments, code_type(codebook)), np.zeros(segments, np.uint16)
    return HyperSphere(codes, levels, ranges, 2 * segments, 1, codebook, bits, run, Key())


def integers(n: int, bits: int, block: int, smooth: bool) -> BlockIntegers:
    """Return zero blocks of integers."""
    return BlockIntegers(np.zeros(n, np.int8), np.zeros(-(-n // block), np.float32), n, bits, block, smooth)


def rotated(n: int, bits: int, block: int, offsets) -> Rotated:
    """Return zero blocks."""
    scales = np.zeros(n // block, np.float32)
    return Rotated(np.zeros(n, np.int8), scales, offsets, n, bits, block, 1, Key())


CASES = {
    "a list of scalars": lambda: pack(
        zeros(Partition((1,) * SIZE, "model"), 1, "base3"), structure=Structure.arrays([()] * SIZE)
    ),
    "a list of vectors": lambda: pack(Nothing(SIZE), structure=Structure.arrays([(1,)] * SIZE)),
    "levels of a list of vectors": lambda: pack(
        zeros(Partition((1,) * SIZE, "model"), 1, "base3"), structure=Structure.arrays([(1,)] * SIZE)
    ),
    "many tensors, one bucket": lambda: pack(zeros(Partition((0,) * SIZE + (1,), 512), 1, "base3")),
    "empty tensors": lambda: pack(zeros(Partition((0,) * SIZE, 512), 1, "base3")),
    "buckets of 1": lambda: pack(zeros(Partition((SIZE,), 1), 1, "base3")),
    "fixed": lambda: pack(zeros(Partition((16 * SIZE,), "model"), 1, "fixed")),
    "base 3": lambda: pack(zeros(Partition((16 * SIZE,), "model"), 1, "base3")),
    "ranged, one level, four tables": lambda: pack(ranged(2, 1, 13, 4, n=1)),
    "ranged, s = 1": lambda: pack(ranged(1, 1, 14, 1)),
    "ranged, s = 7": lambda: pack(ranged(7, 1, 13, 8)),
    "ranged, s = 1000": lambda: pack(ranged(1000, 1, 12, 4)),
    "ranged, 16 states": lambda: pack(ranged(1, 16, 17, 8)),
    "ranged, 16 states, s = 1000": lambda: pack(ranged(1000, 16, 15, 8)),
    "select of ranged": lambda: pack(
        select(
            Structure.array((80 << 14,), [40 << 14] * 2),
            [True, False],
            ranged(1, 1, 14, 1),
            ranged(1, 1, 14, 1),
        )
    ),
    "s = 128": lambda: pack(zeros(Partition((SIZE,), "model"), 128, "fixed")),
    "Rice, float16": lambda: pack(sparse(np.zeros(SIZE, np.float16), IndexCode(RICE, 0, 12))),
    "Rice, base 3": lambda: pack(
        sparse(zeros(Partition((SIZE,), "model"), 1, "base3"), IndexCode(RICE, 0, 12))
    ),
    "bitmap, base 3": lambda: pack(sparse(zeros(Partition((SIZE,), "model"), 1, "base3"), IndexCode(BITMAP))),
    "natural": lambda: pack(Powers(np.ones(SIZE, np.uint8), FLAGS)),
    "one-bit": lambda: pack(
        OneBit(np.tile(FLAGS, 16), np.ones((1, 1), np.float32), Partition((16 * SIZE,), "model"))
    ),
    "one-bit, buckets of 1": lambda: pack(
        OneBit(FLAGS, np.stack([FLAGS - 1, 1 * FLAGS], 1).astype(np.float32), Partition((SIZE,), 1))
    ),
    "exponential": lambda: pack(
        ExponentialLevels(
            np.zeros(SIZE, np.int8),
            np.ones(1, np.float32),
            1,
            False,
            "max",
            Partition((SIZE,), "model"),
        )
    ),
    "one bit": lambda: pack(rotated(16 * SIZE, 1, 4096, None)),
    "uniform, blocks of 1": lambda: pack(rotated(SIZE, 1, 1, np.zeros(SIZE, np.float32))),
    "hsq, few segments": lambda: pack(sphere(4000, 1, 1, 16)),
    "hsq": lambda: pack(sphere(SIZE, 1, 1, 16)),
    "hsq, ranges of 1": lambda: pack(sphere(SIZE // 4, 1, 1, 0)),
    "hsq, wide fields": lambda: pack(sphere(SIZE // 4, 17, 16, 16)),
    "block-int": lambda: pack(integers(4 * SIZE, 4, 2**16, False)),
    "block-int, smoother": lambda: pack(integers(4 * SIZE, 8, 32, True)),
    "masked": lambda: pack(Masked(np.zeros(SIZE, np.float16), SIZE, Key())),
    "raw": lambda: pack(Raw(np.zeros(SIZE, np.float32))),
    "select": lambda: pack(
        select(
            Structure.array((SIZE,), [1] * SIZE),
            FLAGS,
            Raw(np.zeros(SIZE // 2, np.float16)),
            Nothing(SIZE // 2),
        )
    ),
}


def peak_of(read, message) -> int:
    """Return the most bytes that reading a message allocates, once what is needed has been compiled."""
    read(message)
    tracemalloc.start()
    read(message)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("name", CASES)
def test_reading_stays_within_the_theorem(name):
    """Reading allocates what the page says: 32 bytes a byte of the message, and the levels of ranged."""
    message = CASES[name]()

    assert peak_of(open_content, message) <= fuzz_wire2.memory_bound(message)


#: Kind -> (bytes, times m, times n) that values take beside 4 n and what reading takes, by the page.
SCRATCH = {
    "rotated": (2**20, 0, 0),
    "block-int": (2**20, 0, 0),
    "hsq": (2**19, 0, 0),
    "masked": (0, 0, 13),
    "select": (0, 0, 5),
    "sparse": (0, 13, 0),
}


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("ranged")])
def test_dense_values_take_what_the_page_says(name):
    """Values take 4 n bytes beside what reading takes, and the scratch of the page: no second array."""
    message = CASES[name]()
    sections = open_sections(message)
    n = sections.content.structure.num_coordinates

    peak = peak_of(lambda data: values(data, max_coordinates=n), message)

    fixed, by_bytes, by_n = SCRATCH.get(sections.kind.name, (0, 0, 0))
    scratch = fixed + by_bytes * len(message) + by_n * n
    assert peak <= 1.06 * (peak_of(open_content, message) + 4 * n + scratch) + fuzz_wire2.SMALL


@pytest.mark.parametrize("n", [10**5, 2**21, 2**34, 2**48, 2**63])
@pytest.mark.parametrize(
    "name", ["fixed", "base 3", "Rice, base 3", "bitmap, base 3", "s = 128", "buckets of 1", "one bit"]
)
def test_claims_are_refused_before_anything_is_allocated(name, n):
    """A message whose head claims more coordinates than it holds costs nothing."""
    message = bytearray(CASES[name]())
    message[24:32] = n.to_bytes(8, "little")
    with fuzz_wire2.no_checksums():
        message[14:16], message[32:40] = bytes(2), bytes(8)
        tracemalloc.start()
        with pytest.raises(MessageError):
            open_content(message)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert peak <= fuzz_wire2.SMALL


def test_mutants_are_refused_or_right():
    """A slice of the fuzzer: mutants of all kinds are refused, or right by the naive reader and canonical."""
    tally = fuzz_wire2.fuzz(seed=1, count=1500, seconds=60)

    assert tally["mutants"] == 1500 or tally["mutants"] > 200
    assert len(set(tally) & {*wire2_contents.KINDS, "levels fixed", "levels base3", "levels ranged"}) >= 10

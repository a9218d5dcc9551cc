"""Print the test vectors of docs/wire-format-2.md, which the test suite reads back from the page."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.compressors.methods.block_int import BlockInt
from qsgd_lab.compressors.methods.hsq import HSQ
from qsgd_lab.compressors.methods.rotated import EDEN, RotatedStochastic
from qsgd_lab.partition import Partition
from qsgd_lab.stream import Stream
from qsgd_lab.wire.key import SHARED_NODE, Key
from qsgd_lab.wire.kinds.exponential import ExponentialLevels
from qsgd_lab.wire.kinds.levels import Levels
from qsgd_lab.wire.kinds.masked import Masked
from qsgd_lab.wire.kinds.natural import Powers
from qsgd_lab.wire.kinds.none import Nothing
from qsgd_lab.wire.kinds.one_bit import OneBit
from qsgd_lab.wire.kinds.raw import Raw
from qsgd_lab.wire.kinds.select import select
from qsgd_lab.wire.kinds.sparse import RICE, IndexCode, SparseValues
from qsgd_lab.wire.message import dense, pack, unpack
from qsgd_lab.wire.structure import Structure

LEVELS = [0, 1, 0, -3, 0, 0, 2, -1, 0, 0, 0, 3]
EXPONENTS = [0, 127, 128, 1, 254, 126, 0, 129, 130, 125, 124, 131]
PUBLISHED = [0, 1, -1, -3, 3, 2, -4, -2, 0, 0, -1, 3]
TERNARY = [0, 1, -1, 0, 1, 1, -1, 0, 0, 0, 1, -1]


def messages() -> dict[str, NDArray[np.uint8]]:
    """Return the messages of the vectors by their names."""
    norms = np.array([2.0, 0.5, 1.0, 4.0], np.float32)
    fixed = Levels(np.array(LEVELS, np.int8), norms, 3, "l2", Partition((5, 7), 4), (3, 4))
    one = np.array([1.5], np.float32)
    base3 = Levels(np.array(TERNARY, np.int8), one, 1, "max", Partition((12,), "model"), (12,), "base3")
    positions = np.array([1, 4, 6, 10])
    index = IndexCode(RICE, 1, 10)
    values = np.array([-3, 1.5, 2, 4], np.float32)
    inner = Levels(np.array([-2, 2, 3, 1], np.int8), 4 * one / one, 3, "max", Partition((4,), "tensor"), (4,))
    shapes = Structure.arrays([(2, 2), (), (0, 3), (7,)])
    halves = Raw(np.arange(12).astype(np.float16) / 4)
    used = [True, False, False, True]
    chosen = select(shapes, used, Raw(values=np.arange(11, dtype=np.float32)), Nothing(1))
    powers = Powers(np.array(EXPONENTS, np.uint8), np.array(EXPONENTS) % 2 == 1)
    bits = np.array(LEVELS) >= 0
    bits[:4] = False  # of a bucket of NaN
    means = np.array([[np.nan, np.nan], [0, 0.5], [-1, 2], [0, 3]], np.float32)
    thirds = Partition((5, 7), 4)
    exponential = ExponentialLevels(np.array(LEVELS, np.int8), norms, 3, True, "l2", thirds)
    without_zero = ExponentialLevels(
        np.array(PUBLISHED, np.int8), one, 4, False, "max", Partition((12,), "model")
    )
    mask = Masked(np.array([1, 2, 3], np.float32), 12, Key(2026, SHARED_NODE, 5))
    vector = np.array([0.5, -3, 0, 0.25, 1.5, -0.125, 2, 0, -0.75, 0, 4, -1], np.float32)
    stream = Stream(2026, 1, 5)
    eden, _ = EDEN(2, block_size=8).compress(vector, None, stream)
    stochastic, _ = RotatedStochastic(3, 8, 1).compress(vector, None, stream)
    return {
        "levels fixed": pack(fixed),
        "levels base 3": pack(base3),
        "EDEN": pack(eden),
        "rotated stochastic": pack(stochastic),
        "block-int": pack(BlockInt(4, 8, smoother=0).compress(vector, None, stream)[0]),
        "block-int, smoother": pack(BlockInt(4, 32).compress(vector, None, stream)[0]),
        "HSQ": pack(HSQ(4, 8, norm_bits=2).compress(vector, None, stream)[0]),
        "sparse Rice": pack(SparseValues(positions, values, 12, index)),
        "sparse Rice, inner levels": pack(SparseValues(positions, inner, 12, index)),
        "masked": pack(mask),
        "raw float16": pack(halves, structure=shapes, key=Key(7, 1, 5), used=used),
        "natural": pack(powers),
        "one-bit, scaled sign": pack(OneBit(bits, np.array([[np.nan], [0.5], [1], [3]], np.float32), thirds)),
        "one-bit, two means": pack(OneBit(bits, means, thirds)),
        "exponential": pack(exponential),
        "exponential without zero": pack(without_zero),
        "select": pack(chosen),
        "none": pack(Nothing(12)),
    }


def vectors() -> list[str]:
    """Return the lines of the vectors: name, the message in hex, its values as the bits of float32."""
    lines = []
    for name, message in messages().items():
        text = message.tobytes().hex()
        lines.append(f"{name} ({len(message)} bytes)")
        lines += [f"    {text[i : i + 64]}" for i in range(0, len(text), 64)]
        bits = dense(unpack(message)).view(np.uint32)
        lines.append("    values: " + " ".join(f"{value:08x}" for value in bits))
    return lines


if __name__ == "__main__":
    sys.stdout.write("\n".join(vectors()) + "\n")

"""Kernels of half precision and of selection against plain NumPy, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.kernels import half_reference, selection_reference
from qsgd_lab.kernels.cpu.methods import half, selection
from qsgd_lab.wire.raw_values import widened

EVERY_CODE = np.arange(2**16, dtype=np.uint32).astype(np.uint16)


def hard_patterns():
    """Return float32 patterns: random ones, and those at and beside halves and half way between them."""
    drawn = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32)
    wide = [half_reference.widened(EVERY_CODE[::3], is_bfloat16) for is_bfloat16 in (False, True)]
    shifts = np.array([0, 1, -1, 0xFFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001], np.int64)
    beside = (np.concatenate(wide).astype(np.int64)[:, None] + shifts) & 0xFFFFFFFF
    return np.concatenate([drawn, beside.reshape(-1).astype(np.uint32)])


def test_rounding_to_halves_has_the_bits_of_numpy():
    """To float16 and bfloat16: ties to even, subnormals, overflow to infinity, and one NaN each."""
    bits = hard_patterns()
    x, codes, scratch = (
        bits.view(np.float32),
        np.empty(bits.size, np.uint16),
        np.empty(half.PIECE, np.float32),
    )
    half.to_bfloat16(bits, codes)
    assert codes.tobytes() == half_reference.to_bfloat16(x).tobytes()
    half.to_float16(x, bits, scratch, scratch.view(np.uint32), codes)
    assert codes.tobytes() == half_reference.to_float16(x).tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.uint16], ids=["fp16", "bf16"])
def test_every_half_is_widened_exactly(dtype):
    """All 65,536 patterns of either format, payloads of NaN included."""
    expected = half_reference.widened(EVERY_CODE, dtype is np.uint16)

    assert widened(EVERY_CODE.view(dtype)).view(np.uint32).tolist() == expected.tolist()
    assert widened(EVERY_CODE.view(dtype)[1::3]).view(np.uint32).tolist() == expected[1::3].tolist()


@given(st.data())
def test_selection_takes_the_largest_and_of_equal_ones_the_first(data):
    """Positions are those of a stable sort, and of NumPy's partition, for any keys, many of them equal."""
    n, seed = data.draw(st.integers(1, 3000)), data.draw(st.integers(0, 99))
    values = data.draw(st.sampled_from([1, 3, 2**11, 2**22, 2**32]))
    keys = np.random.default_rng(seed).integers(0, values, n).astype(np.uint32)
    keys <<= np.uint32(data.draw(st.sampled_from([0, 10, 21])))
    cleared, flipped = data.draw(st.sampled_from([(2**31 - 1, 0), (2**32 - 1, 2**32 - 1)]))
    indices = np.empty(data.draw(st.integers(1, n)), np.int64)
    selection.largest(keys, np.uint32(cleared), np.uint32(flipped), indices)
    order = ((keys & np.uint32(cleared)) ^ np.uint32(flipped)).astype(np.int64)
    stable = sorted(np.argsort(-order, kind="stable")[: indices.size].tolist())

    assert indices.tolist() == stable
    assert selection_reference.largest(keys, indices.size, cleared, flipped).tolist() == stable

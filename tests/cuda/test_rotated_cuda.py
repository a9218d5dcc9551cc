"""Rotated blocks in the simulator against the CPU's, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
from numba import cuda

from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.kernels.cuda.device import to_host
from qsgd_lab.kernels.cuda.launch import launch_shape
from qsgd_lab.stream import Stream

SCHEMES = (
    "eden(block_size=64)",
    "eden(bits=1,block_size=128,rounds=1)",
    "eden(bits=3,scale=mse,block_size=16)",
    "eden(bits=8,scale=norm,block_size=32)",
    "rotated-stochastic(block_size=64)",
    "rotated-stochastic(bits=1,block_size=8,rounds=1)",
)


def assert_as_on_the_cpu(text, x, stream):
    """Assert that codes, scales, values, sizes and messages are those of the CPU, bit for bit."""
    compressor = COMPRESSORS.parse(text).make()
    expected, _ = compressor.compress(x, None, stream)
    found, _ = compressor.compress(cuda.to_device(x), None, stream)

    assert to_host(found.scales).tobytes() == expected.scales.tobytes()
    assert to_host(found.codes).tobytes() == expected.codes.tobytes()
    if expected.offsets is not None:
        assert to_host(found.offsets).tobytes() == expected.offsets.tobytes()
    assert to_host(compressor.decompress(found)).tobytes() == compressor.decompress(expected).tobytes()
    assert compressor.wire.size(found) == compressor.wire.size(expected)
    assert compressor.wire.pack(found) == compressor.wire.pack(expected)


@pytest.mark.parametrize("text", SCHEMES)
@pytest.mark.parametrize(("n", "size"), [(100, 1.0), (9, 1e-38), (3, 1e37)])
def test_the_device_gives_the_bits_of_the_cpu(text, n, size):
    """For whole and short blocks, of plain, tiny and huge coordinates, in several launch shapes."""
    x = (np.random.default_rng(n).standard_normal(n) * size).astype(np.float32)
    with launch_shape(warps=1 + n % 2, max_blocks=2):
        assert_as_on_the_cpu(text, x, Stream(n, 3, 5))


@pytest.mark.parametrize("text", SCHEMES[::4])
def test_blocks_that_are_not_finite_or_zero_stay_apart(text):
    """NaN marks its block alone, and a block of zeros decodes to zeros."""
    x = np.random.default_rng(1).standard_normal(130).astype(np.float32)
    x[3], x[64:128] = np.nan, 0.0
    with launch_shape(warps=1):
        assert_as_on_the_cpu(text, x, Stream())


def test_a_block_of_several_rows_is_summed_in_the_same_order():
    """700 coordinates in one block of 1024: sums of two rows of 512 are folded as on the CPU."""
    x = np.random.default_rng(2).standard_normal(700).astype(np.float32)
    with launch_shape(warps=1):
        assert_as_on_the_cpu("eden(scale=norm,rounds=1)", x, Stream())

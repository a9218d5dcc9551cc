"""Blocks of integers in the simulator against the CPU's, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import cuda

from qsgd_lab.compressors import COMPRESSORS, Layout
from qsgd_lab.kernels.cuda.device import to_host
from qsgd_lab.kernels.cuda.launch import launch_shape
from qsgd_lab.stream import Stream

SCHEMES = (
    "block-int",
    "block-int(bits=8,block_size=64)",
    "block-int(smoother=0,block_size=45)",
    "block-int(rounding=stochastic,block_size=96)",
    "block-int(rounding=stochastic,smoother=0,block_size=7)",
)


def assert_as_on_the_cpu(compressor, x, stream):
    """Assert that integers, scales, values, sizes and messages are those of the CPU, bit for bit."""
    expected, _ = compressor.compress(x, None, stream)
    found, _ = compressor.compress(cuda.to_device(x), None, stream)

    assert to_host(found.scales).tobytes() == expected.scales.tobytes()
    assert to_host(found.codes).tobytes() == expected.codes.tobytes()
    values = compressor.decompress(expected)
    assert to_host(compressor.decompress(found)).tobytes() == values.tobytes()
    assert compressor.wire.size(found) == compressor.wire.size(expected)
    assert compressor.wire.pack(found) == compressor.wire.pack(expected)


@pytest.mark.parametrize("text", SCHEMES)
@settings(max_examples=examples(3))
@given(n=st.integers(0, 150), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_the_device_gives_the_bits_of_the_cpu(text, n, seed, data):
    """For any length, seed and launch shape, and with coordinates that are tiny, huge or of equal size."""
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        x = (rng.standard_normal(n) * 10.0 ** rng.integers(-44, 39)).astype(np.float32)
    x[rng.random(n) < 0.1] = data.draw(st.sampled_from([0.0, -0.0, 1.0, 1e-45, 3e38]))
    with launch_shape(warps=data.draw(st.integers(1, 3)), max_blocks=data.draw(st.integers(1, 2))):
        assert_as_on_the_cpu(COMPRESSORS.parse(text).make(), x, Stream(seed, 3, 5))


@pytest.mark.parametrize("text", ["block-int", "block-int(smoother=0,block_size=45)"])
def test_blocks_that_are_not_finite_or_zero_stay_apart(text):
    """NaN or an infinity marks its block alone, zeros decode to zero, ties go to the even integer."""
    x = np.zeros(260, np.float32)
    x[3], x[150], x[200:232] = np.nan, 1.0, 0.5
    x[259] = -np.inf
    assert_as_on_the_cpu(COMPRESSORS.parse(text).make(), x, Stream())
    ties = np.float32([7, 0.5, 1.5, 2.5, -0.5, -1.5, 6.5, -6.5])
    assert_as_on_the_cpu(COMPRESSORS.parse("block-int(smoother=0)").make(), ties, Stream())


def test_nodes_on_a_device_average_as_on_the_cpu():
    """Torch rows: mean, residuals and counted bits of the device are those of NumPy rows, bit for bit."""
    import torch

    from qsgd_lab.compressors.methods import block_int
    from qsgd_lab.compressors.protocol import NodeRows
    from qsgd_lab.ledger import Ledger

    rows = np.random.default_rng(0).standard_normal((2, 140)).astype(np.float32)
    compressor, results = COMPRESSORS.parse("block-int").make(), []
    for on_device in (False, True):
        kept, out, ledger = rows.copy(), np.zeros(140, np.float32), Ledger()
        arrays = [torch.from_numpy(a) if on_device else a for a in (rows.copy(), kept, out)]
        with pytest.MonkeyPatch.context() as patch:
            if on_device:  # in the simulator, torch tensors of the CPU count as tensors of the device
                patch.setattr(block_int, "is_device_array", lambda a: isinstance(a, torch.Tensor))
            states = compressor.init_nodes(2, Layout.of(140))
            compressor.mean(NodeRows(arrays[0], arrays[1]), states, Stream(7), arrays[2], ledger)
        results.append((out.tobytes(), kept.tobytes(), ledger.to_dict()))

    assert results[0] == results[1]

"""Rows of 512 coordinates: any buckets, levels, places and precisions, against the CPU's bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cuda_examples import IS_COMPILED
from numba import cuda

from qsgd_lab import dequantize, quantize, quantize_and_encode
from qsgd_lab.compressors import QSGD, ErrorFeedback
from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.exchange import SimulatedExchange
from qsgd_lab.kernels.cuda.device import to_host
from qsgd_lab.kernels.cuda.launch import launch_shape
from qsgd_lab.kernels.cuda.rows import rows_of
from qsgd_lab.partition import partition

#: Whole rows at multiples of four and of none, and rows that are shorter.
SIZES = (1024, 7, 1030) if IS_COMPILED else (512, 3, 513)
N = sum(SIZES)
#: s, bucket size: rows in one bucket or several, boundaries in fours or not; widths of 2 to 16 bits.
SCHEMES = [
    *((1, 512), (7, 512), (127, 512), (300, 512), (32767, 512)),
    *((1, 100), (7, 100), (7, "tensor"), (127, 768), (3, 1024), (300, "model"), (7, 7), (300, 100)),
]
TWINS = [(7, 512), (7, 100)]


def nasty():
    """Return a gradient of SIZES with rows that are zero, tiny, huge, one-hot or not finite."""
    x = np.random.default_rng(5).standard_normal(N).astype(np.float32)
    x[:9] = [0.0, -0.0, 1e-42, -1e-42, 0.5, -0.5, 1.0, -1.0, 3e-39]
    if IS_COMPILED:
        x[512:1024] *= np.float32(1e-41)
        x[1031:1543] = 0
        x[1200] = -3e38
        x[1600] = np.nan
    return x


@pytest.mark.parametrize(("s", "bucket_size"), SCHEMES if IS_COMPILED else TWINS)
def test_levels_values_and_messages_are_those_of_the_cpu(s, bucket_size, launches):
    """Whole rows go through their own kernels, whatever their buckets, with the CPU's bits."""
    x = nasty()
    scheme = {"levels": s, "bucket_size": bucket_size, "tensor_sizes": SIZES, "seed": 3}
    scheme["norm"] = "max" if s in (1, 300) else "l2"
    scheme["stream_version"] = 2 if bucket_size == 100 or s in (127, 300) else 1
    expected = quantize(x, **scheme)
    with launch_shape(2, 2):
        q = quantize(cuda.to_device(x), **scheme)
        values = dequantize(q)
        message = quantize_and_encode(cuda.to_device(x), layout="fixed", **scheme)

    assert to_host(q.levels).tobytes() == expected.levels.tobytes()
    assert to_host(q.norms).tobytes() == expected.norms.tobytes()
    assert to_host(values).tobytes() == dequantize(expected).tobytes()
    assert to_host(message).tobytes() == bytes(quantize_and_encode(x, layout="fixed", **scheme))
    has_norms = bucket_size == 512
    assert f"quantize_whole_rows{'' if has_norms else '_with_norms'}" in launches
    assert "dequantize_whole_rows" in launches
    if s in (1, 7, 127) and bucket_size != 7:
        assert any(
            name.startswith(f"pack_full_rows_{'' if has_norms else 'with_norms_'}") for name in launches
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("s", "bucket_size"), [(7, 512), (300, 100), (7, "tensor")])
def test_half_precision_is_read_as_it_is(dtype, s, bucket_size, monkeypatch):
    """No wider copy of a gradient is made, and levels, norms and messages are the CPU's."""
    bits = np.random.default_rng(2).integers(-(2**15), 2**15, N).astype(np.int16)
    # All bit patterns: subnormal numbers, too, and in some rows infinity and NaN.
    x = torch.from_numpy(bits).view(dtype)
    scheme = {"levels": s, "bucket_size": bucket_size, "tensor_sizes": SIZES}
    expected = quantize(x, **scheme)
    message = bytes(quantize_and_encode(x, layout="fixed", **scheme))
    monkeypatch.setattr(torch.Tensor, "to", None)

    q = quantize(x, backend="cuda", **scheme)
    found = quantize_and_encode(x, layout="fixed", backend="cuda", **scheme)
    assert torch.equal(q.levels, expected.levels)
    assert q.norms.numpy().tobytes() == expected.norms.numpy().tobytes()
    assert found.numpy().tobytes() == message


def test_float16_arrays_of_numba_are_read():
    """A float16 array that is no tensor is taken like a tensor."""
    with np.errstate(over="ignore"):
        x = nasty().astype(np.float16)
    found = quantize(cuda.to_device(x), levels=7)

    assert to_host(found.levels).tobytes() == quantize(x, levels=7).levels.tobytes()


@pytest.mark.parametrize(("s", "bucket_size"), SCHEMES[1:] if IS_COMPILED else TWINS[:1])
def test_error_feedback_is_that_of_the_cpu(s, bucket_size, launches):
    """Mean, residuals and counts of whole rows agree, in at most eight launches a step."""
    nodes = {7: 3, 300: 4}.get(s, 2)  # by division, and by multiplication
    gradients = np.stack([np.roll(nasty(), 11 * node) for node in range(nodes)])
    results, version = [], 2 if s in (3, 127) or bucket_size == 100 else 1
    for backend in ("auto", "cuda"):
        compressor = ErrorFeedback(
            QSGD(levels=s, bucket_size=bucket_size, backend=backend, stream_version=version)
        )
        device = torch.from_numpy if backend == "cuda" else np.asarray
        mean = device(np.zeros(N, np.float32))
        exchange = SimulatedExchange(compressor, nodes, 5, Layout.of(N, SIZES), like=mean)
        with launch_shape(2, 2), np.errstate(all="ignore"):
            for step in range(2):
                exchange.mean(device(gradients.copy()), step, mean)
        assert len(launches) <= 2 * 8
        results.append(
            (bytes(np.asarray(mean)), bytes(np.asarray(exchange.buffer)), exchange.ledger.to_dict())
        )

    assert results[0] == results[1]
    assert f"accumulate_whole_rows{'' if bucket_size == 512 else '_with_norms'}" in launches


def test_a_step_of_the_largest_models_takes_eight_launches():
    """A bucket for a whole model of 10^8 coordinates: a launch a level of the tree, and five more."""
    levels = rows_of(partition(10**8, "model")).block_levels

    # Norms, tables, whole rows, the rest, and two for the messages' costs.
    assert len(levels) + 1 + 1 + 1 + 2 == 8

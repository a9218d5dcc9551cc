"""Arrays on the device, in the simulator: torch in and out, no copies, few launches, clear refusals."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from numba import cuda

from qsgd_lab import dequantize, quantize
from qsgd_lab.compressors import QSGD, ErrorFeedback, FullPrecision
from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.exchange import SimulatedExchange
from qsgd_lab.kernels.cuda.device import context_of, device_view, to_host
from qsgd_lab.kernels.cuda.rows import rows_of
from qsgd_lab.partition import partition

X = np.random.default_rng(0).standard_normal((3, 400), dtype=np.float32)
NODES, SIZES = 2, (700, 500)


@pytest.mark.parametrize("bits", [3, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_torch_in_torch_out(bits, dtype):
    """A device tensor gives device tensors with the CPU's bits, in its shape; half precision is widened."""
    x = torch.from_numpy(X).to(dtype)
    expected, q = quantize(x, bits=bits), quantize(x.requires_grad_(), bits=bits, backend="cuda")

    assert torch.equal(q.levels, expected.levels)
    assert torch.equal(q.norms, expected.norms)
    assert q.levels.dtype == expected.levels.dtype
    values = dequantize(q, backend="cuda")
    assert values.shape == (3, 400)
    assert torch.equal(values, dequantize(expected))


def test_numba_arrays_give_numba_arrays():
    """A Numba array gives Numba arrays, without being named as a backend."""
    q = quantize(cuda.to_device(X), bits=3)

    assert type(q.levels) is type(cuda.to_device(X))
    assert to_host(dequantize(q)).tobytes() == dequantize(quantize(X, bits=3)).tobytes()
    assert to_host(dequantize(q)).shape == X.shape


def test_memory_is_shared_not_copied():
    """A view of a tensor or array is its memory: what is written there is seen."""
    tensor, array = torch.zeros(4), cuda.to_device(np.zeros(4, np.float32))
    device_view(tensor, np.float32)[1] = 5.0
    device_view(array, np.float32)[2] = 6.0

    assert tensor.tolist() == [0, 5, 0, 0]
    assert array.copy_to_host().tolist() == [0, 0, 6, 0]


def test_results_live_where_the_input_lives():
    """A context makes arrays of the input's library, and scratch memory of any dtype."""
    for example, kind in ((torch.zeros(2), torch.Tensor), (cuda.to_device(X), type(cuda.to_device(X)))):
        context = context_of(example)
        assert isinstance(context.empty((2, 3), np.int16), kind)
        assert isinstance(context.from_host(X), kind)
        assert context.scratch((5, 2), np.uint64).shape == (5, 2)
        assert context.to_device(X).copy_to_host().tobytes() == X.tobytes()


REFUSED = [
    (X, TypeError, "gradient is a numpy array in host memory; .* copy it to the device first"),
    (cuda.to_device(X.astype(np.float64)), TypeError, "gradient is float64; it must be float32"),
    (torch.zeros(3, dtype=torch.int32), TypeError, "gradient is int32; it must be float32"),
    (torch.zeros(3, 4).T, ValueError, "gradient is not contiguous in device memory; make a contiguous copy"),
    (cuda.to_device(X)[:, ::2], ValueError, "gradient is not contiguous in device memory"),
    (torch.zeros(3, device="meta"), TypeError, "gradient is a meta tensor, which has a shape and no data"),
]


@pytest.mark.parametrize(("gradient", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_read_in_place_is_refused(gradient, error, message):
    """Host arrays, other dtypes and strided views are refused in one line each."""
    with pytest.raises(error, match=message) as raised:
        quantize(gradient, bits=3, backend="cuda")
    assert "\n" not in str(raised.value)


def test_a_device_gradient_is_not_quantized_on_the_host():
    """Backends for host memory refuse a device array instead of copying it."""
    with pytest.raises(ValueError, match=re.escape("backend 'cpu' works in host memory")):
        quantize(cuda.to_device(X), bits=3, backend="cpu")


def test_an_empty_gradient_launches_nothing(launches):
    """No coordinates, no launches, and empty results."""
    q = quantize(torch.empty(0, 3), bits=3, backend="cuda")

    assert (q.levels.numel(), q.norms.numel(), dequantize(q, backend="cuda").shape) == (0, 0, (0, 3))
    assert launches == []


def test_one_launch_quantizes_all_tensors(launches):
    """Whole rows of a model take a launch and the rest another; whole-model buckets three more here."""
    sizes = (511, 0, 513, 176)
    quantize(torch.from_numpy(X), bits=3, tensor_sizes=sizes, backend="cuda")
    assert launches == ["quantize_whole_rows", "quantize_rows"]
    launches.clear()
    quantize(torch.from_numpy(X), bits=3, tensor_sizes=sizes, bucket_size="model", backend="cuda")
    norms = ["block_totals", "fold_totals", "bucket_tables"]
    assert launches == [*norms, "quantize_whole_rows_with_norms", "quantize_rows_with_norms"]


def test_the_tree_of_a_whole_model_has_three_levels():
    """The norm of 10^8 coordinates takes three launches, whose blocks hold at most 512 each."""
    levels = rows_of(partition(10**8, "model")).block_levels

    assert [level.size - 1 for level in levels] == [195_313, 382, 1]
    assert all(np.diff(level).max() <= 512 for level in levels)


def test_synchronous_training_on_the_device(launches):
    """Residuals and means stay on the device, four launches a step; tallies are the CPU's when read."""
    results = []
    for backend in ("auto", "cuda"):
        compressor = ErrorFeedback(QSGD(bits=2, backend=backend))
        mean = torch.zeros(1200) if backend == "cuda" else np.zeros(1200, np.float32)
        exchange = SimulatedExchange(compressor, NODES, 5, Layout.of(1200, SIZES), like=mean)
        for step in range(3):
            gradients = np.stack([X.reshape(-1), X[::-1].reshape(-1) * np.float32(0.5)])
            if backend == "cuda":
                gradients = torch.from_numpy(gradients.copy())
            if step == 2:
                exchange.buffer.__iadd__(gradients)
                exchange.mean(None, step, mean)
            else:
                exchange.mean(gradients, step, mean)
        step_launches = ["accumulate_whole_rows", "accumulate_rows", "chunk_costs", "close_messages"]
        assert launches == (step_launches * 3 if backend == "cuda" else [])
        tally = exchange.ledger
        results.append((bytes(np.asarray(mean)), bytes(np.asarray(exchange.buffer)), tally.to_dict()))
        assert tally.coordinates == 3 * NODES * 1200

    assert results[0] == results[1]


def test_counts_on_the_device_are_dropped_with_their_tally():
    """A tally that is replaced takes its counts on the device with it; one that is read keeps them."""
    exchange = SimulatedExchange(QSGD(bits=2, backend="cuda"), 1, 5, Layout.of(1200))
    gradient, mean = torch.from_numpy(X.reshape(1, -1)), torch.zeros(1200)
    exchange.mean(gradient, 0, mean)
    kept = exchange.ledger.to_dict()
    exchange.mean(gradient, 1, mean)
    exchange.ledger = type(exchange.ledger).from_dict(kept)

    assert exchange.ledger.to_dict() == kept


def test_full_precision_averages_device_tensors():
    """fp32 adds rows in the nodes' order and divides, as the CPU does, whatever the number of nodes."""
    rows = np.random.default_rng(1).standard_normal((3, 50), dtype=np.float32)
    means = []
    for mean, gradients in ((np.empty(50, np.float32), rows), (torch.empty(50), torch.from_numpy(rows))):
        exchange = SimulatedExchange(FullPrecision(), 3, 0, Layout.of(50))
        exchange.mean(gradients, 0, mean)
        means.append(bytes(np.asarray(mean)))
        assert exchange.ledger.raw_coordinates == 150

    assert means[0] == means[1]

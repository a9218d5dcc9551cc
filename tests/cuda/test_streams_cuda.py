"""Streams and graphs, as far as a machine without a device shows: what goes where, and what is waited for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray
from numba.cuda.simulator.kernel import FakeCUDAKernel

from qsgd_lab import quantize, quantize_and_encode
from qsgd_lab.coding.device import tables as codec_tables
from qsgd_lab.kernels.cuda import device, rows
from qsgd_lab.kernels.cuda.device import DeviceContext

SIZES = (516, 30, 200)
X = np.random.default_rng(0).standard_normal(sum(SIZES)).astype(np.float32)


@pytest.fixture
def fresh(monkeypatch):
    """Let no table be on the device."""
    monkeypatch.setattr(rows, "_tables", type(rows._tables)())
    monkeypatch.setattr(codec_tables, "_tables", type(codec_tables._tables)())


def message_of(x, bucket_size=512):
    """Return a message of fixed width, made on the device."""
    return quantize_and_encode(
        x, levels=7, layout="fixed", tensor_sizes=SIZES, bucket_size=bucket_size, backend="cuda", seed=4
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bucket_size", [512, 100])
def test_a_captured_call_gives_the_message_of_what_is_then_there(dtype, bucket_size, fresh, monkeypatch):
    """After a first call nothing is copied or waited for, and the launches, run again, encode what is new."""
    x = torch.from_numpy(X.copy()).to(dtype)
    message_of(x, bucket_size=bucket_size)
    captured, call = [], FakeCUDAKernel.__call__

    def capture(self, *args):
        if not self._device:
            captured.append((self, (self.grid_dim, self.block_dim, self.stream, self.dynshared_size), args))
        return call(self, *args)

    def refuse(*args, **kwargs):
        raise AssertionError("no graph holds this")

    monkeypatch.setattr(FakeCUDAKernel, "__call__", capture)
    for method in ("copy_to_device", "copy_to_host"):
        monkeypatch.setattr(FakeCUDAArray, method, refuse)
    for method in ("wait", "to_device", "from_host"):
        monkeypatch.setattr(DeviceContext, method, refuse)
    message = message_of(x, bucket_size=bucket_size)
    first = message.numpy().tobytes()
    x.copy_(torch.from_numpy(X[::-1].copy()))
    for kernel, (grid, block, _, shared), args in captured:
        kernel.grid_dim, kernel.block_dim, kernel.dynshared_size = grid, block, shared
        call(kernel, *args)
    monkeypatch.undo()

    scheme = {"levels": 7, "layout": "fixed", "tensor_sizes": SIZES, "bucket_size": bucket_size, "seed": 4}
    assert message.numpy().tobytes() == bytes(quantize_and_encode(x, **scheme)) != first


def test_tables_are_not_made_in_a_capture(fresh, monkeypatch):
    """The first call of a partition cannot be captured: one line says what to do."""
    monkeypatch.setattr(DeviceContext, "is_captured", lambda _: True)
    with pytest.raises(RuntimeError, match="make the same call once before the capture"):
        message_of(torch.from_numpy(X))


def test_tables_are_waited_for_once(fresh, monkeypatch):
    """Whatever stays on the device is there for every stream: its copies are waited for, and only they."""
    waits = []
    monkeypatch.setattr(DeviceContext, "wait", lambda _: waits.append(len(copies)))
    copies, to_device = [], DeviceContext.to_device
    monkeypatch.setattr(
        DeviceContext, "to_device", lambda self, array: copies.append(array) or to_device(self, array)
    )
    message_of(torch.from_numpy(X))
    after_copies = len(copies)
    message_of(torch.from_numpy(X))

    assert waits[-1] == after_copies == len(copies) > 0


def test_everything_goes_to_the_stream_of_the_gradient(fresh, monkeypatch):
    """Launches, scratch memory and copies of a call are on torch's current stream, whichever it is."""
    side, places = SimpleNamespace(handle=7), []
    monkeypatch.setattr(device, "context_of", lambda *_: DeviceContext("torch", None, side))
    configure, copy = FakeCUDAKernel.__getitem__, FakeCUDAArray.copy_to_device
    monkeypatch.setattr(
        FakeCUDAKernel,
        "__getitem__",
        lambda self, shape: places.append(shape[2]) or configure(self, shape),
    )
    monkeypatch.setattr(
        FakeCUDAArray,
        "copy_to_device",
        lambda self, array, stream=0: places.append(stream) or copy(self, array, stream=stream),
    )
    message_of(torch.from_numpy(X))
    q = quantize(torch.from_numpy(X), levels=7, bucket_size=100, backend="cuda")

    assert q.levels.shape == X.shape
    assert len(places) > 10
    assert all(place is side for place in places)


def test_memory_of_another_stream_is_kept_until_it_is_read(monkeypatch):
    """Torch is told of each stream that reads a tensor, so that its allocator keeps it until then."""
    current = SimpleNamespace(cuda_stream=9)

    class Tensor:
        device, dtype, shape = SimpleNamespace(type="cuda", index=0), torch.float32, (4,)
        recorded: list[object] = []  # noqa: RUF012

        def is_contiguous(self):
            return True

        def record_stream(self, stream):
            self.recorded.append(stream)

    fake = SimpleNamespace(Tensor=Tensor, cuda=SimpleNamespace(current_stream=lambda _: current))
    monkeypatch.setattr(device, "SIMULATED", False)
    monkeypatch.setattr(device, "require_device", lambda: None)
    monkeypatch.setattr(device, "_torch", lambda: fake)
    monkeypatch.setattr(device, "cuda", SimpleNamespace(external_stream=lambda handle: ("stream", handle)))
    monkeypatch.setattr(device, "_view", lambda *given: (given[1], given[3]))

    assert device.device_view(Tensor(), np.float32) == ((4,), ("stream", 9))
    assert Tensor.recorded == [current]

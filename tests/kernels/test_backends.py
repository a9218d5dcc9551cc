"""The choice of a backend where there is no CUDA device: refusals in one line, and no driver touched."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from compressor_cases import average_one

from qsgd_lab import quantize
from qsgd_lab.arrays import BACKENDS, is_device_array, resolve_backend
from qsgd_lab.compressors import QSGD, Layout
from qsgd_lab.kernels.cuda import device as device_cuda
from qsgd_lab.kernels.cuda.launch import LaunchShape, current_launch_shape, launch_shape
from qsgd_lab.stream import Stream

X = np.ones(10, np.float32)


class OnADevice:
    """What has the interface of device arrays, and nothing behind it."""

    __cuda_array_interface__ = {"shape": (10,), "typestr": "<f4", "data": (0, False), "version": 3}  # noqa: RUF012
    shape = (10,)


@pytest.fixture
def no_device(monkeypatch):
    """Simulate a machine without a device, where there is one."""
    monkeypatch.setattr(device_cuda, "has_device", lambda: False)


@pytest.mark.parametrize("gradient", [X, torch.from_numpy(X), OnADevice()], ids=["numpy", "torch", "device"])
def test_cuda_without_a_device_is_one_clear_error(gradient, no_device):
    """Asking for the device where there is none says so in one line, and what to ask for instead."""
    with pytest.raises(ValueError, match=r"needs a CUDA device, and there is none.*use 'auto' or") as error:
        quantize(gradient, bits=3, backend="cuda")
    assert "\n" not in str(error.value)


def test_a_compressor_on_cuda_without_a_device(no_device):
    """The compressor gives the same error at its first gradient."""
    compressor = QSGD(bits=3, backend="cuda")
    with pytest.raises(ValueError, match="needs a CUDA device"):
        average_one(compressor, X, Layout.of(X.size), Stream())


def test_where_an_array_lives_decides():
    """Host arrays go where the caller says, else to the CPU; device arrays to the device only."""
    assert [resolve_backend(X, backend) for backend in BACKENDS] == ["cpu", "cpu", "reference", "cuda"]
    assert [resolve_backend(OnADevice(), backend) for backend in ("auto", "cuda")] == ["cuda", "cuda"]
    for backend in ("cpu", "reference"):
        with pytest.raises(
            ValueError, match=f"backend '{backend}' works in host memory, but the array lives"
        ):
            resolve_backend(OnADevice(), backend)


def test_host_arrays_are_no_device_arrays():
    """NumPy arrays, torch tensors of the CPU (with gradients too) and lists live in host memory."""
    for array in (X, torch.from_numpy(X), torch.ones(3, requires_grad=True), [1.0]):
        assert not is_device_array(array)


def test_host_gradients_touch_no_driver():
    """Quantizing in host memory imports no numba.cuda kernels of ours."""
    code = (
        "import sys, numpy as np, qsgd_lab\n"
        "qsgd_lab.dequantize(qsgd_lab.quantize(np.ones(9, np.float32), bits=3))\n"
        "print([name for name in sys.modules if name.startswith('qsgd_lab.kernels.cuda')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_launch_shapes():
    """A grid has as many blocks as there is work, up to the most; a shape holds inside its with."""
    assert LaunchShape(4, 100).grid(9) == (3, 128)
    assert LaunchShape(4, 2).grid(9) == (2, 128)
    assert LaunchShape(1, 7).grid(0) == (1, 32)
    before = current_launch_shape()
    with launch_shape(2, 3):
        assert current_launch_shape() == LaunchShape(2, 3)
    assert current_launch_shape() == before
    for warps, blocks in ((0, 1), (33, 1), (1, 0)):
        with pytest.raises(ValueError, match="warps must be 1 to 32, blocks 1 to"):
            LaunchShape(warps, blocks)

"""Gradients in and out: NumPy arrays and torch tensors, without a copy and without importing torch.

Which machine does the work: the backends' names, and the choice by where the input lives.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_torch(array: Any) -> bool:
    """Whether `array` is a torch tensor; false where torch was never imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def flat_float32(gradient: Any) -> NDArray[np.float32]:
    """Return the coordinates as flat float32: a view where the input is contiguous float32 in host memory.

    Raises
    ------
    TypeError
        If the input is not float32, float16 or bfloat16, or lives on another device.
    """
    if is_torch(gradient):
        return _flat_from_torch(gradient)
    array = np.asarray(gradient)
    if array.dtype not in (np.float32, np.float16):
        raise TypeError(
            f"gradient is {array.dtype}; quantize takes float32, float16 or bfloat16: "
            "convert it with .astype(np.float32)"
        )
    return np.ascontiguousarray(array, dtype=np.float32).reshape(-1)


def _flat_from_torch(tensor: Any) -> NDArray[np.float32]:
    torch = sys.modules["torch"]
    if tensor.device.type != "cpu":
        raise TypeError(
            f"gradient lives on {tensor.device}; only host memory and CUDA devices are supported: "
            "call .cpu() first"
        )
    if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise TypeError(
            f"gradient is {tensor.dtype}; quantize takes float32, float16 or bfloat16: "
            "convert it with .float()"
        )
    flat: NDArray[np.float32] = tensor.detach().to(torch.float32).contiguous().view(-1).numpy()
    return flat


def like_input(array: NDArray[Any], example: Any) -> Any:
    """Return `array` as a torch tensor (sharing memory) if `example` is one, else as it is."""
    return sys.modules["torch"].from_numpy(array) if is_torch(example) else array


#: "auto" is "cuda" for an array in device memory, else "cpu"; the reference is plain NumPy.
BACKENDS = ("auto", "cpu", "reference", "cuda")


def check_backend(backend: str) -> None:
    """Check the name of a backend.

    Raises
    ------
    ValueError
        If it is unknown.
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; known: {', '.join(BACKENDS)}")


def is_device_array(array: Any) -> bool:
    """Whether an array lives in the memory of a CUDA device: a torch, CuPy or Numba array, among others.

    No driver is touched, and neither torch nor Numba is imported.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        return bool(array.device.type == "cuda")
    return hasattr(array, "__cuda_array_interface__") or getattr(array, "__cuda_ndarray__", False)


def resolve_backend(array: Any, backend: str) -> str:
    """Return "cpu", "reference" or "cuda" for an array and what the caller asked for.

    Raises
    ------
    ValueError
        If the backend is unknown, or one for host memory and the array lives on a device.
    """
    check_backend(backend)
    if not is_device_array(array):
        return "cpu" if backend == "auto" else backend
    if backend in ("cpu", "reference"):
        raise ValueError(
            f"backend {backend!r} works in host memory, but the array lives on a CUDA device: "
            "copy it to the host first, or leave backend at 'auto'"
        )
    return "cuda"

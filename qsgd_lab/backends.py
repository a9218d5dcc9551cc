"""Which machine does the work: the backends' names, and the choice by where the input lives."""

from __future__ import annotations

import sys
from typing import Any

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

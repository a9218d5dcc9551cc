"""Gradients in and out: NumPy arrays and torch tensors, without a copy and without importing torch.

The names of the backends, and the choice of one by the device of the input.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

P = ParamSpec("P")
R = TypeVar("R")


def is_torch(array: Any) -> bool:
    """Whether `array` is a torch tensor; false where torch was never imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def dense_input(gradient: Any) -> Any:
    """Return a gradient that is one dense array, on a host or a device; the sign bit of a tensor is resolved.

    Raises
    ------
    TypeError
        If it is masked, sparse, nested, a tensor without data, or no numbers: it says what would be right.
    """
    if isinstance(gradient, np.ma.MaskedArray):
        raise TypeError("gradient is a masked array; say what its masked entries are, with .filled(0)")
    if not is_torch(gradient):
        if hasattr(gradient, "toarray"):  # SciPy's sparse arrays, among others
            raise TypeError(
                f"gradient is a {type(gradient).__name__}, not a dense array; call .toarray() first"
            )
        if hasattr(gradient, "dtype") or hasattr(gradient, "__cuda_array_interface__"):
            return gradient
        try:
            array = np.asarray(gradient)
        except ValueError:  # lists of different lengths
            array = np.empty(0, object)
        if array.dtype.kind not in "biufc":
            raise TypeError(f"gradient is a {type(gradient).__name__}; quantize takes an array of numbers")
        return array
    if gradient.is_nested:
        raise TypeError("gradient is a nested tensor; only dense tensors are supported: quantize its parts")
    if gradient.layout != sys.modules["torch"].strided:
        layout = str(gradient.layout).removeprefix("torch.")
        raise TypeError(
            f"gradient is a {layout} tensor; only dense tensors are supported: call .to_dense() first"
        )
    if gradient.device.type == "meta":
        raise TypeError("gradient is a meta tensor, which has a shape and no data")
    # A negated view, such as x.conj().imag, has its sign in a bit of the tensor, not in memory.
    return gradient.detach().resolve_neg() if gradient.is_neg() else gradient


def flat_float32(gradient: Any) -> NDArray[np.float32]:
    """Return the coordinates as flat float32: a view where the input is contiguous float32 in host memory.

    Raises
    ------
    TypeError
        If the input is not float32, float16 or bfloat16, lives on another device, or is not one dense array.
    """
    gradient = dense_input(gradient)
    if is_torch(gradient):
        return _flat_from_torch(gradient)
    array = np.asarray(gradient)
    if array.dtype not in (np.float32, np.float16):
        raise TypeError(
            f"gradient is {array.dtype}; quantize takes float32, float16 or bfloat16: "
            + _remedy(array.dtype.kind == "c", ".astype(np.float32)")
        )
    return np.ascontiguousarray(array, dtype=np.float32).reshape(-1)


#: Compared with, for a type would be made a dtype at each comparison.
_FLOAT32 = np.dtype(np.float32)


def flat_gradient(gradient: Any, on_device: bool) -> Any:
    """Return a gradient as compressors take it: flat float32, and no copy where it is that already.

    Parameters
    ----------
    gradient : array
        NumPy array or torch tensor of any shape, of float32, float16 or bfloat16.
    on_device : bool
        Whether an array in the memory of a CUDA device stays there; otherwise it is refused.

    Returns
    -------
    float32, shape (n,)
        A NumPy array, or an array on the device.

    Raises
    ------
    TypeError
        As `flat_float32`.
    """
    if type(gradient) is np.ndarray and gradient.dtype == _FLOAT32 and gradient.ndim == 1:
        return gradient if gradient.flags.c_contiguous else np.ascontiguousarray(gradient)
    if not (on_device and is_device_array(gradient)):
        return flat_float32(gradient)
    gradient = dense_input(gradient)
    if not is_torch(gradient):  # CuPy's or Numba's: kernels check its dtype and read it as flat
        return gradient
    torch = sys.modules["torch"]
    _check_float(gradient)
    return gradient.detach().reshape(-1).to(torch.float32)


def _remedy(is_complex: bool, conversion: str) -> str:
    """Return what to do about a dtype."""
    return "give real and imaginary part apart" if is_complex else f"convert it with {conversion}"


def _flat_from_torch(tensor: Any) -> NDArray[np.float32]:
    torch = sys.modules["torch"]
    if tensor.device.type != "cpu":
        raise TypeError(
            f"gradient lives on {tensor.device}; only host memory and CUDA devices are supported: "
            "call .cpu() first"
        )
    _check_float(tensor)
    try:
        flat: NDArray[np.float32] = tensor.detach().to(torch.float32).contiguous().view(-1).numpy()
    except RuntimeError as error:
        raise TypeError(
            "gradient has no data that can be read, as inside torch.func and torch.export: "
            + str(error).strip().partition("\n")[0]
        ) from error
    return flat


def _check_float(tensor: Any) -> None:
    """Refuse a tensor of another dtype than float32, float16 and bfloat16 with a TypeError."""
    torch = sys.modules["torch"]
    if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise TypeError(
            f"gradient is {tensor.dtype}; quantize takes float32, float16 or bfloat16: "
            + _remedy(tensor.is_complex(), ".float()")
        )


def not_compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that `torch.compile` leaves as it is; torch is not imported for it.

    Kernels compiled by Numba cannot be traced. A graph breaks at such a function, and with ``fullgraph=True``
    torch says so.
    """
    untraced: list[Callable[P, R]] = []

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if "torch._dynamo" not in sys.modules:  # nothing has been compiled yet
            return function(*args, **kwargs)
        if not untraced:
            torch = sys.modules["torch"]
            untraced.append(torch.compiler.disable(function, reason="its kernels are compiled already"))
        return untraced[0](*args, **kwargs)

    call._torchdynamo_disable = True  # type: ignore[attr-defined]
    call._torchdynamo_disable_msg = "its kernels are compiled already"  # type: ignore[attr-defined]
    return call


def flat_output(out: Any, dtype: Any, size: int) -> NDArray[Any]:
    """Return a flat view of memory that a caller gives for a result.

    Raises
    ------
    TypeError
        If it is not a contiguous, writable array or CPU tensor of the dtype.
    ValueError
        If it has another number of elements.
    """
    try:
        array = out.detach().numpy() if is_torch(out) else out
    except (RuntimeError, TypeError):  # sparse, nested, on a device, or without data
        array = None
    plain = isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray)
    if not plain or array.dtype != dtype or not array.flags.c_contiguous or not array.flags.writeable:
        raise TypeError(f"out must be a contiguous, writable {np.dtype(dtype)} array or CPU tensor")
    if array.size != size:
        raise ValueError(f"out has {array.size} elements; the result has {size}")
    flat: NDArray[Any] = array.reshape(-1)
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

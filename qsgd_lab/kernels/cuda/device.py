"""Arrays in device memory: seen without a copy, made where the input lives, used on the caller's stream.

A `DeviceContext` is where an array lives: a library (torch, CuPy, or Numba for any other array with
``__cuda_array_interface__``), a device and a stream. Results and scratch memory come from the library's own
allocator, which is ordered by the stream, so that nothing here waits for the device. In Numba's simulator
(NUMBA_ENABLE_CUDASIM=1) host memory plays device memory: torch tensors of the CPU count as tensors of
the device.
"""

from __future__ import annotations

import math
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import config, cuda
from numpy.typing import DTypeLike, NDArray

from qsgd_lab.kernels.cuda.toolkit import load_numba_cuda, show_toolkit_to_numba

SIMULATED = bool(config.ENABLE_CUDASIM)
NO_DEVICE = "backend 'cuda' needs a CUDA device, and there is none{why}; use 'auto' or 'cpu'"

if not SIMULATED:
    show_toolkit_to_numba()
    load_numba_cuda()
    if "NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS" not in os.environ:
        config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # small tensors give small grids, as is expected
else:
    from qsgd_lab.kernels.cuda.simulator import complete_simulator

    complete_simulator()


def has_device() -> bool:
    """Whether there is a CUDA device that Numba can use, or the simulator of one."""
    return SIMULATED or bool(cuda.is_available())


_found = [False]  # once there is a device, asking again would take a tenth of a call


def require_device() -> None:
    """Check that there is a device.

    Raises
    ------
    ValueError
        If there is none, with the driver's reason where it gave one.
    """
    if _found[0]:
        return
    _found[0] = has_device()
    if not _found[0]:
        reason = cuda.cuda_error() or "no libnvvm" if hasattr(cuda, "cuda_error") else ""
        said = " ".join(str(reason).split()).removeprefix("Error at driver init: ").partition(". ")[0]
        raise ValueError(NO_DEVICE.format(why=f" ({said.rstrip('.')})" if said else ""))


def _torch() -> Any:
    return sys.modules.get("torch")


def _is_torch(array: Any) -> bool:
    torch = _torch()
    return torch is not None and isinstance(array, torch.Tensor)


def _is_cupy(array: Any) -> bool:
    return type(array).__module__.partition(".")[0] == "cupy"


def _name(array: Any) -> str:
    return f"{type(array).__module__.partition('.')[0]} array"


@dataclass(frozen=True)
class DeviceContext:
    """Where arrays live: make one with `context_of`.

    Attributes
    ----------
    package : {"torch", "cupy", "numba"}
    device : int or None
        Its number; None is Numba's current one.
    stream
        Numba's stream object for the caller's stream; 0 is the default stream.
    """

    package: str
    device: int | None
    stream: Any

    def active(self) -> AbstractContextManager[Any]:
        """Return a context manager in which kernels are launched on this device."""
        return nullcontext() if self.device is None or SIMULATED else cuda.gpus[self.device]  # type: ignore[no-any-return]

    @property
    def stream_handle(self) -> int:
        """The driver's number of the stream; 0 for the default stream, and in the simulator."""
        handle = 0 if isinstance(self.stream, int) else self.stream.handle
        return int(getattr(handle, "value", handle) or 0)  # a ctypes pointer, or with numba-cuda a number

    def wait(self) -> None:
        """Wait until all streams of the device are idle: then memory can be used or freed on any."""
        if not SIMULATED:
            with self.active():
                cuda.synchronize()

    def is_captured(self) -> bool:
        """Whether launches on the stream go into a graph of torch instead of being run."""
        can_be = self.package == "torch" and not SIMULATED
        return can_be and bool(_torch().cuda.is_current_stream_capturing())

    def require_no_capture(self) -> None:
        """Check that the stream's launches are run, not captured in a graph: tables are made outside of one.

        Raises
        ------
        RuntimeError
            If torch captures them.
        """
        if self.is_captured():
            raise RuntimeError(
                "tables of this call are not on the device yet, and a capture cannot wait for them: "
                "make the same call once before the capture"
            )

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> Any:
        """Return an uninitialised array of the library, on the device."""
        if self.package == "torch":
            torch = _torch()
            return torch.empty(shape, dtype=getattr(torch, np.dtype(dtype).name), device=self._torch_device())
        if self.package == "cupy":
            return sys.modules["cupy"].empty(shape, dtype)
        return cuda.device_array(shape, dtype, stream=self.stream)

    def scratch(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> Any:
        """Return uninitialised memory as a Numba array, of any dtype; zero it with a kernel if need be."""
        if self.package == "numba":
            return cuda.device_array(shape, dtype, stream=self.stream)
        sizes = (shape,) if isinstance(shape, int) else shape
        raw = self.empty(max(1, math.prod(sizes)) * np.dtype(dtype).itemsize, np.uint8)
        return _view(raw, sizes, np.dtype(dtype), self.stream)

    def to_device(self, array: NDArray[Any]) -> Any:
        """Return a copy of a host array as a Numba array on the device; the host may go on meanwhile."""
        if self.package == "numba":
            return cuda.to_device(np.ascontiguousarray(array), stream=self.stream)
        copy = self.scratch(array.shape, array.dtype)
        if array.size:
            copy.copy_to_device(np.ascontiguousarray(array), stream=self.stream)
        return copy

    def from_host(self, array: NDArray[Any]) -> Any:
        """Return a copy of a host array as an array of the library."""
        if self.package == "torch":
            return _torch().from_numpy(np.array(array)).to(self._torch_device())
        if self.package == "cupy":
            return sys.modules["cupy"].asarray(array)
        return cuda.to_device(np.ascontiguousarray(array), stream=self.stream)

    def _torch_device(self) -> str:
        return "cpu" if SIMULATED else f"cuda:{self.device}"


def context_of(array: Any, name: str = "array") -> DeviceContext:
    """Return where a device array lives, and its caller's stream: torch's current one, or the interface's.

    Raises
    ------
    ValueError
        If there is no CUDA device.
    TypeError
        If the array lives in host memory.
    """
    require_device()
    if _is_torch(array):
        if array.device.type != ("cpu" if SIMULATED else "cuda"):
            raise TypeError(
                f"{name} lives on {array.device}; backend 'cuda' takes device arrays: call .cuda() first"
            )
        if SIMULATED:
            return DeviceContext("torch", None, 0)
        handle = _torch().cuda.current_stream(array.device).cuda_stream
        return DeviceContext("torch", array.device.index, cuda.external_stream(handle) if handle else 0)
    if getattr(array, "__cuda_ndarray__", False):
        return DeviceContext("numba", None, getattr(array, "stream", 0))
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is None:
        raise TypeError(
            f"{name} is a {_name(array)} in host memory; backend 'cuda' takes device arrays "
            "(torch, CuPy, Numba): copy it to the device first"
        )
    handle = interface.get("stream")
    device = array.device.id if _is_cupy(array) else None
    return DeviceContext(
        "cupy" if _is_cupy(array) else "numba", device, cuda.external_stream(handle) if handle else 0
    )


def device_view(array: Any, dtypes: DTypeLike | tuple[DTypeLike, ...], name: str = "array") -> Any:
    """Return a Numba array over the memory of a device array, after checking it.

    Nothing is copied and nothing waited for. Numba arrays pass through.

    Parameters
    ----------
    array : torch, CuPy, Numba or other array with ``__cuda_array_interface__``
    dtypes : dtype or tuple of dtype
        What is allowed.
    name : str
        Of the array, for errors.

    Raises
    ------
    TypeError
        If the array lives in host memory or has another dtype.
    ValueError
        If it is not C-contiguous.
    """
    context = context_of(array, name)
    dtype, contiguous = _dtype_of(array), _is_contiguous(array)
    allowed = [np.dtype(one) for one in (dtypes if isinstance(dtypes, tuple) else (dtypes,))]
    if dtype not in allowed:
        raise TypeError(f"{name} is {dtype}; it must be {' or '.join(map(str, allowed))}")
    if not contiguous:
        raise ValueError(f"{name} is not contiguous in device memory; make a contiguous copy first")
    if context.package == "numba" and getattr(array, "__cuda_ndarray__", False):
        return array
    if context.package == "torch" and not SIMULATED:
        # Its memory may be another stream's, which must not give it away before this one has read it.
        array.record_stream(_torch().cuda.current_stream(array.device))
    return _view(array, tuple(array.shape), dtype, context.stream)


def flat_device_float32(array: Any, name: str = "gradient") -> Any:
    """Return a gradient as a flat Numba float32 array: a view, but for torch's half precision, widened.

    Raises
    ------
    TypeError, ValueError
        As `device_view` does.
    """
    if _half_of(array) is not None and _is_torch(array):
        array = array.detach().to(_torch().float32)
    return device_view(array, np.float32, name).reshape((math.prod(array.shape),))


def flat_device_reals(array: Any, name: str = "gradient") -> Any:
    """Return a gradient's memory as a flat Numba array, for kernels that widen half precision themselves.

    Returns
    -------
    float32, or int16 with the bits of float16, or uint16 with those of bfloat16

    Raises
    ------
    TypeError, ValueError
        As `device_view` does.
    """
    bits = _half_of(array)
    if bits is None:
        return flat_device_float32(array, name)
    array = array.detach().view(_torch().int16) if _is_torch(array) else array
    view = device_view(array, (np.int16, np.float16), name)
    return view.reshape((math.prod(array.shape),)).view(bits)


def _half_of(array: Any) -> Any:
    """Return the dtype of the bits of half precision: int16 for float16, uint16 for bfloat16, else None."""
    if _is_torch(array):
        return {"torch.float16": np.int16, "torch.bfloat16": np.uint16}.get(str(array.dtype))
    dtype = _dtype_of(array) if hasattr(array, "__cuda_array_interface__") else getattr(array, "dtype", None)
    return np.int16 if dtype == np.float16 else None


def to_host(array: Any) -> NDArray[Any]:
    """Return a NumPy copy of a device array; this waits for the device."""
    if _is_torch(array):
        copy: NDArray[Any] = array.detach().cpu().numpy()
        return copy.copy() if SIMULATED else copy
    cuda.synchronize()  # whatever stream it was written on
    host: NDArray[Any] = device_view(array, _dtype_of(array)).copy_to_host()
    return host


def address_of(view: Any) -> int:
    """Return where a Numba array, or the simulator's, begins in memory."""
    memory = getattr(view, "_ary", None)
    if memory is not None:
        return int(memory.ctypes.data)
    pointer = view.device_ctypes_pointer  # nothing is built that costs more than reading it
    return int(getattr(pointer, "value", pointer) or 0)


def _dtype_of(array: Any) -> Any:
    """Return the NumPy dtype; that of a torch tensor by its name, which for bfloat16 stays a string."""
    if _is_torch(array):
        name = str(array.dtype).removeprefix("torch.")
        return name if name == "bfloat16" else np.dtype(name)
    if getattr(array, "__cuda_ndarray__", False):
        return np.dtype(array.dtype)
    return np.dtype(array.__cuda_array_interface__["typestr"])


def _is_contiguous(array: Any) -> bool:
    if _is_torch(array):
        return bool(array.is_contiguous())
    if getattr(array, "__cuda_ndarray__", False):
        return bool(array.is_c_contiguous())
    interface = array.__cuda_array_interface__
    strides, expected = interface.get("strides"), np.dtype(interface["typestr"]).itemsize
    if strides is None:
        return True
    for size, stride in zip(reversed(interface["shape"]), reversed(strides), strict=True):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return True


def _view(array: Any, shape: tuple[int, ...], dtype: np.dtype[Any], stream: Any) -> Any:
    """Return a Numba array over contiguous memory, whatever its owner calls the dtype."""
    if SIMULATED:
        memory = array.detach().numpy() if _is_torch(array) else np.asarray(array)
        flat = memory.reshape(-1).view(np.uint8)[: math.prod(shape) * dtype.itemsize]
        return cuda.to_device(np.empty(0, dtype)).__class__(flat.view(dtype).reshape(shape))
    pointer = array.data_ptr() if _is_torch(array) else array.__cuda_array_interface__["data"][0]
    description = {
        "shape": shape,
        "typestr": dtype.str,
        "data": (pointer, False),
        "strides": None,
        "version": 3,
    }
    view = cuda.from_cuda_array_interface(description, owner=array, sync=False)
    return view.bind(stream) if stream else view

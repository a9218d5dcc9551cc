"""QSGD's quantizer: `quantize`, `dequantize`, and the levels and norms that pass between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.arrays import (
    check_backend,
    dense_input,
    flat_float32,
    flat_output,
    is_torch,
    like_input,
    not_compiled,
    resolve_backend,
)
from qsgd_lab.levels import MAX_LEVELS, NORMS, num_levels
from qsgd_lab.partition import Partition, partition
from qsgd_lab.stream import STREAM_VERSIONS, Stream

ROUNDINGS = ("stochastic", "nearest")


@dataclass(frozen=True, eq=False)
class QuantizedGradient:
    """A gradient as norms and integer levels.

    Attributes
    ----------
    levels : int8 or int16, shape (n,)
        Signed levels in -s..s; int8 for s <= 127. NumPy array or torch tensor, like the gradient.
    norms : float32, shape (B,)
        The norm of each bucket; NaN where the bucket held NaN or an infinity.
    num_levels : int
        s.
    norm : {"l2", "max"}
    partition : Partition
        Tensors and buckets.
    shape : tuple of int
        Of the gradient.
    """

    levels: Any
    norms: Any
    num_levels: int
    norm: str
    partition: Partition
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if type(self.num_levels) is not int:  # tables are kept by s, and arithmetic with np.uint8(7) wraps
            object.__setattr__(self, "num_levels", int(self.num_levels))

    def __len__(self) -> int:
        return self.partition.num_coordinates

    def __repr__(self) -> str:
        s, buckets = self.num_levels, self.partition.num_buckets
        return f"<QuantizedGradient of shape {self.shape}: levels -{s}..{s}, {buckets} {self.norm} norms>"


def check_quantized(value: Any, name: str) -> None:
    """Check that a function was given a quantized gradient.

    Raises
    ------
    TypeError
        If not; it says which function makes one.
    """
    if isinstance(value, QuantizedGradient):
        return
    dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
    if isinstance(value, bytes | bytearray | memoryview) or dtype == "uint8":
        remedy = "decode(message) makes one of a message"
    elif dtype.startswith(("float", "bfloat")):
        remedy = "quantize(gradient, bits=...) makes one of a gradient"
    else:
        remedy = "quantize and decode return one"
    raise TypeError(f"{name} takes a quantized gradient, not a {type(value).__name__}; {remedy}")


def check_scheme(
    levels: int, norm: str, rounding: str, backend: str = "auto", stream_version: int = 1
) -> None:
    """Check what every quantizer is made of.

    Raises
    ------
    ValueError
        If s is not an integer from 1 to 32767, or the norm, rounding, backend or stream version is unknown.
    """
    if isinstance(levels, bool) or not isinstance(levels, int | np.integer) or not 1 <= levels <= MAX_LEVELS:
        raise ValueError(f"levels is {levels!r}; it must be an integer from 1 to {MAX_LEVELS}")
    if norm not in NORMS:
        raise ValueError(f"unknown norm {norm!r}; known: {', '.join(NORMS)}")
    if rounding not in ROUNDINGS:
        raise ValueError(f"unknown rounding {rounding!r}; known: {', '.join(ROUNDINGS)}")
    if type(stream_version) is not int or stream_version not in STREAM_VERSIONS:  # True and 1.0 equal 1
        raise ValueError(f"stream_version is {stream_version!r}; it must be 1 or 2")
    check_backend(backend)


def level_dtype(levels: int) -> type[np.int8] | type[np.int16]:
    """Return the dtype that stores levels -s..s."""
    return np.int8 if levels <= 127 else np.int16


@not_compiled
def quantize(
    gradient: Any,
    bits: int | None = None,
    *,
    levels: int | None = None,
    convention: str = "magnitude",
    bucket_size: int | str = 512,
    norm: str = "l2",
    rounding: str = "stochastic",
    seed: int = 0,
    node: int = 0,
    step: int = 0,
    tensor: int = 0,
    tensor_sizes: tuple[int, ...] | None = None,
    backend: str = "auto",
    stream_version: int = 1,
) -> QuantizedGradient:
    r"""Quantize a gradient to s levels a bucket, unbiased under stochastic rounding.

    .. math:: Q_s(v)_i = \lVert v \rVert \, \operatorname{sgn}(v_i) \, \zeta_i / s, \qquad
              \zeta_i = \lfloor a_i \rfloor + \operatorname{Bernoulli}(a_i - \lfloor a_i \rfloor), \quad
              a_i = s |v_i| / \lVert v \rVert

    Parameters
    ----------
    gradient : float32, float16 or bfloat16 array or torch tensor of any shape
        In host memory, or on a CUDA device: a torch tensor, or a float32 array with
        ``__cuda_array_interface__``, contiguous; it is not copied.
    bits : int, optional
        Magnitude bits b, the sign apart: s = 2**b - 1 (see `qsgd_lab.levels` for other conventions).
    levels : int, optional
        s itself, 1 to 32767; give either this or `bits`.
    bucket_size : int, "tensor" or "model"
        Coordinates that share a norm. Buckets do not straddle tensors, unless "model".
    norm : {"l2", "max"}
        Of a bucket; the theory uses l2, practice max.
    rounding : {"stochastic", "nearest"}
        Nearest is deterministic and biased; ties go away from zero.
    seed, node, step, tensor : int
        The stream of random words: a coordinate's word depends on these and on its index in its tensor alone.
    tensor_sizes : tuple of int, optional
        The tensors that a flat gradient is made of; piece k draws from stream ``tensor + k``, so that the
        result equals quantizing the pieces one by one.
    backend : {"auto", "cpu", "reference", "cuda"}
        Auto works where the gradient lives. The reference is plain NumPy; all backends give the same bits.
    stream_version : {1, 2}
        1 draws a random word for each coordinate. 2 draws one for two coordinates, which takes less time:
        each coordinate has the same law, and two that share a word are dependent by at most 2**-17
        (docs/theory.md). Nearest rounding draws none.

    Returns
    -------
    QuantizedGradient
        Its arrays are torch tensors if the gradient is one, and live where it lives.

    Raises
    ------
    ValueError
        If an argument is out of its range, if the backend is "cuda" and there is no device, or if the
        gradient is not contiguous in device memory.
    TypeError
        If the gradient's dtype is not supported, it is not on the backend's device, or it is not dense:
        sparse, masked, nested.

    Notes
    -----
    A zero bucket gets norm 0; one that holds NaN or an infinity gets norm NaN and level 0, and decodes to
    NaN. An l2 norm above the float32 range is stored as the largest float32, which still dominates every
    coordinate. Unbiasedness holds per level: levels are rounded in fixed point with at least
    min(24, 31 - bits of s) fraction bits, so the mean of a level is right to that resolution, and the mean of
    a coordinate to that times norm / s. For a coordinate much smaller than its norm this is coarser than its
    own float32.

    References
    ----------
    Alistarh, Grubic, Li, Tomioka, Vojnovic: QSGD. NeurIPS 2017, section 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> q = quantize(np.float32([3, -4, 0, 0]), bits=2, norm="max", rounding="nearest")
    >>> q.levels.tolist(), q.norms.tolist(), q.num_levels
    ([2, -3, 0, 0], [4.0], 3)
    >>> dequantize(q).round(3).tolist()
    [2.667, -4.0, 0.0, 0.0]
    """
    if (bits is None) == (levels is None):
        raise ValueError("give either bits or levels")
    s = num_levels(bits, convention) if bits is not None else levels
    assert s is not None
    check_scheme(s, norm, rounding, backend, stream_version)
    stream = Stream(seed, node, step, tensor).check()
    gradient = dense_input(gradient)
    run = _QUANTIZE[resolve_backend(gradient, backend)]
    shape = tuple(np.shape(gradient))
    parts = partition(math.prod(shape), bucket_size, tensor_sizes)
    coordinates, norms = run(gradient, parts, int(s), norm, rounding, stream, stream_version)
    return QuantizedGradient(coordinates, norms, int(s), norm, parts, shape)


def _quantize_reference(
    gradient: Any, parts: Partition, s: int, norm: str, rounding: str, stream: Stream, version: int
) -> tuple[Any, Any]:
    from qsgd_lab.kernels import reference

    x = flat_float32(gradient)
    levels, norms = reference.quantize(
        x, parts.bucket_offsets, parts.tensor_offsets, norm, rounding, s, *stream, version
    )
    return like_input(levels.astype(level_dtype(s)), gradient), like_input(norms, gradient)


def _quantize_cpu(
    gradient: Any, parts: Partition, s: int, norm: str, rounding: str, stream: Stream, version: int
) -> tuple[Any, Any]:
    from qsgd_lab.kernels.cpu.quantize import quantize_all
    from qsgd_lab.kernels.fixed_point import fraction_bits

    x = flat_float32(gradient)
    levels = np.empty(x.size, level_dtype(s))
    norms = np.empty(parts.num_buckets, np.float32)
    quantize_all(
        x,
        x.view(np.int32),
        (parts.bucket_offsets, parts.tensor_offsets),
        stream.kernel_key(version),
        (NORMS.index(norm), rounding == "stochastic", np.uint32(s), np.uint32(fraction_bits(s))),
        levels,
        norms,
    )
    return like_input(levels, gradient), like_input(norms, gradient)


def _quantize_cuda(
    gradient: Any, parts: Partition, s: int, norm: str, rounding: str, stream: Stream, version: int
) -> tuple[Any, Any]:
    from qsgd_lab.kernels.cuda.device import context_of, device_view, flat_device_reals
    from qsgd_lab.kernels.cuda.quantize import launch_quantize
    from qsgd_lab.kernels.cuda.rows import row_tables

    context = context_of(gradient, "gradient")
    x = flat_device_reals(gradient)
    levels = context.empty(parts.num_coordinates, level_dtype(s))
    norms = context.empty(parts.num_buckets, np.float32)
    launch_quantize(
        context,
        row_tables(parts, context),
        x,
        stream.kernel_key(version),
        NORMS.index(norm),
        rounding == "stochastic",
        s,
        device_view(levels, level_dtype(s)),
        device_view(norms, np.float32),
    )
    return levels, norms


#: The quantizer of each backend.
_QUANTIZE = {"cpu": _quantize_cpu, "reference": _quantize_reference, "cuda": _quantize_cuda}


@not_compiled
def dequantize(quantized: QuantizedGradient, *, out: Any = None, backend: str = "auto") -> Any:
    """Return the float32 gradient that levels and norms represent.

    Parameters
    ----------
    quantized : QuantizedGradient
    out : float32 array or CPU tensor of as many elements, optional
        Memory for the result, contiguous: a result in fresh memory costs as much again for its pages.
    backend : {"auto", "cpu", "reference", "cuda"}
        Auto works where the levels live.

    Returns
    -------
    float32, of the original gradient's shape
        ``float32(level * (norm / s))``, the product in float64: level s gives back the norm exactly. With
        `out`, that.

    Raises
    ------
    ValueError
        If the backend is unknown, or does not work where the levels live, or `out` has another size or is
        given for levels on a device.
    TypeError
        If it is not a quantized gradient, or `out` is not contiguous float32 memory.
    """
    check_quantized(quantized, "dequantize")
    backend = resolve_backend(quantized.levels, backend)
    if out is None:
        return _DEQUANTIZE[backend](quantized)
    if backend != "cpu":
        raise ValueError(f"out is for the CPU's kernels; backend {backend} makes its own memory")
    _write_values(quantized, flat_output(out, np.float32, len(quantized)))
    return out


def _dequantize_reference(quantized: QuantizedGradient) -> Any:
    from qsgd_lab.kernels import reference

    levels, norms = _numpy_arrays(quantized)
    values = reference.dequantize(levels, norms, quantized.partition.bucket_offsets, quantized.num_levels)
    return like_input(values.reshape(quantized.shape), quantized.levels)


def _dequantize_cpu(quantized: QuantizedGradient) -> Any:
    values = np.empty(quantized.levels.shape[0], np.float32)
    _write_values(quantized, values)
    return like_input(values.reshape(quantized.shape), quantized.levels)


def _write_values(quantized: QuantizedGradient, values: NDArray[np.float32]) -> None:
    """Write the values of levels in host memory."""
    from qsgd_lab.kernels.cpu.quantize import dequantize_all

    levels, norms = _numpy_arrays(quantized)
    dequantize_all(levels, norms, quantized.partition.bucket_offsets, quantized.num_levels, values)


def _dequantize_cuda(quantized: QuantizedGradient) -> Any:
    from qsgd_lab.kernels.cuda.device import context_of, device_view
    from qsgd_lab.kernels.cuda.quantize import launch_dequantize
    from qsgd_lab.kernels.cuda.rows import row_tables

    context = context_of(quantized.levels, "levels")
    values = context.empty(quantized.partition.num_coordinates, np.float32)
    launch_dequantize(
        context,
        row_tables(quantized.partition, context),
        device_view(quantized.levels, (np.int8, np.int16), "levels"),
        device_view(quantized.norms, np.float32, "norms"),
        quantized.num_levels,
        device_view(values, np.float32),
    )
    return values.reshape(quantized.shape)


_DEQUANTIZE = {"cpu": _dequantize_cpu, "reference": _dequantize_reference, "cuda": _dequantize_cuda}


def _numpy_arrays(quantized: QuantizedGradient) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Return levels and norms as NumPy arrays, without a copy."""
    levels, norms = quantized.levels, quantized.norms
    return (levels.numpy(), norms.numpy()) if is_torch(levels) else (levels, norms)


def host_arrays(quantized: QuantizedGradient) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Return levels and norms as NumPy arrays of the sizes that the partition implies."""
    levels, norms = _numpy_arrays(quantized)
    dtype, s = np.dtype(level_dtype(quantized.num_levels)), quantized.num_levels
    if levels.size and levels.dtype.kind not in "iu":
        raise ValueError(f"levels are {levels.dtype}; they must be integers")
    if levels.dtype != dtype and levels.size and (levels.min() < -s or levels.max() > s):
        raise ValueError(f"a level is outside -{s}..{s}")  # which a cast to fewer bits would hide
    levels = np.ascontiguousarray(levels.reshape(-1), dtype=dtype)
    parts = quantized.partition
    if levels.size != parts.num_coordinates or norms.size != parts.num_buckets:
        raise ValueError(
            f"{levels.size} levels and {norms.size} norms do not fit a partition of "
            f"{parts.num_coordinates} coordinates and {parts.num_buckets} buckets"
        )
    return levels, np.ascontiguousarray(norms, dtype=np.float32)

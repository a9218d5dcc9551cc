"""Values that are sent as they are: float32, float16, or the upper half of a float32 (bfloat16)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.errors import MessageError
from qsgd_lab.wire.checks import Bytes, require

#: Value type in messages -> its dtype; NumPy has no bfloat16, so that its patterns are uint16.
DTYPES: tuple[type, ...] = (np.float32, np.float16, np.uint16)


def check_value_type(value_type: int) -> None:
    """Check the number of a value type."""
    require(value_type < len(DTYPES), "unknown", f"value type {value_type} is not known")


def value_type_of(values: Any) -> int:
    """Return the value type of an array.

    Raises
    ------
    MessageError
        If it is none of float32, float16 and uint16 (the patterns of bfloat16).
    """
    dtype = getattr(values, "dtype", None)
    if dtype not in DTYPES:
        text = f"values are {dtype}; they must be float32, float16, or uint16 that holds the bits of bfloat16"
        raise MessageError(text, "parameters")
    return DTYPES.index(np.dtype(dtype).type)


def width_of(value_type: int) -> int:
    """Return the bytes of a value."""
    return np.dtype(DTYPES[value_type]).itemsize


def write_values(values: NDArray[Any], buffer: Bytes) -> None:
    """Write the patterns of values from the beginning of `buffer` on."""
    flat = np.ascontiguousarray(values).reshape(-1)
    packed = flat.astype(flat.dtype.newbyteorder("<"), copy=False).view(np.uint8)
    buffer[: packed.size] = packed


def widened(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return values as float32, shape (n,); a NaN keeps its payload."""
    wide = np.empty(values.size, np.float32)
    put_widened(values, wide)
    return wide


def put_widened(values: NDArray[Any], wide: NDArray[np.float32]) -> None:
    """Write values as float32 to contiguous memory of shape (n,); a NaN keeps its payload."""
    flat = np.ascontiguousarray(values).reshape(-1)
    if flat.dtype == np.float32:
        wide[:] = flat
        return
    from qsgd_lab.kernels.cpu.methods import half

    if flat.dtype == np.uint16:
        half.from_bfloat16(flat, wide.view(np.uint32))
    else:
        half.from_float16(flat.view(np.uint16), wide, wide.view(np.uint32))

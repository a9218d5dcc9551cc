"""Arrays in files that others wrote: .npy, .npz, .pt and .safetensors, none of them trusted or unpickled.

The type of a file follows from its first bytes, not its name. Every size is checked against the file before
memory is allocated, and any exception of a parser means that the file is damaged.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsgd_lab.errors import IntegrityError, LabError, UsageError
from qsgd_lab.files import open_bytes, read_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NPY, _ZIP = b"\x93NUMPY", (b"PK\x03\x04", b"PK\x05\x06")  # the latter: without a member
_OLD_PT = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9"

#: Deflate makes at most 1032 bytes of one.
_MOST_EXPANSION = 1032

#: An .npy header of numbers is 128 bytes; NumPy itself refuses more than 10,000 characters.
_HEADER_BYTES = 1 << 16

_SAFETENSORS_HEADER_BYTES = 100_000_000
_SAFETENSORS_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # the upper half of a float32
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def read_array(path: Path, made_by: str = "save an array there with numpy.save") -> NDArray[Any]:
    """Return the one array of numbers that a file holds, in the machine's byte order.

    Parameters
    ----------
    path : Path
        Of an .npy, .npz, .pt (of `torch.save`) or .safetensors file; a pipe or ``-`` for standard input, too.
    made_by : str
        What to do if there is no such file.

    Returns
    -------
    ndarray, of any shape
        Booleans, integers, floats or complex numbers; bfloat16 comes as float32, which holds its values
        exactly. Read-only; memory-mapped where the file allows it.

    Raises
    ------
    DataMissingError
        If there is no such file.
    UsageError
        If it is not a file of one array of numbers.
    IntegrityError
        If it is damaged.
    """
    data = read_bytes(path, made_by)
    beginning = bytes(data[:9])
    if beginning.startswith(_NPY):
        read: Callable[[Any], NDArray[Any]] = _npy
    elif beginning.startswith(_ZIP):
        read = _zip
    elif beginning[8:] == b"{":
        read = _safetensors
    elif beginning == _OLD_PT:  # reading one would allocate what it claims
        raise UsageError(f"{path} is a .pt file of before torch 1.6; save it again with torch.save")
    else:
        raise UsageError(
            f"{path} is not a .npy file of numbers, nor .npz, .pt or .safetensors; save it with numpy.save"
        )
    with _parsing(path):
        array = read(data)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of numbers of an .npz file by name, in the machine's byte order.

    Raises
    ------
    DataMissingError
        If there is no such file.
    UsageError
        If it is not an .npz file, or one of its arrays is not of numbers.
    IntegrityError
        If it is damaged.
    """
    data = read_bytes(path, "save arrays there with numpy.savez")
    if not bytes(data[:4]).startswith(_ZIP):
        raise UsageError(f"{path} is not a .npz file; save it with numpy.savez")
    with _parsing(path), _archive(data) as archive:
        arrays = {
            member.filename.removesuffix(".npy"): _npy(archive.read(member))
            for member in archive.infolist()
            if not member.is_dir()
        }
    return {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in arrays.items()}


@contextmanager
def _parsing(path: Path) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # NumPy and Python warn of odd headers, and then read or refuse them
            yield
    except LabError as error:
        raise type(error)(f"{path} {error}") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise IntegrityError(f"{path} is damaged: {reason}; save it again") from error


def _npy(data: Any) -> NDArray[Any]:
    """Return the array of an .npy file's bytes, as a view of them."""
    import numpy as np

    head = io.BytesIO(bytes(data[:_HEADER_BYTES]))
    version = np.lib.format.read_magic(head)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    # 3.0 is 2.0 with names of fields in UTF-8; arrays of numbers have no fields.
    reader = readers.get(version if version != (3, 0) else (2, 0))
    if reader is None:
        raise ValueError(f"its format version {version[0]}.{version[1]} is none of NumPy's")
    shape, in_columns, dtype = reader(head)
    return _view(data, head.tell(), dtype, shape, "F" if in_columns else "C")


def _view(data: Any, start: int, dtype: Any, shape: Any, order: Any = "C") -> NDArray[Any]:
    import numpy as np

    if dtype.hasobject or dtype.fields is not None or dtype.kind not in "?biufc":
        raise UsageError(
            f"is not a .npy file of numbers: it holds {dtype}; only arrays of numbers are read, no pickles"
        )
    if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape):
        raise ValueError(f"shape {shape} is none")
    there, needed = len(data) - start, math.prod(shape) * dtype.itemsize
    if there != needed:
        raise ValueError(f"shape {shape} of {dtype} takes {needed} bytes, and there are {there}")
    return np.ndarray(shape, dtype, data, start, order=order)


def _zip(data: Any) -> NDArray[Any]:
    """Return the array of an .npz or a .pt file; both are zip archives."""
    with _archive(data) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        expanded = sum(member.file_size for member in members)
        if any(member.filename.endswith("data.pkl") for member in members):
            if expanded > len(data):  # torch stores without compressing
                raise ValueError(f"its parts claim {expanded} bytes, and there are {len(data)}")
            return _pt(data)
        names = [member.filename for member in members]
        _only_one([name.removesuffix(".npy") for name in names])
        return _npy(archive.read(names[0]))


@contextmanager
def _archive(data: Any) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive whose members do not claim more than it can hold."""
    with open_bytes(data) as stream, zipfile.ZipFile(stream) as archive:
        expanded = sum(member.file_size for member in archive.infolist())
        if expanded > _MOST_EXPANSION * len(data):
            raise ValueError(f"its parts claim {expanded} bytes, more than {len(data)} can hold")
        yield archive


def _only_one(names: list[str]) -> None:
    if len(names) != 1:
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        listed = f" ({shown})" if names else ""
        raise UsageError(f"holds {len(names)} arrays{listed}; only a file of one array is read")


def _pt(data: Any) -> NDArray[Any]:
    import torch

    # With weights_only nothing but tensors and plain containers is made; code is never run.
    try:
        loaded = torch.load(open_bytes(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" not in str(error):
            raise ValueError("its pickle cannot be read") from error
        raise UsageError(
            "holds more than tensors, such as a whole network, which is not read: nothing in a file is run; "
            "save one tensor with torch.save"
        ) from error
    if isinstance(loaded, dict):
        _only_one([str(name) for name in loaded])
        loaded = next(iter(loaded.values()))
    is_dense = isinstance(loaded, torch.Tensor) and not (loaded.is_nested or loaded.is_quantized)
    if not is_dense or loaded.layout != torch.strided:
        raise UsageError("does not hold a dense tensor; only a tensor, or a dict of one, is read")
    if loaded.is_meta:
        raise UsageError("holds a tensor without values (on torch's meta device); save one that has them")
    if loaded.numel() * loaded.element_size() > len(data):  # a few numbers, expanded by strides of 0
        raise ValueError(f"shape {tuple(loaded.shape)} takes more bytes than the {len(data)} of the file")
    tensor = loaded.detach().resolve_conj().resolve_neg()
    try:
        array: NDArray[Any] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    except TypeError as error:
        raise UsageError(f"holds {loaded.dtype}, which NumPy does not have; save it as float32") from error
    return array


def _safetensors(data: Any) -> NDArray[Any]:
    """Return the tensor of a .safetensors file: the header's length, the header as JSON, the bytes."""
    import numpy as np

    length = int.from_bytes(bytes(data[:8]), "little")
    if length > min(_SAFETENSORS_HEADER_BYTES, len(data) - 8):
        raise ValueError(f"its header claims {length} bytes, and the file has {len(data)}")
    header = json.loads(bytes(data[8 : 8 + length]))
    header.pop("__metadata__", None)
    _only_one(list(header))
    (tensor,) = header.values()
    parts = {"dtype": str, "shape": list, "data_offsets": list}
    if not isinstance(tensor, dict) or not all(isinstance(tensor.get(k), t) for k, t in parts.items()):
        raise ValueError("its header has no dtype, shape and data_offsets of a tensor")
    kind = tensor["dtype"]
    if kind not in _SAFETENSORS_TYPES:
        raise UsageError(f"holds {kind}; only {', '.join(_SAFETENSORS_TYPES)} are read")
    start, end = tensor["data_offsets"]
    if start != 0 or 8 + length + end != len(data):
        raise ValueError(f"its tensor is said to be bytes {start} to {end}, and that is not what is there")
    array = _view(data, 8 + length, np.dtype(_SAFETENSORS_TYPES[kind]), tuple(tensor["shape"]))
    if kind != "BF16":
        return array
    return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)

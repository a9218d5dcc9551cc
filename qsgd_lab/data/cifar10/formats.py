"""The Python edition's files: a pickled dictionary each, read without giving the pickle anything to call.

A pickle is a program. Its operations are looked over before any is carried out, and only those that such a
dictionary takes may occur. The unpickler then knows five names, and gives each a stand-in of this file that
does nothing but keep bytes: NumPy itself is never called by the pickle. All other names are refused.

The binary edition's files: records of one byte of label (CIFAR-100: two) and 3072 of pixels.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.data.cifar10.release import IMAGE_BYTES, IMAGE_SHAPE

Bytes = NDArray[np.uint8]


def parse_batch(
    content: bytes, num_records: int, label_name: str = "labels", num_classes: int = 10
) -> tuple[Bytes, Bytes]:
    """Take a file apart.

    Parameters
    ----------
    content : bytes
        A pickled dictionary with ``data``, a uint8 array of shape (num_records, 3072), and a list of labels;
        as written by Python 2 (the official files) or Python 3.
    num_records : int
        How many images there must be.
    label_name : str
        Under which name the labels are.
    num_classes : int

    Returns
    -------
    images : uint8, shape (num_records, 3, 32, 32)
    labels : uint8, shape (num_records,)

    Raises
    ------
    ValueError
        If the content is anything else.
    """
    try:
        _check_operations(content)
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except _ForbiddenError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise ValueError(f"is not a pickle of a CIFAR batch ({error})") from error
    if not isinstance(batch, dict):
        raise ValueError(f"holds a {type(batch).__name__} instead of a dictionary")
    labels = _labels(_entry(batch, label_name), num_records, num_classes)
    return _images(_entry(batch, "data"), num_records), labels


def _entry(batch: dict[Any, Any], name: str) -> Any:
    return batch.get(name.encode(), batch.get(name))


def _images(data: Any, num_records: int) -> Bytes:
    values = data.values if isinstance(data, _Array) else None
    if values is None or values.shape != (num_records, IMAGE_BYTES):
        found = type(data).__name__ if values is None else f"shape {values.shape}"
        raise ValueError(f"has data of {found} instead of uint8 of shape {(num_records, IMAGE_BYTES)}")
    return values.reshape(num_records, *IMAGE_SHAPE)


def _labels(labels: Any, num_records: int, num_classes: int) -> Bytes:
    if not isinstance(labels, list) or len(labels) != num_records:
        raise ValueError(f"has no list of {num_records} labels")
    if any(type(label) is not int or not 0 <= label < num_classes for label in labels):
        raise ValueError(f"has labels that are not integers from 0 to {num_classes - 1}")
    return np.array(labels, np.uint8)


class _ForbiddenError(ValueError):
    """The pickle asks for something that no batch needs."""


def _check_operations(content: bytes) -> None:
    """Go through a pickle without carrying it out.

    Python's unpickler keeps a table as long as the highest number that a pickle gives to an object: a few
    bytes could fill the memory.
    """
    for count, (operation, argument, _) in enumerate(pickletools.genops(content)):
        if operation.name not in _OPERATIONS:
            raise _ForbiddenError(f"uses the pickle operation {operation.name}, which no batch needs")
        if operation.name in _NUMBERING and argument is not None and argument > count:
            raise _ForbiddenError(f"numbers an object {argument} among {count}, which no batch needs")


class _Array:
    """A substitute for an array: keeps the bytes that the pickle gives it."""

    values: Bytes | None = None

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, is_fortran, data = state
        if not isinstance(dtype, _Dtype) or is_fortran or not isinstance(data, bytes):
            raise ValueError("not an array of uint8, row by row")
        self.values = np.frombuffer(data, np.uint8).reshape(shape)


class _Dtype:
    """A substitute for a data type: that of unsigned bytes, as nothing else is needed."""

    def __init__(self, name: Any, *_: Any) -> None:
        if name not in ("u1", b"u1"):
            raise ValueError("not an array of uint8")

    def __setstate__(self, state: Any) -> None:
        """Ignore byte order and alignment: bytes have none."""


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _encode(text: Any, encoding: Any) -> bytes:
    """Python 3 writes bytes this way in protocols made for Python 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("not bytes written as latin1")
    return text.encode("latin1")


_NUMBERING = {"BINPUT", "LONG_BINPUT"}
_OPERATIONS = (
    _NUMBERING
    | {"PROTO", "FRAME", "MEMOIZE", "BINGET", "LONG_BINGET", "MARK", "STOP"}
    | {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"}
    | {"EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND", "APPENDS"}
    | {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
    | {"NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1"}
    | {"SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES", "SHORT_BINUNICODE", "BINUNICODE"}
)
_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    """Loads no module and finds no name but those of the stand-ins."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _STAND_INS[module_name, global_name]
        except KeyError:
            raise _ForbiddenError(f"asks for {module_name}.{global_name}, which no batch needs") from None


def parse_records(content: bytes, num_records: int, label_bytes: int = 1) -> tuple[Bytes, Bytes]:
    """Take a file apart; nothing is copied.

    Parameters
    ----------
    content : bytes
        Records one after another: a label, then 1024 bytes each of red, green and blue, row by row.
    num_records : int
        How many there must be.
    label_bytes : int
        How many bytes are before the pixels; the last of them is the label.

    Returns
    -------
    images : uint8, shape (num_records, 3, 32, 32)
    labels : uint8, shape (num_records,)

    Raises
    ------
    ValueError
        If the size is not that of so many records.
    """
    record = label_bytes + IMAGE_BYTES
    if len(content) != num_records * record:
        raise ValueError(f"has {len(content)} bytes instead of {num_records * record}")
    records = np.frombuffer(content, np.uint8).reshape(num_records, record)
    return records[:, label_bytes:].reshape(num_records, *IMAGE_SHAPE), records[:, label_bytes - 1]

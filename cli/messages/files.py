"""Gradients and messages in files, as ``encode``, ``decode`` and ``inspect`` read and write them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from qsgd_lab.errors import LabError, MessageError, UsageError
from qsgd_lab.files import read_bytes

message_argument = click.argument("message_file", metavar="MESSAGE", type=click.Path(path_type=Path))
output_option = click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write; - is standard output.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="Chunks are coded in parallel."
)


def load_gradient(path: Path) -> Any:
    """Return the array of a .npy, .npz, .pt or .safetensors file, or of standard input if `path` is ``-``.

    Raises
    ------
    DataMissingError
        If there is no such file.
    UsageError
        If it holds anything but one array of float32 or float16 (bfloat16 is read as float32).
    IntegrityError
        If it is damaged.
    """
    from qsgd_lab.data.foreign_arrays import read_array

    array = read_array(path, "save a gradient there with numpy.save")
    if array.dtype.name not in {"float32", "float16"}:
        raise UsageError(
            f"{path} holds {array.dtype}; only float32, float16 and bfloat16 are encoded; "
            "save gradient.astype('float32') instead"
        )
    return array


def load_message(path: Path) -> Any:
    """Return the bytes of a message, memory-mapped if it is an ordinary file; ``-`` is standard input.

    Raises
    ------
    DataMissingError
        If there is no such file.
    UsageError
        If it cannot be read.
    """
    return read_bytes(path, "make one with qsgd-lab encode")


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with it."""
    try:
        yield
    except MessageError as error:
        raise type(error)(f"{path}: {error}", error.reason) from error
    except LabError as error:
        raise type(error)(f"{path}: {error}") from error

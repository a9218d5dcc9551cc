"""Gradients and messages in files, as ``encode``, ``decode`` and ``inspect`` read and write them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from qsgd_lab.errors import DataMissingError, LabError, UsageError

message_argument = click.argument("message_file", metavar="MESSAGE", type=click.Path(path_type=Path))
output_option = click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The file to write."
)
threads_option = click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="Chunks are coded in parallel."
)


def load_gradient(path: Path) -> Any:
    """Return the array of a .npy file; pickled objects are refused.

    Raises
    ------
    DataMissingError
        If there is no such file.
    UsageError
        If it is not a .npy file of float32 or float16.
    """
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DataMissingError(f"there is no file {path}; save a gradient there with numpy.save") from error
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path} is not a .npy file of numbers; save it with numpy.save") from error
    if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float16):
        raise UsageError(f"{path} does not hold float32 or float16; save gradient.astype('float32') instead")
    return array


def load_message(path: Path) -> Any:
    """Return the bytes of a file, memory-mapped.

    Raises
    ------
    DataMissingError
        If there is no such file.
    UsageError
        If it cannot be read.
    """
    import numpy as np

    try:
        return np.memmap(path, np.uint8, "r") if path.stat().st_size else b""
    except FileNotFoundError as error:
        raise DataMissingError(f"there is no file {path}; make one with qsgd-lab encode") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a file: {error}") from error


def save(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    UsageError
        If the file cannot be made there.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with _made_there(path):
        try:
            with part.open("wb") as file:
                write(file)
            part.replace(path)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


@contextmanager
def _made_there(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}; name a file in a folder that exists"
        ) from error


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with it."""
    try:
        yield
    except LabError as error:
        raise type(error)(f"{path}: {error}") from error

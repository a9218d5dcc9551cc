"""Files that are either there whole or not there: temporary file, fsync, rename."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from qsgd_lab.errors import LabError

TEMPORARY_SUFFIX = ".part"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` so that a crash at any moment leaves the old file, if any, or the new one.

    Parameters
    ----------
    path : Path
        The file to make or replace; its folder must exist.
    content : str or bytes
        Text is written as UTF-8 without newline translation.

    Raises
    ------
    LabError
        If the disk is full or the file cannot be written. Nothing half-written is left then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        _write_through(temporary, content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)  # noqa: PTH105 (the tests stand in for os.replace)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise LabError(
            f"cannot write {path}: {error.strerror or error}; make room or mend the permissions, "
            "then run the same command again"
        ) from error


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers left in `folder`; the caller sees to it that no writer is alive."""
    for leftover in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)


def _write_through(path: Path, data: bytes) -> None:
    """Write and wait until the bytes are on the disk, not only in its cache."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

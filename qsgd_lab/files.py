"""Files that are there whole or not there, and files that a user names: links, pipes, ``-``.

A file is written under a temporary name beside it, ``.NAME.HOST.PID.part``, and then renamed. The name says
which process writes: what a dead process of this host left is removed by the next write of the same file.
"""

from __future__ import annotations

import errno
import io
import os
import re
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from qsgd_lab.errors import DataMissingError, LabError, UsageError

TEMPORARY_SUFFIX = ".part"

#: What standard input and output are called where a file is asked for.
STANDARD_STREAM = Path("-")

#: Bytes of the file's name in its temporary name; a file system allows 255 in all.
_NAME_BYTES = 120
_HOST_LENGTH = 64

#: The folders of open streams, after links.
_DESCRIPTORS = re.compile(r"/proc/[^/]+(/task/[^/]+)?/fd|/dev/fd")

Content = bytes | memoryview | Callable[[IO[bytes]], object]


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
    try:
        replace_whole(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise LabError(
            f"cannot write {path}: {error.strerror or error}; free some space or fix the permissions, "
            "then run the same command again"
        ) from error


def replace_whole(path: Path, content: Content) -> None:
    """Write a file under a temporary name, wait until it is on the disk, and rename it.

    Parameters
    ----------
    path : Path
        A symbolic link is replaced, not followed; see `save`.
    content : bytes, or function of an open binary file
        The bytes, or what writes them.

    Raises
    ------
    OSError
        If the file cannot be written. Nothing half-written is left then.
    """
    remove_stale_temporaries(path)
    temporary = temporary_path(path)
    try:
        with _new_file(temporary) as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 (the tests replace os.replace)
        _sync_folder(path.parent)
    except (Exception, KeyboardInterrupt):
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def temporary_path(path: Path) -> Path:
    """Return the name under which this process writes `path`: ``.NAME.HOST.PID.part`` in its folder."""
    return path.with_name(f"{_temporary_prefix(path)}{os.getpid()}{TEMPORARY_SUFFIX}")


def remove_stale_temporaries(path: Path) -> None:
    """Remove what dead processes of this host left of `path`; those of other hosts may be alive and stay."""
    prefix = _temporary_prefix(path)
    with suppress(OSError):  # a folder that cannot be listed is reported by the write itself
        for name in os.listdir(path.parent):  # noqa: PTH208 (a name may hold glob's characters)
            if not name.startswith(prefix) or not name.endswith(TEMPORARY_SUFFIX):
                continue
            process = name[len(prefix) : -len(TEMPORARY_SUFFIX)]
            if process.isascii() and process.isdigit() and not _is_alive(int(process)):
                path.with_name(name).unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Remove all temporary files in `folder`, also those of other hosts and of earlier naming schemes.

    The caller holds the lock under which they are written, so that no writer is alive.
    """
    for leftover in folder.glob(f"*{TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)


def save(path: Path, content: Content) -> None:
    """Write a file that a user named, whole or not at all; ``-`` is standard output.

    A symbolic link is followed: the file it points to is replaced, and the link stays. A file that is
    replaced keeps its permissions.

    Parameters
    ----------
    path : Path
    content : bytes, or function of an open binary file
        The bytes, or what writes them. The function may only write, not seek.

    Raises
    ------
    UsageError
        If `path` is a folder, a pipe, a device, a socket or an open stream (``/dev/stdout``), or if no file
        can be made there.
    OSError
        If the disk is full, or nobody reads standard output.
    """
    if path == STANDARD_STREAM:
        _write_to_standard_output(content)
        return
    target = _ordinary_target(path)
    with _cannot_write(path):
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None

        def write(file: IO[bytes]) -> None:
            if mode is not None and hasattr(os, "fchmod"):  # Windows has it since Python 3.13
                os.fchmod(file.fileno(), mode)
            if callable(content):
                content(file)
            else:
                file.write(content)

        replace_whole(target, write)


def check_place(path: Path) -> None:
    """Try, before the work is done, that `save` can write a file.

    Raises
    ------
    UsageError
        If it cannot: see `save`.
    """
    if path == STANDARD_STREAM:
        return
    target = _ordinary_target(path)
    probe = temporary_path(target)
    with _cannot_write(path):
        _new_file(probe).close()
        probe.unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Make a folder that a user named, with its parents, and try that files can be written in it.

    Raises
    ------
    UsageError
        If they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make the folder {folder}: {error.strerror or error}; name another folder"
        ) from error
    probe = temporary_path(folder / "probe")
    with _cannot_write(folder):
        _new_file(probe).close()
        probe.unlink(missing_ok=True)


def read_bytes(path: Path, hint: str = "name a file that exists") -> Any:
    """Return the bytes of a file that a user named: memory-mapped if it is ordinary, read to its end if not.

    Parameters
    ----------
    path : Path
        An ordinary file, a pipe such as ``<(command)``, or ``-`` for standard input.
    hint : str
        What to do if there is no such file.

    Returns
    -------
    numpy.memmap of uint8, shape (size,), or bytes

    Raises
    ------
    DataMissingError
        If there is no such file.
    UsageError
        If it is a folder or a device, or cannot be read.
    """
    import numpy as np

    try:
        if path == STANDARD_STREAM:
            if sys.stdin is None:
                raise UsageError("standard input is closed; name a file in place of -")
            return sys.stdin.buffer.read()
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            # An empty file cannot be mapped; files of /proc say that they are empty and are not.
            return np.memmap(path, np.uint8, "r") if path.stat().st_size else path.read_bytes()
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            return path.read_bytes()
    except FileNotFoundError as error:
        raise DataMissingError(f"there is no file {path}; {hint}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} cannot be read as a file: {reason}") from error
    raise UsageError(f"{path} is {_kind(mode)}; name an ordinary file, a pipe, or - for standard input")


def open_bytes(data: Any) -> Any:
    """Return what `read_bytes` gave as a file that can seek; mapped bytes are not copied."""
    return io.BytesIO(data) if isinstance(data, bytes) else _MappedFile(data)


class _MappedFile(io.RawIOBase):
    """A read-only file over an array of bytes."""

    def __init__(self, data: Any) -> None:
        self._data, self._place = memoryview(data), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: len(self._data)}[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, "a place before the beginning of the file")
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        piece = self._data[self._place : self._place + len(buffer)]
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)


class _OnlyWrite:
    """A file that can only be written: NumPy writes to anything else by its descriptor, and seeks."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.write = stream.write


def _write_to_standard_output(content: Content) -> None:
    stream = sys.stdout.buffer
    if callable(content):
        content(_OnlyWrite(stream))  # type: ignore[arg-type]
    else:
        stream.write(content)
    stream.flush()


def _ordinary_target(path: Path) -> Path:
    """Return the file that a link points to, or the path itself.

    Raises
    ------
    UsageError
        If there is something there that is not an ordinary file, or no folder to make the file in.
    """
    with _cannot_write(path):
        if _is_descriptor(path):
            raise UsageError(
                f"{path} is a stream that is open already; name a file, or - for standard output"
            )
        try:
            mode = path.stat().st_mode  # of what a link points to, and asked first: a pipe has no path
        except FileNotFoundError:
            mode = None
        if mode is not None and not stat.S_ISREG(mode):
            raise UsageError(
                f"{path} is {_kind(mode)}, not an ordinary file; name another, or - with a redirection"
            )
        if mode is not None and not os.access(path, os.W_OK):
            raise PermissionError(0, "the file there is write-protected")
        target = path.resolve()
        if not target.parent.is_dir():
            raise UsageError(
                f"cannot write {path}: there is no folder {target.parent}; "
                "name a file in a folder that exists"
            )
    return target


def _is_descriptor(path: Path) -> bool:
    """Return whether a path names an open stream, as ``/dev/stdout`` and links to it do.

    Replacing the file behind a redirection would lose what ``>>`` was to keep.
    """
    for _ in range(40):  # links in a circle are reported by whoever follows them
        folder = os.path.realpath(path.parent)
        if _DESCRIPTORS.fullmatch(folder):
            return True
        if not path.is_symlink():
            return False
        path = Path(folder, path.readlink())
    return False


@contextmanager
def _cannot_write(path: Path) -> Iterator[None]:
    """Say in one line why a file cannot be written; a full disk is left to the caller."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot write {path}: {reason}; name a file in a folder that exists") from error
    except OSError as error:
        import errno

        if error.errno not in {errno.ELOOP, errno.ENAMETOOLONG, errno.EROFS, errno.EINVAL}:
            raise
        raise UsageError(f"cannot write {path}: {error.strerror}; name a file somewhere else") from error


def _kind(mode: int) -> str:
    kinds = {
        stat.S_ISDIR: "a folder",
        stat.S_ISFIFO: "a pipe",
        stat.S_ISSOCK: "a socket",
        stat.S_ISCHR: "a device",
        stat.S_ISBLK: "a device",
    }
    return next((name for test, name in kinds.items() if test(mode)), "no file")


def _temporary_prefix(path: Path) -> str:
    name = os.fsdecode(os.fsencode(path.name)[:_NAME_BYTES])
    host = re.sub(r"[^A-Za-z0-9_-]", "_", socket.gethostname())[:_HOST_LENGTH] or "localhost"
    return f".{name}.{host}."


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # there, signal 0 is Ctrl-C
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _new_file(path: Path) -> IO[bytes]:
    """Open a file that is not there yet: a link that somebody put at this name is not followed."""
    path.unlink(missing_ok=True)
    only_here = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)  # the second is Windows'
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | only_here, 0o666), "wb")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where folders can be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Standard output: UTF-8 in every locale; it may be closed, a pipe whose reader leaves, or a full disk."""

from __future__ import annotations

import errno
import io
import os
import select
import sys


class ReaderGoneError(Exception):
    """Whoever read our standard output has stopped reading, as ``head`` does."""


def prepare_stdout() -> None:
    """Make standard output take every character, and exist; called once, before any command.

    It is written as UTF-8, as a file would be, also where the locale has eight bits; bytes of file names that
    are not UTF-8 come out as they are. A standard stream that is closed is replaced by the null device: files
    that are opened later would get its number, and would receive what is printed.
    """
    for descriptor in range(3):
        if not _is_open(descriptor):
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a test's buffer may be another kind
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def cannot_be_written(error: BaseException) -> bool:
    """Return whether an error says that standard output is not open for writing, as after ``1</dev/null``."""
    return isinstance(error, OSError) and error.errno == errno.EBADF and not _is_writable()


def _is_writable() -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        mode = fcntl.fcntl(sys.stdout.fileno(), fcntl.F_GETFL) & os.O_ACCMODE
    except (OSError, ValueError):
        return False
    return mode != os.O_RDONLY


def reader_is_gone() -> bool:
    """Return whether standard output is a pipe that nobody reads."""
    try:
        descriptor = sys.stdout.fileno()
    except io.UnsupportedOperation:  # a test's buffer
        return False
    if not hasattr(select, "poll"):  # Windows: the next write tells
        return False
    poll = select.poll()
    poll.register(descriptor, 0)  # errors and hang-ups are reported without being asked for
    return bool(poll.poll(0))


def flush_stdout() -> None:
    """Write out what is buffered.

    Raises
    ------
    ReaderGoneError
        If standard output is a pipe that nobody reads.
    OSError
        If it cannot be written for another reason, such as a full disk.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGoneError from None
    except OSError as error:
        if cannot_be_written(error):
            raise ReaderGoneError from None
        raise


def discard_stdout() -> None:
    """Send what is still buffered nowhere.

    Otherwise the interpreter writes the same bytes again when it exits, and complains again.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""Standard output that may be a pipe whose reader leaves, or a disk that is full."""

from __future__ import annotations

import io
import os
import select
import sys


class ReaderGoneError(Exception):
    """Whoever read our standard output has stopped reading, as ``head`` does."""


def reader_is_gone() -> bool:
    """Return whether standard output is a pipe that nobody reads."""
    try:
        descriptor = sys.stdout.fileno()
    except io.UnsupportedOperation:  # a test's buffer
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


def discard_stdout() -> None:
    """Send what is still buffered nowhere.

    Otherwise the interpreter writes the same bytes again when it exits, and complains again.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""The bytes of a download so far: appended as they come, renamed when they are all there and right."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from qsgd_lab.data.download.fingerprint import Fingerprint, measure
from qsgd_lab.errors import DataMissingError

SUFFIX = ".part"


class PartialFile:
    """``NAME.part`` beside the file it is to become.

    What has come stays there when a transfer breaks off or the process is killed, so that the next one goes
    on. Every method that touches the disk raises `DataMissingError` if the disk refuses: full, or read-only.

    Parameters
    ----------
    target : Path
        The file to be made.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + SUFFIX)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the right to write it against other processes; makes the folder.

        Raises
        ------
        DataMissingError
            If another process has the right, or nothing can be written there.
        """
        # The lock's file is never deleted: another process may be about to lock it.
        # Nor may it be a plain file where the file system has no locks: that would outlive a killed process.
        lock = FileLock(self.target.with_name(f".{self.target.name}.lock"), fallback_to_soft=False)
        with self._explained():
            self.target.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(blocking=False)
            except Timeout:  # an OSError too
                raise DataMissingError(
                    f"another process is fetching {self.target}; wait until it has ended"
                ) from None
        try:
            yield
        finally:
            lock.release()

    def size(self) -> int:
        """Return how many bytes have come."""
        return self.path.stat().st_size if self.path.exists() else 0

    def ensure_space(self, num_bytes: int) -> None:
        """Check that the disk has space for what is still to come of `num_bytes`."""
        needed, free = num_bytes - self.size(), shutil.disk_usage(self.target.parent).free
        if needed > free:
            raise DataMissingError(
                f"{self.target} needs {needed} bytes more and its disk has {free}; free some space, or name "
                "another folder with --data-dir"
            )

    @contextmanager
    def appending(self, offset: int) -> Iterator[Callable[[bytes], None]]:
        """Cut off what is behind `offset`, and give a function that appends bytes."""
        with self._explained():
            file = self.path.open("ab", buffering=0)

        def append(data: bytes) -> None:
            rest = memoryview(data)
            with self._explained():
                while rest:
                    rest = rest[file.write(rest) :]

        with file:
            if self.size() != offset:
                file.truncate(offset)
            yield append

    def measure(self) -> Fingerprint:
        """Return the fingerprint of what has come."""
        with self._explained(), self.path.open("rb") as file:
            return measure(file)

    def discard(self) -> None:
        """Forget what has come."""
        with self._explained():
            self.path.unlink(missing_ok=True)

    def publish(self) -> None:
        """Give the file its name, once its bytes are on the disk and not only in a cache."""
        with self._explained():
            _sync(self.path)
            self.path.replace(self.target)
            _sync(self.target.parent)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataMissingError(
                f"cannot write {self.target}: {error.strerror or error}; free some space, or name a folder "
                "that is writable with --data-dir or QSGD_LAB_DATA"
            ) from error


def _sync(path: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

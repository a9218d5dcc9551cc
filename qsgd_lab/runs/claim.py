"""The right to run a cell: a lock between processes that the system takes back when its holder dies."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from qsgd_lab.errors import LabError


class Claim:
    """A cell's lock, held until the end of the ``with`` block.

    Lock files are never deleted: unlinking one that another process is about to lock would let two processes
    hold the same cell.
    """

    def __init__(self, lock: FileLock) -> None:
        self._lock = lock

    @classmethod
    def take(cls, path: Path) -> Claim | None:
        """Take the lock file at `path` without waiting; None if another holds it.

        Raises
        ------
        LabError
            If the lock file cannot be made or locked at all.
        """
        # Any thread of the holder may give it back. Where the file system has no locks, a lock that is a mere
        # file would outlive its holder, and the sweep would wait for ever: an error says it instead.
        lock = FileLock(path, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return None
        except OSError as error:
            raise LabError(
                f"cannot lock {path}: {error.strerror or error}; the runs folder must be writable, on a file "
                "system with locks"
            ) from error
        return cls(lock)

    def release(self) -> None:
        """Give the cell back."""
        self._lock.release()

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

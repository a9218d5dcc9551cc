"""The right to run a cell: a lock between processes that the system takes back when its holder dies.

On file systems without such locks: a lease, which its holder renews and others take when it is not, or
nothing, where the cells were divided beforehand. Either way no result can be wrong: a record is a function of
its configuration and appears whole. Two holders of one cell waste the time of one.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from filelock import BaseFileLock, FileLock, LeaseSettingsMismatch, SoftFileLease, Timeout

from qsgd_lab.errors import LabError, UsageError

#: How cells are claimed: ``flock``, ``lease`` or ``none``; worker processes read it as well.
LOCKS_VARIABLE = "QSGD_LAB_LOCKS"
LOCKS = ("flock", "lease", "none")

#: After so long without a renewal a lease is free, by the clock of who wants it.
LEASE_S = 60.0

#: Leases that this process has asked for: how long one was not renewed is seen between two questions.
_leases: dict[Path, SoftFileLease] = {}

#: Lease files that name no holder, as they are and since when: a crash or a full disk leaves an empty one.
_nameless: dict[Path, tuple[tuple[int, int], float]] = {}


class Claim:
    """A cell's lock, held until the end of the ``with`` block.

    Lock files are never deleted: unlinking one that another process is about to lock would let two processes
    hold the same cell.
    """

    def __init__(self, lock: BaseFileLock | None) -> None:
        self._lock = lock

    @classmethod
    def take(cls, path: Path) -> Claim | None:
        """Take the lock file at `path` without waiting; None if another holds it.

        Raises
        ------
        LabError
            If the lock file cannot be made or locked at all.
        UsageError
            If `LOCKS_VARIABLE` names no kind of lock.
        """
        lock = _lock(path)
        if lock is None:
            return cls(None)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            if isinstance(lock, SoftFileLease):
                _remove_nameless(path.with_suffix(".lease"))
            return None
        except LeaseSettingsMismatch as error:
            raise LabError(
                f"cannot lock {path}: its lease was made for another time than {LEASE_S:g} s; use one "
                f"version of qsgd-lab on all machines, or delete the lease when nobody runs the cell"
            ) from error
        except OSError as error:
            raise LabError(
                f"cannot lock {path}: {error.strerror or error}; the runs folder must be writable, on a file "
                f"system with locks, or give --locks lease"
            ) from error
        return cls(lock)

    def release(self) -> None:
        """Give the cell back."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _remove_nameless(path: Path) -> None:
    """Remove a lease file that names no holder and has not changed for as long as a lease lasts.

    No holder renews it, and filelock leaves it where it is.
    """
    with suppress(OSError):
        # Other files, and those that are half written, filelock itself takes when they are old.
        if path.read_bytes()[:9] == b"filelock/":
            _nameless.pop(path, None)
            return
        found = path.stat()
        seen, since = _nameless.get(path, (None, 0.0))
        now, state = time.monotonic(), (found.st_ino, found.st_mtime_ns)
        if seen != state:
            _nameless[path] = state, now
        elif now - since >= LEASE_S:
            del _nameless[path]
            path.unlink()


def _lock(path: Path) -> BaseFileLock | None:
    kind = os.environ.get(LOCKS_VARIABLE, "flock")
    if kind == "none":
        return None
    if kind == "lease":
        lease = path.with_suffix(".lease")
        if lease not in _leases:
            _leases[lease] = SoftFileLease(lease, lease_duration=LEASE_S, thread_local=False)
        return _leases[lease]
    if kind != "flock":
        raise UsageError(f"{LOCKS_VARIABLE} is {kind!r}; it must be one of: {', '.join(LOCKS)}")
    # Any thread of the holder may give it back. Where the file system has no locks, a lock that is a mere
    # file would outlive its holder, and the sweep would wait for ever: an error says it instead.
    return FileLock(path, thread_local=False, fallback_to_soft=False)

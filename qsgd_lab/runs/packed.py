"""A packed store: one file of finished runs, a line a run, its epochs inside.

A line is the content of run.json with one field more, ``epochs``: the lines of epochs.jsonl as a list, or
null where that file is missing. The lines are in the order of their keys, the names in each are sorted, and
there are no spaces, so that the same runs always give the same bytes. A file that was put together with
``cat``, in any order, is read as well.

The reader trusts nothing: a line that is not a sound run is set aside with the reason and its number, and the
others are read.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from qsgd_lab.errors import IntegrityError
from qsgd_lab.runs import validation
from qsgd_lab.runs.epochs import EpochRecord, check_epochs, epochs_of
from qsgd_lab.runs.record import MAX_RECORD_BYTES, RunRecord

SUFFIX = ".jsonl"

KEY_PATTERN = re.compile(r"[0-9a-f]{12}")

#: run.json and epochs.jsonl may have `MAX_RECORD_BYTES` each.
MAX_LINE_BYTES = 2 * MAX_RECORD_BYTES

#: A file of another kind may have millions of lines; so many reasons are enough.
MAX_NAMED = 100


@dataclass(frozen=True)
class StoredRun:
    """A finished run as a line of a packed store holds it.

    Attributes
    ----------
    record : RunRecord
    epoch_lines : tuple of dict or None
        The lines of its epochs.jsonl, sound, with whatever flat fields they have; None without that file.
    """

    record: RunRecord
    epoch_lines: tuple[dict[str, Any], ...] | None

    @classmethod
    def checked(cls, record: RunRecord, epoch_lines: list[Any] | None) -> StoredRun:
        """Hold parsed epochs to their run.

        Raises
        ------
        ValueError
            If the epochs are damaged, or are not those of the record.
        """
        if epoch_lines is None:
            return cls(record, None)
        check_epochs(epochs_of(epoch_lines), record)
        return cls(record, tuple(epoch_lines))

    @property
    def epochs(self) -> tuple[EpochRecord, ...] | None:
        """The epochs, the first first; None without epochs.jsonl."""
        return None if self.epoch_lines is None else epochs_of(self.epoch_lines)


@dataclass(frozen=True)
class PackedFile:
    """What a packed store holds.

    Attributes
    ----------
    runs : dict of str to StoredRun
        The sound runs by their key, in the order of their lines.
    damaged : tuple of IntegrityError
        One a line that is not a sound run, or that contradicts an earlier line of the same key; the first
        `MAX_NAMED` of them.
    num_damaged : int
        How many there are.
    """

    runs: dict[str, StoredRun]
    damaged: tuple[IntegrityError, ...]
    num_damaged: int


def pack(runs: Iterable[StoredRun]) -> bytes:
    """Return the bytes of a packed store.

    Raises
    ------
    ValueError
        If two runs have the same key, or one is too long for a line.
    """
    lines = {}
    for run in runs:
        document = run.record.to_document() | {"epochs": run.epoch_lines}
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
        if run.record.key in lines:
            raise ValueError(f"two runs have the key {run.record.key}")
        if len(text) > MAX_LINE_BYTES:
            raise ValueError(f"the run {run.record.key} is too long for a line")
        lines[run.record.key] = text.encode() + b"\n"
    return b"".join(lines[key] for key in sorted(lines))


def read_packed(path: Path) -> PackedFile:
    """Read a packed store, line by line.

    Two lines of one key whose configuration, status and result are equal are the same run: the first is used.

    Raises
    ------
    OSError
        If `path` is not a regular file or cannot be read.
    """
    # Checked before it is opened: opening a named pipe would wait for a writer for ever.
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("not a regular file")
    runs: dict[str, StoredRun] = {}
    places: dict[str, int] = {}
    damaged: list[IntegrityError] = []
    num_damaged = 0
    with path.open("rb") as file:
        for number, line in _lines(file):
            try:
                run = _run(line)
                key = run.record.key
                if not contradict(runs.setdefault(key, run).record, run.record):
                    places.setdefault(key, number)
                    continue
                reason = f"it contradicts line {places[key]}, which is of the same run {key} and is used"
            except ValueError as error:
                reason = str(error)
            num_damaged += 1
            if num_damaged <= MAX_NAMED:
                words = f"line {number} of {path} is not a sound run: {reason}; delete the line"
                damaged.append(IntegrityError(words))
    return PackedFile(runs, tuple(damaged), num_damaged)


class PackedFiles:
    """Packed files as they were when they were last read: one that has changed since is read again."""

    def __init__(self) -> None:
        self._files: dict[Path, tuple[tuple[int, ...], PackedFile]] = {}

    def read(self, path: Path) -> PackedFile | None:
        """Return what a packed file holds; None where it is gone. A file that cannot be read is damaged."""
        try:
            now = path.stat()
            state = (now.st_ino, now.st_size, now.st_mtime_ns)
            if path not in self._files or self._files[path][0] != state:
                self._files[path] = state, read_packed(path)
        except FileNotFoundError:  # replaced or moved a moment ago
            return None
        except OSError as error:
            reason = error.strerror or error
            unread = IntegrityError(f"{path} cannot be read: {reason}; name or move it another way")
            return PackedFile({}, (unread,), 1)
        return self._files[path][1]


def contradict(one: RunRecord, other: RunRecord) -> bool:
    """Return whether two records of one key differ in more than time, machine and later versions' fields."""
    shared = one.result.keys() & other.result.keys()
    same = all(one.result.get(name) == other.result.get(name) for name in shared)
    return not same or (one.config, one.status) != (other.config, other.status)


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Iterate over number and bytes of the lines that are not blank; None for a line that is far too long."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) <= MAX_LINE_BYTES:
            if not line.isspace():
                yield number, line
            continue
        while line and not line.endswith(b"\n"):  # passed over in pieces: memory does not grow with it
            line = file.readline(MAX_LINE_BYTES)
        yield number, None


def _run(line: bytes | None) -> StoredRun:
    if line is None:
        raise ValueError("it is far too long")
    try:
        document = validation.parse_json(line.decode().rstrip())
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error.msg}, character {error.pos + 1})") from None
    if not isinstance(document, dict) or "epochs" not in document:
        raise ValueError("it is not an object with the fields of a run")
    epoch_lines = document.pop("epochs")
    if epoch_lines is not None and not isinstance(epoch_lines, list):
        raise ValueError("its epochs must be a list or null")
    record = RunRecord.from_document(document)
    if not KEY_PATTERN.fullmatch(record.key):
        raise ValueError("its key is not 12 hexadecimal digits")
    try:
        return StoredRun.checked(record, epoch_lines)
    except ValueError as error:
        raise ValueError(f"in its epochs, {error}") from None

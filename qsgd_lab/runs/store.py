"""The stored runs: a folder with a folder a configuration, whose run.json appears, whole, when the run ended.

::

    RUNS/.locks/<key>.lock       held by the process that computes the cell
    RUNS/<key>/checkpoint.npz    belongs to the training code while the run lasts
    RUNS/<key>/error.log         tracebacks of attempts that failed
    RUNS/<key>/epochs.jsonl      a line an epoch, written just before run.json
    RUNS/<key>/run.json          the record: a cell is done if and only if this is here, or a line of
    RUNS/*.jsonl                 packed stores (`qsgd_lab.runs.packed`), which are only read

A packed store may also be read by itself, without a folder. Where a run is in a folder and in a packed store,
the folder's is used.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from qsgd_lab.errors import IntegrityError, LabError, UsageError
from qsgd_lab.files import remove_temporaries, write_atomically
from qsgd_lab.runs.claim import Claim
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.contents import StoreContents
from qsgd_lab.runs.epochs import EpochRecord, parse_lines, write_lines
from qsgd_lab.runs.packed import KEY_PATTERN, SUFFIX, PackedFile, PackedFiles, StoredRun, contradict
from qsgd_lab.runs.record import MAX_RECORD_BYTES, RunOutcome, RunRecord, finite


class RunStore:
    """The runs of one folder or packed file. Opening a store reads and makes nothing.

    Parameters
    ----------
    path : path-like
        The folder, RUNS, which the first claim makes; or a packed file, to be read only.

    Raises
    ------
    UsageError
        If `path` is there but is neither a folder nor an ordinary file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._packed_files = PackedFiles()
        if self.path.exists() and not (self.path.is_dir() or self.path.is_file()):
            raise UsageError(f"{self.path} is neither a folder nor a file; name a folder of runs")

    @property
    def is_file(self) -> bool:
        """Whether the path is, or by its name would be, a packed file, which takes no new runs."""
        return self.path.is_file() or (self.path.suffix == SUFFIX and not self.path.is_dir())

    def ensure_writable(self) -> None:
        """Make the folder if need be, and try that runs can be written there.

        Raises
        ------
        UsageError
            If they cannot.
        """
        if self.is_file:
            raise UsageError(
                f"{self.path} is a file, and new runs need a folder; put a packed file into a folder, name "
                "that, and the runs in the file are not repeated"
            )
        probe = self._locks / ".probe"
        try:
            self._locks.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot write in {self.path}: {error.strerror or error}; name a folder that is writable"
            ) from error

    def folder(self, run: RunConfig | str) -> Path:
        """Return the folder of a configuration or key, whether it is there or not."""
        return self.path / _key(run)

    def record_path(self, run: RunConfig | str) -> Path:
        """Return where the record of a finished run is."""
        return self.folder(run) / "run.json"

    def epochs_path(self, run: RunConfig | str) -> Path:
        """Return where a finished run has its line an epoch."""
        return self.folder(run) / "epochs.jsonl"

    def checkpoint_path(self, run: RunConfig | str) -> Path:
        """Return where the training code keeps what a killed run resumes from."""
        return self.folder(run) / "checkpoint.npz"

    def error_log_path(self, run: RunConfig | str) -> Path:
        """Return where the tracebacks of failed attempts are appended."""
        return self.folder(run) / "error.log"

    def record(self, run: RunConfig | str) -> RunRecord | None:
        """Return the record of a configuration or key, None if there is none or it is stale.

        Raises
        ------
        IntegrityError
            If there is a record but it is damaged, or is not that of the folder or configuration.
        """
        path = self.record_path(run)
        record = self._read(path)
        if record is None:
            path, stored = self._find_packed(_key(run))
            record = None if stored is None else stored.record
        if record is None or isinstance(run, str):
            return None if record is None or record.is_stale else record
        if record.config != run.canonical():
            raise _damaged(path, "it was made for another configuration")
        return record

    def records(self) -> Iterator[RunRecord]:
        """Iterate over the records that are not stale, in the order of their keys.

        Raises
        ------
        IntegrityError
            At the first damaged record.
        """
        return (record for record in self.all_records() if not record.is_stale)

    def all_records(self) -> Iterator[RunRecord]:
        """Iterate over all records, also those made with other component versions; see `records`."""
        contents = self.read()
        if contents.damaged:
            raise contents.damaged[0]
        yield from contents.records

    def read(self) -> StoreContents:
        """Read all records, and skip those that are damaged."""
        records: dict[str, RunRecord | None] = {}  # None: damaged, and not taken from a packed store either
        damaged: list[IntegrityError] = []
        unnamed = 0
        for key in self._keys_of_folders():
            try:
                record = self._read(self.record_path(key))
            except IntegrityError as error:
                damaged.append(error)
                records[key] = None
                continue
            if record is not None:
                records[key] = record
        for path, packed in self._packed():
            damaged += packed.damaged
            unnamed += packed.num_damaged - len(packed.damaged)
            for key, stored in packed.runs.items():
                used = records.setdefault(key, stored.record)
                if used is not None and contradict(used, stored.record):
                    damaged.append(_damaged(path, f"its run {key} contradicts that of {self._place(key)}"))
        sound = {key: record for key, record in records.items() if record is not None}
        ordered = tuple(sound[key] for key in sorted(sound))
        return StoreContents(ordered, tuple(damaged), len(damaged) + unnamed)

    def unfinished(self) -> tuple[str, ...]:
        """Return the keys, sorted, of the folders of runs that have no record, nor a packed one."""
        without = [key for key in self._keys_of_folders() if not self.record_path(key).exists()]
        return tuple(key for key in without if self._find_packed(key)[1] is None)

    def stored(self, record: RunRecord) -> StoredRun:
        """Return a finished run with its epochs.

        Raises
        ------
        IntegrityError
            If its epochs are damaged, or are not as many as the record says.
        """
        if not self.record_path(record.key).exists():
            _, packed = self._find_packed(record.key)
            if packed is not None:
                return packed
        path = self.epochs_path(record.key)
        try:
            return StoredRun.checked(record, parse_lines(_read_regular_file(path)))
        except (FileNotFoundError, NotADirectoryError):
            return StoredRun(record, None)
        except (ValueError, OSError) as error:
            raise IntegrityError(
                f"{path} is not sound: {error}; delete the folder {path.parent.name}, and the run is redone"
            ) from error

    def epochs(self, record: RunRecord) -> tuple[EpochRecord, ...] | None:
        """Return the epochs of a finished run, the first first; None if its epochs.jsonl is not there.

        Raises
        ------
        IntegrityError
            See `stored`.
        """
        return self.stored(record).epochs

    def all_epochs(
        self, records: Sequence[RunRecord]
    ) -> tuple[dict[str, tuple[EpochRecord, ...]], tuple[IntegrityError, ...]]:
        """Return the epochs of runs by key, as far as they are there and sound, and an error a damaged one.

        Raises
        ------
        IntegrityError
            If some are there, but all of them are damaged.
        """
        found: dict[str, tuple[EpochRecord, ...]] = {}
        damaged: list[IntegrityError] = []
        for record in records:
            try:
                epochs = self.epochs(record)
            except IntegrityError as error:
                damaged.append(error)
                continue
            if epochs is not None:
                found[record.key] = epochs
        if damaged and not found:
            raise damaged[0]
        return found, tuple(damaged)

    def claim(self, run: RunConfig | str) -> Claim | None:
        """Take the right to run a cell, as a context manager; None if another process has it.

        What an earlier, killed holder left half-written is removed; its checkpoint stays.

        Raises
        ------
        LabError
            If the cell's folder or lock cannot be made.
        """
        self.ensure_writable()
        claim = Claim.take(self._lock_path(run))
        if claim is None:
            return None
        try:
            self.folder(run).mkdir(exist_ok=True)
            remove_temporaries(self.folder(run))
        except OSError as error:
            claim.release()
            raise LabError(f"cannot use {self.folder(run)}: {error.strerror or error}") from error
        return claim

    def is_claimed(self, config: RunConfig) -> bool:
        """Return whether some process is running the cell now."""
        if not self._lock_path(config).exists():
            return False
        claim = Claim.take(self._lock_path(config))
        if claim is None:
            return True
        claim.release()
        return False

    def write(
        self, config: RunConfig, outcome: RunOutcome, environment: Mapping[str, str | float | bool | None]
    ) -> RunRecord:
        """Write a finished run, epochs first, then the record, each atomically, and drop its checkpoint.

        The caller holds the cell's claim. Numbers that are not finite become null.

        Raises
        ------
        LabError
            If the disk is full or the folder not writable; the cell then counts as not run.
        ValueError
            If the outcome is not one that a record may hold.
        """
        document = RunRecord(
            key=config.key,
            status=outcome.status,
            config=config.canonical(),
            result=finite(outcome.result),
            timing=outcome.timing,
            environment=dict(environment),
        ).to_json()
        record = RunRecord.from_json(document)  # what could not be read again must not be written
        write_atomically(self.epochs_path(config), write_lines(map(finite, outcome.epochs)))
        write_atomically(self.record_path(config), document)
        self.discard_checkpoint(config)
        return record

    def add(self, run: StoredRun) -> bool:
        """Write a run that was made elsewhere into a folder of its own; return whether it was not there yet.

        Raises
        ------
        IntegrityError
            If the folder's run is damaged, or contradicts this one.
        LabError
            If the folder cannot be written, or a process is running the cell now.
        """
        key = run.record.key
        claim = self.claim(key)
        if claim is None:
            raise LabError(f"the run {key} is being made in {self.path}; wait until it is finished")
        with claim:
            there = self._read(self.record_path(key))
            if there is not None:
                if contradict(there, run.record):
                    raise _damaged(self.record_path(key), "it contradicts the run that is to be added")
                return False
            if run.epoch_lines is not None:
                write_atomically(self.epochs_path(key), write_lines(run.epoch_lines))
            write_atomically(self.record_path(key), run.record.to_json())
        return True

    def discard_checkpoint(self, config: RunConfig) -> None:
        """Remove the checkpoint of a finished run."""
        with suppress(NotADirectoryError):  # a packed file has none
            self.checkpoint_path(config).unlink(missing_ok=True)

    @property
    def _locks(self) -> Path:
        return self.path / ".locks"

    def _lock_path(self, run: RunConfig | str) -> Path:
        return self._locks / f"{_key(run)}.lock"

    def _keys_of_folders(self) -> list[str]:
        if not self.path.is_dir():
            return []
        return sorted(entry.name for entry in self.path.iterdir() if KEY_PATTERN.fullmatch(entry.name))

    def _packed(self) -> Iterator[tuple[Path, PackedFile]]:
        """Iterate over the packed files and what they hold, by name."""
        paths = [self.path] if self.path.is_file() else []
        if self.path.is_dir():
            names = (name for name in os.listdir(self.path) if name.endswith(SUFFIX))  # noqa: PTH208
            paths = [self.path / name for name in sorted(names) if not name.startswith(".")]
        for path in paths:
            if (packed := self._packed_files.read(path)) is not None:
                yield path, packed

    def _find_packed(self, key: str) -> tuple[Path, StoredRun | None]:
        """Return the first packed file that has a run, and the run; None without one."""
        for path, packed in self._packed():
            if key in packed.runs:
                return path, packed.runs[key]
        return self.path, None

    def _place(self, key: str) -> Path:
        """Return where the run of a key is that is used."""
        path = self.record_path(key)
        return path if path.exists() else self._find_packed(key)[0]

    def _read(self, path: Path) -> RunRecord | None:
        try:
            text = _read_regular_file(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _damaged(path, f"it cannot be read ({error.strerror or error})") from error
        try:
            record = RunRecord.from_json(text)
            if record.key != path.parent.name:
                raise ValueError("its key is not the name of its folder")
        except ValueError as error:
            raise _damaged(path, str(error)) from error
        return record


def _key(run: RunConfig | str) -> str:
    key = run if isinstance(run, str) else run.key
    if not KEY_PATTERN.fullmatch(key):
        raise ValueError("a run's key is 12 hexadecimal digits")
    return key


def _damaged(path: Path, reason: str) -> IntegrityError:
    return IntegrityError(
        f"{path} is not a sound record: {reason}; delete it or move it away, and it is redone"
    )


def _read_regular_file(path: Path) -> bytes:
    # Checked before it is opened: opening a named pipe would wait for a writer for ever.
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("not a regular file")
    with path.open("rb") as file:
        data = file.read(MAX_RECORD_BYTES + 1)
    if len(data) > MAX_RECORD_BYTES:
        raise OSError("far too large")
    return data

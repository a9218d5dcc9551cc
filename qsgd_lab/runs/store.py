"""The folder of runs: one folder a configuration, whose run.json appears, whole, when the run has ended.

RUNS/.locks/<key>.lock       held by the process that computes the cell
RUNS/<key>/checkpoint.npz    belongs to the training code while the run lasts
RUNS/<key>/error.log         tracebacks of attempts that failed
RUNS/<key>/epochs.jsonl      a line an epoch, written just before run.json
RUNS/<key>/run.json          the record: a cell is done if and only if this is here
"""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from qsgd_lab.errors import IntegrityError, LabError, UsageError
from qsgd_lab.files import remove_temporaries, write_atomically
from qsgd_lab.runs.claim import Claim
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.runs.epochs import EpochRecord, parse_epochs
from qsgd_lab.runs.record import RunOutcome, RunRecord

KEY_PATTERN = re.compile(r"[0-9a-f]{12}")

#: A record is about 2 KB; a "run.json" much larger than that is something else.
MAX_RECORD_BYTES = 1 << 20

Json = TypeVar("Json")


class RunStore:
    """The runs under one folder. Opening a store reads and makes nothing; the first claim makes the folder.

    Parameters
    ----------
    path : path-like
        The folder, RUNS.

    Raises
    ------
    UsageError
        If `path` is there but is not a folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(
                f"{self.path} is a file; the runs need a folder, one that is there or can be made"
            )

    def ensure_writable(self) -> None:
        """Make the folder if need be, and try that runs can be written there.

        Raises
        ------
        UsageError
            If they cannot.
        """
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
        if not self.path.is_dir():
            return
        for key in sorted(entry.name for entry in self.path.iterdir() if KEY_PATTERN.fullmatch(entry.name)):
            record = self._read(self.record_path(key))
            if record is not None:
                yield record

    def epochs(self, record: RunRecord) -> tuple[EpochRecord, ...] | None:
        """Return the epochs of a finished run, the first first; None if its epochs.jsonl is not there.

        Raises
        ------
        IntegrityError
            If the file is damaged, or has not as many epochs as the record.
        """
        path = self.epochs_path(record.key)
        try:
            epochs = parse_epochs(_read_regular_file(path))
            if len(epochs) != record.result["epochs"]:
                raise ValueError(f"it has {len(epochs)} epochs and its run {record.result['epochs']}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, OSError) as error:
            raise IntegrityError(
                f"{path} is not sound: {error}; delete the folder {path.parent.name}, and the run is redone"
            ) from error
        return epochs

    def claim(self, config: RunConfig) -> Claim | None:
        """Take the right to run a cell, as a context manager; None if another process has it.

        What an earlier, killed holder left half-written is removed; its checkpoint stays.

        Raises
        ------
        LabError
            If the cell's folder or lock cannot be made.
        """
        self.ensure_writable()
        claim = Claim.take(self._lock_path(config))
        if claim is None:
            return None
        try:
            self.folder(config).mkdir(exist_ok=True)
            remove_temporaries(self.folder(config))
        except OSError as error:
            claim.release()
            raise LabError(f"cannot use {self.folder(config)}: {error.strerror or error}") from error
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
            result=_finite(outcome.result),
            timing=outcome.timing,
            environment=dict(environment),
        ).to_json()
        record = RunRecord.from_json(document)  # what could not be read again must not be written
        lines = (json.dumps(_finite(line), sort_keys=True, allow_nan=False) + "\n" for line in outcome.epochs)
        write_atomically(self.epochs_path(config), "".join(lines))
        write_atomically(self.record_path(config), document)
        self.discard_checkpoint(config)
        return record

    def discard_checkpoint(self, config: RunConfig) -> None:
        """Remove the checkpoint of a finished run."""
        self.checkpoint_path(config).unlink(missing_ok=True)

    @property
    def _locks(self) -> Path:
        return self.path / ".locks"

    def _lock_path(self, config: RunConfig) -> Path:
        return self._locks / f"{config.key}.lock"

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


def _finite(value: Json) -> Json:
    """Return a copy of JSON-ready data in which every number that is not finite is None."""
    copy: Any = value
    if isinstance(value, dict):
        copy = {key: _finite(item) for key, item in value.items()}
    elif isinstance(value, list):
        copy = [_finite(item) for item in value]
    elif isinstance(value, float) and not math.isfinite(value):
        copy = None
    return copy  # type: ignore[no-any-return]

"""Blocks of repetitions in the folder of runs: RUNS/<key>/problem.json, whole or not there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from qsgd_lab.errors import IntegrityError, LabError
from qsgd_lab.files import remove_temporaries, write_atomically
from qsgd_lab.runs.claim import Claim
from qsgd_lab.runs.problem_record import ProblemConfig, ProblemRecord
from qsgd_lab.runs.store import RunStore

MAX_BYTES = 1 << 20


class ProblemStore:
    """The problem runs of a folder, beside its training runs, under locks of the same kind.

    Parameters
    ----------
    runs : RunStore
    """

    def __init__(self, runs: RunStore) -> None:
        self._runs = runs

    def record(self, config: ProblemConfig) -> ProblemRecord | None:
        """Return what is stored of a configuration, None if nothing is.

        Raises
        ------
        IntegrityError
            If the file is damaged or belongs to another configuration.
        """
        path = self._runs.path / config.key / "problem.json"
        try:
            with path.open("rb") as file:
                text = file.read(MAX_BYTES + 1)
            if len(text) > MAX_BYTES:
                raise ValueError("it is far too large")
            record = ProblemRecord.from_json(text)
            if record.config != config:
                raise ValueError("it was made for another configuration")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, OSError) as error:
            raise IntegrityError(
                f"{path} is not a sound record: {error}; delete it, and it is redone"
            ) from error
        return record

    def ensure(self, config: ProblemConfig, run: Callable[[ProblemConfig], ProblemRecord]) -> ProblemRecord:
        """Return the stored record, or run the block and store it.

        Where another process has the block at the moment, it is run here as well: the result is the same.

        Raises
        ------
        LabError
            If the folder cannot be written.
        """
        if (record := self.record(config)) is not None:
            return record
        self._runs.ensure_writable()
        folder = self._runs.path / config.key
        with Claim.take(self._runs.path / ".locks" / f"{config.key}.lock") or contextlib.nullcontext():
            record = self.record(config) or run(config)
            try:
                folder.mkdir(exist_ok=True)
                remove_temporaries(folder)
            except OSError as error:
                raise LabError(f"cannot use {folder}: {error.strerror or error}") from error
            write_atomically(folder / "problem.json", record.to_json())
        return record

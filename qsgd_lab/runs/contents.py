"""The contents of a store of runs: the sound records, and what was skipped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qsgd_lab.errors import IntegrityError
from qsgd_lab.runs.record import RunRecord


@dataclass(frozen=True)
class StoreContents:
    """What a store holds.

    Attributes
    ----------
    records : tuple of RunRecord
        The sound ones, stale ones included, in the order of their keys.
    damaged : tuple of IntegrityError
        One a record or line that was skipped, with the reason and what to do; not more than
        `qsgd_lab.runs.packed.MAX_NAMED` for a file.
    num_damaged : int
        How many were skipped.
    """

    records: tuple[RunRecord, ...] = ()
    damaged: tuple[IntegrityError, ...] = ()
    num_damaged: int = 0

    @property
    def warning(self) -> str | None:
        """How many runs were skipped, and the first of them, in one line; None if none were."""
        if not self.damaged:
            return None
        if self.num_damaged == 1:
            return f"skipped 1 damaged run: {self.damaged[0]}"
        return f"skipped {self.num_damaged} damaged runs; the first: {self.damaged[0]}"

    def require_sound(self, path: Path) -> None:
        """Refuse a store of which nothing can be read.

        Raises
        ------
        IntegrityError
            If there are runs, and all of them are damaged.
        """
        if self.damaged and not self.records:
            raise IntegrityError(
                f"none of the {self.num_damaged} runs in {path} can be read; the first: {self.damaged[0]}"
            )

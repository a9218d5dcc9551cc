"""Folders of invented runs, as a sweep leaves them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fake_runs
from hypothesis import strategies as st

from qsgd_lab.runs.record import RunRecord


def epoch_lines(record: RunRecord) -> list[dict[str, Any]]:
    """Return a line for each epoch that a record says was finished."""
    return [
        {"epoch": k, "step": 39 * k, "train_loss": 1.0 / k, "validation_accuracy": 0.1 * (k % 10)}
        for k in range(1, record.result["epochs"] + 1)
    ]


def write_run(folder: Path, record: RunRecord, epochs: list[dict[str, Any]] | None = None) -> Path:
    """Write a run with its epochs (those of `epoch_lines` by default) and return its own folder."""
    own = folder / record.key
    own.mkdir(parents=True, exist_ok=True)
    lines = epoch_lines(record) if epochs is None else epochs
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
    (own / "epochs.jsonl").write_text(text, encoding="utf-8")
    (own / "run.json").write_text(record.to_json(), encoding="utf-8")
    return own


def write_runs(folder: Path, records: Iterable[RunRecord]) -> Path:
    """Write runs with their epochs; return the folder."""
    for record in records:
        write_run(folder, record)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Return the files of the runs in a folder, by their path in it; locks do not belong to a run."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.glob("[0-9a-f]*/*"))
        if path.is_file()
    }


_printable = st.characters(categories=("L", "M", "N", "P", "S"))

#: Some invented runs, of one seed or more, some of which diverged, with all kinds of names.
sweeps = fake_runs.sweeps(st.text(_printable, max_size=8))

#: Fields that a line of epochs may have beside its own.
further = st.dictionaries(
    st.text(_printable, max_size=8).map(lambda name: f"x{name}"),
    st.none() | st.booleans() | st.integers(0, 2**53) | st.floats(0, 1e300),
    max_size=2,
)

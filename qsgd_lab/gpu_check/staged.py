"""Runs the stages one after another, each in a process with a time limit, and writes what they found at once.

A stage's file, ``<name>.json``, is written again after each finding; a stage that hangs, crashes or
raises leaves what it had found, and the next stage runs. A page of all, ``summary.md``, grows with them.
"""

from __future__ import annotations

import json
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsgd_lab.files import write_atomically

FINE, FAILED, LATE, CRASHED = "fine", "failed", "out of time", "crashed"
FULL_MINUTES = 10
Record = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """A stage: its name, its limit in seconds of a check of ten minutes, and what yields its findings."""

    name: str
    seconds: int
    run: Callable[[Any], Iterator[dict[str, Any]]]


def file_of(stage: Stage, folder: Path) -> Path:
    """Return where a stage writes."""
    return folder / f"{stage.name}.json"


def perform(stage: Stage, how: Any, folder: Path) -> bool:
    """Run a stage in this process, writing after each finding; return whether nothing failed."""
    record: Record = {"stage": stage.name, "status": "begun", "findings": []}
    path, begun = file_of(stage, folder), time.monotonic()
    _write(path, record)
    try:
        for finding in stage.run(how):
            record["findings"].append(finding)
            _write(path, record)
        failed = [finding for finding in record["findings"] if finding.get("failure")]
        record["status"] = FAILED if failed else FINE
    except Exception as error:
        record |= {"status": CRASHED, "error": f"{type(error).__name__}: {error}"[:500]}
        record["traceback"] = traceback.format_exc()[-2000:]
    record["seconds"] = round(time.monotonic() - begun, 1)
    _write(path, record)
    return bool(record["status"] == FINE)


def run_stages(
    command: Callable[[Stage], Sequence[str]],
    folder: Path,
    minutes: float,
    tell: Callable[[str], object],
    env: dict[str, str],
    stages: Sequence[Stage],
) -> list[Record]:
    """Run each stage by a command, within its share of the minutes; return their records.

    Parameters
    ----------
    command : callable
        From a stage to the command that performs it.
    folder : Path
        Where the stages write; made if need be. Files of an earlier run are replaced.
    minutes : float
        The limits are those of a check of ten minutes, scaled.
    tell : callable
        Is given a line after each stage.
    env : dict
        Of the processes.
    stages : sequence of Stage
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for stage in stages:
        path, limit, begun = file_of(stage, folder), stage.seconds * minutes / FULL_MINUTES, time.monotonic()
        path.unlink(missing_ok=True)
        try:
            done = subprocess.run(
                list(command(stage)), env=env, timeout=limit, capture_output=True, text=True, check=False
            )
            status, said = None, (done.stdout + done.stderr)[-2000:]
        except subprocess.TimeoutExpired:
            status, said = LATE, f"ended after {limit:.0f} s"
        record = _read(path, stage)
        if status == LATE or record["status"] in ("begun", "missing"):  # it did not come to its end
            record |= {"status": status or CRASHED, "said": said}
        record["seconds"], record["limit"] = round(time.monotonic() - begun, 1), round(limit, 1)
        _write(path, record)
        records.append(record)
        write_atomically(folder / "summary.md", summary(records))
        tell(f"[{len(records)}/{len(stages)}] {stage.name}: {verdict(record)} ({record['seconds']:.0f} s)")
    return records


def verdict(record: Record) -> str:
    """Return a stage's outcome in a few words."""
    failures = [str(finding["failure"]) for finding in record["findings"] if finding.get("failure")]
    reason = failures[0] if failures else record.get("error") or record.get("said") or ""
    return f"{record['status']}: {reason}" if reason else str(record["status"])


def summary(records: Sequence[Record]) -> str:
    """Return the page of all stages so far."""
    head = "| stage | outcome | seconds | limit | findings |"
    lines = ["# Device check", "", head, "| --- | --- | ---: | ---: | ---: |"]
    for record in records:
        said = " ".join(verdict(record).split()).replace("|", "/")[:160]
        numbers = (record["seconds"], record["limit"], len(record["findings"]))
        lines.append(f"| {record['stage']} | {said} | " + " | ".join(map(str, numbers)) + " |")
    return "\n".join(lines) + "\n"


def _write(path: Path, record: Record) -> None:
    write_atomically(path, json.dumps(record, indent=1) + "\n")


def _read(path: Path, stage: Stage) -> Record:
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"stage": stage.name, "status": "missing", "findings": []}
    return record

"""The result of a submission as JSON, schema 1: what tables and figures are made from, trusted in nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from qsgd_lab.errors import IntegrityError
from qsgd_lab.runs import validation
from qsgd_lab.suite.cells import CellResult
from qsgd_lab.suite.definition import WHOLE, Suite
from qsgd_lab.suite.submission import NAME, Submission

SCHEMA = 1
MOST_BYTES = 1 << 20
#: The stored baselines: of the convex tasks, and of networks.
STORED = ("baselines.jsonl", "network_baselines.jsonl")
STATUSES = ("self-reported", "verified", "baseline")


@dataclass(frozen=True)
class Audit:
    """What the audits of a submission found, beside its cells.

    Attributes
    ----------
    anchors : tuple of dict
        Baselines run again on this machine: task, spec, stored, here, within.
    verification : tuple of dict
        Metrics on seeds that the submission's digest names: task, rung, metric, within.
    """

    anchors: tuple[Mapping[str, Any], ...] = ()
    verification: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Entry:
    """A row of tables: a submission and its cells.

    Attributes
    ----------
    name, title, status : str
    digest : str
        Of the submission; "" for baselines.
    cells : dict of (str, str) to CellResult
        By task and rung.
    missing : dict of str to str
        Reasons, by task, for cells that are not there.
    environment : dict of str to str
    audit : Audit
    """

    name: str
    title: str
    status: str
    cells: Mapping[tuple[str, str], CellResult]
    digest: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    audit: Audit = Audit()

    @property
    def cpu(self) -> float:
        """Processor seconds of all cells."""
        return math.fsum(cell.cpu for cell in self.cells.values())


def entry_of(
    submission: Submission,
    cells: Iterable[CellResult],
    environment: Mapping[str, str],
    *,
    status: str = "self-reported",
    digest: str = "",
    missing: Mapping[str, str] | None = None,
    audit: Audit | None = None,
) -> Entry:
    """Return the row of a submission."""
    by_place = {(cell.task, cell.rung): cell for cell in cells}
    return Entry(
        submission.name,
        submission.title,
        status,
        by_place,
        digest,
        missing or {},
        environment,
        audit or Audit(),
    )


def to_json(entry: Entry, suite: Suite) -> str:
    """Return one line of JSON, names sorted; a metric that is not finite is null."""
    document = {
        "schema": SCHEMA,
        "suite": suite.name,
        "suite_digest": suite.digest,
        "name": entry.name,
        "title": entry.title,
        "status": entry.status,
        "digest": entry.digest,
        "environment": dict(entry.environment),
        "missing": dict(entry.missing),
        "cells": [_cell_document(entry.cells[place]) for place in sorted(entry.cells)],
        "anchors": [dict(anchor) for anchor in entry.audit.anchors],
        "verification": [dict(each) for each in entry.audit.verification],
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cell_document(cell: CellResult) -> dict[str, Any]:
    return {
        "task": cell.task,
        "rung": cell.rung,
        "spec": cell.spec,
        "tried": [[scale, _finite(value)] for scale, value in cell.tried],
        "scale": cell.scale,
        "metric": [_finite(value) for value in cell.metric],
        "sent": cell.sent,
        "received": cell.received,
        "rounds": cell.rounds,
        "aggregates": cell.aggregates,
        "cpu": cell.cpu,
        "keys": list(cell.keys),
    }


_OPTIONAL_NUMBER = validation.optional(validation.number)
_CELL_CHECKS: dict[str, validation.Check] = {
    "task": validation.text,
    "rung": validation.text,
    "spec": validation.text,
    "tried": validation.list_of(validation.list_of(_OPTIONAL_NUMBER)),
    "scale": validation.number,
    "metric": validation.list_of(_OPTIONAL_NUMBER),
    "sent": validation.number,
    "received": validation.number,
    "rounds": validation.count,
    "aggregates": validation.text,
    "cpu": validation.number,
    "keys": validation.list_of(validation.text),
}
_CHECKS: dict[str, validation.Check] = {
    "schema": validation.count,
    "suite": validation.text,
    "suite_digest": validation.text,
    "name": validation.text,
    "title": validation.text,
    "status": validation.text,
    "digest": validation.text,
    "environment": validation.mapping_of(validation.text),
    "missing": validation.mapping_of(validation.text),
    "cells": validation.list_of(lambda value, name: validation.fields(value, name, _CELL_CHECKS)),
    "anchors": validation.list_of(validation.mapping_of(validation.scalar)),
    "verification": validation.list_of(validation.mapping_of(validation.scalar)),
}


def from_json(text: str | bytes, suite: Suite) -> Entry:
    """Return the row of a result file.

    Raises
    ------
    ValueError
        With the reason: it is not sound, or of another version of the benchmark.
    """
    document = validation.fields(validation.parse_json(text), "the result", _CHECKS)
    if document["schema"] != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}, the one this version reads")
    if document["suite_digest"] != suite.digest:
        raise ValueError(
            f"it is of {document['suite']} with another definition ({document['suite_digest'][:19]}); "
            f"this lab has {suite.name} ({suite.digest[:19]}): run it again"
        )
    if not NAME.fullmatch(document["name"]) or document["status"] not in STATUSES:
        raise ValueError("its name or status is none")
    cells = [_cell(each, suite) for each in document["cells"]]
    places = {(cell.task, cell.rung): cell for cell in cells}
    if len(places) < len(cells):
        raise ValueError("a cell is given twice")
    return Entry(
        document["name"],
        document["title"],
        document["status"],
        places,
        document["digest"],
        document["missing"],
        document["environment"],
        Audit(tuple(document["anchors"]), tuple(document["verification"])),
    )


def _cell(given: Mapping[str, Any], suite: Suite) -> CellResult:
    task = suite.task(given["task"])
    suite.ratio(task, given["rung"])
    if len(given["metric"]) != task.tests:
        raise ValueError(
            f"its cell {task.key} at {given['rung']} has {len(given['metric'])} seeds, not {task.tests}"
        )
    pairs = given["tried"]
    if not pairs or any(len(pair) != 2 or not pair[0] for pair in pairs):
        raise ValueError(f"the rates tried of its cell {task.key} at {given['rung']} are not pairs")
    if given["scale"] not in [pair[0] for pair in pairs] or given["aggregates"] not in ("sums", "gathers"):
        raise ValueError(f"its cell {task.key} at {given['rung']} contradicts itself")
    infinite = math.inf
    return CellResult(
        **{
            **given,
            "tried": tuple((s, infinite if v is None else v) for s, v in pairs),
            "metric": tuple(infinite if v is None else v for v in given["metric"]),
            "keys": tuple(given["keys"]),
        }
    )


def read_entries(path: Path, suite: Suite) -> list[Entry]:
    """Return the rows of a file of results, a line each.

    Raises
    ------
    IntegrityError
        In one line, if it cannot be read, is not sound, or is of another version of the benchmark.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError("it is far too large")
        entries = [from_json(line, suite) for line in content.splitlines() if line.strip()]
        if not entries:
            raise ValueError("it is empty")
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError) as error:
        reason = "it is not JSON" if isinstance(error, json.JSONDecodeError | UnicodeError) else error
        raise IntegrityError(f"{path} is not a result of the benchmark: {reason}") from None
    return entries


def merged(before: Entry | None, entry: Entry) -> Entry:
    """Return an entry with what an earlier result of the same submission has of other cells and tasks."""
    if before is None or before.digest != entry.digest:
        return entry
    anew = {task for task, _ in entry.cells}
    kept = [
        tuple(row for row in rows if row.get("task") not in anew)
        for rows in (before.audit.anchors, before.audit.verification)
    ]
    audit = Audit(kept[0] + tuple(entry.audit.anchors), kept[1] + tuple(entry.audit.verification))
    return replace(entry, cells={**before.cells, **entry.cells}, audit=audit)


@cache
def stored_entries(suite: Suite) -> tuple[Entry, ...]:
    """Return the stored baselines, in the order of their file, with their cells on networks.

    These are in a file of their own, because they were run with other versions of the lab.

    Raises
    ------
    IntegrityError
        If a file was made for another definition.
    """
    entries: dict[str, Entry] = {}
    for name in STORED:
        packed = files("qsgd_lab.suite").joinpath(name)
        try:
            found = [from_json(line, suite) for line in packed.read_bytes().splitlines()]
        except FileNotFoundError:
            continue
        except ValueError as error:
            raise IntegrityError(f"the stored baselines are not sound: {error}") from None
        for entry in found:
            first = entries.setdefault(entry.name, entry)
            entries[entry.name] = replace(first, cells={**first.cells, **entry.cells}, missing={})
    return tuple(entries.values())


def missing_cells(entry: Entry, suite: Suite, rungs: Iterable[str]) -> list[str]:
    """Return the names of scored cells that a result does not have, but for rungs it did not enter.

    A result of tasks that are not scored has entered no rung.
    """
    scored = {task.key for task in suite.scored}
    entered = {rung for key, rung in entry.cells if rung != WHOLE and key in scored} & set(rungs)
    return [
        f"{task.key} at {rung}"
        for rung in suite.rungs
        if rung in entered
        for task in suite.scored
        if (task.key, rung) not in entry.cells and task.key not in entry.missing
    ]

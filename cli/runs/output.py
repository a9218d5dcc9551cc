"""Columns as CSV and as JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Columns = Mapping[str, list[Any]]

#: A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@")


def as_csv(columns: Columns) -> str:
    r"""Return a header and a line a row: RFC 4180 quoting, "\n" at the ends of lines, "." in numbers.

    Floats have all their digits; None is empty; booleans are true and false. A text that a spreadsheet would
    take for a formula gets a "'" before it.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(map(_cell, columns))
    writer.writerows(map(_cell, row) for row in zip(*columns.values(), strict=True))
    return stream.getvalue()


def as_jsonl(columns: Columns) -> str:
    """Return a JSON object a row, on a line of its own."""
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in _rows(columns))


def as_json(columns: Columns) -> str:
    """Return a JSON list of an object a row."""
    return json.dumps(list(_rows(columns)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


WRITERS: dict[str, Callable[[Columns], str]] = {"csv": as_csv, "jsonl": as_jsonl, "json": as_json}


def _rows(columns: Columns) -> Iterator[dict[str, Any]]:
    return (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

"""CSV and JSON: the printed numbers beside the unrounded ones, and the keys of the runs they come from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import qsgd_lab
from qsgd_lab.report.cells import Cell, Statistic
from qsgd_lab.report.entries import Entry, accuracy_entry, epochs_entry
from qsgd_lab.report.grouping import Group, Method
from qsgd_lab.report.layout import Table, epochs_decimals, lay_out, traffic_entries

#: Raise when a field of the JSON document changes its name or meaning.
JSON_SCHEMA = 1


def write_json(groups: Sequence[Group]) -> str:
    """Return one document: ``{"schema", "made_by", "tables": [{"config", "methods": [{"cells"}]}]}``.

    Numbers are unrounded; beside each, ``printed`` is the string that the other formats show. Accuracies
    are percentages. What does not exist is null.
    """
    document = {
        "schema": JSON_SCHEMA,
        "made_by": f"qsgd-lab {qsgd_lab.__version__} table",
        "tables": [_table(table) for table in lay_out(groups)],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_csv(groups: Sequence[Group]) -> str:
    """Return one line a cell, of all the groups, with the configuration that its group shares.

    ``printed_...`` are the strings that the other formats show; lists are joined by spaces.
    """
    rows = [row for group in groups for row in _csv_rows(group)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _table(table: Table) -> dict[str, Any]:
    group = table.group
    return {
        "caption": table.caption,
        "notes": list(table.notes),
        "config": dict(group.shared),
        "is_stale": not group.is_current,
        "num_parameters": list(group.num_parameters),
        "seeds": list(group.seeds),
        "nodes": list(group.nodes),
        "methods": [_method(method, group) for method in group.methods],
    }


def _method(method: Method, group: Group) -> dict[str, Any]:
    return {**_method_fields(method), "cells": [_cell(cell, group) for cell in method.cells]}


def _method_fields(method: Method) -> dict[str, Any]:
    _, fixed, elias, ratio = traffic_entries(method)
    traffic = method.traffic
    return {
        "method": method.label,
        "bits": method.bits,
        "rounding": method.rounding,
        "error_feedback": method.error_feedback,
        "num_levels": method.num_levels,
        "fixed_bits_per_coordinate": traffic.fixed,
        "elias_bits_per_coordinate": traffic.elias,
        "elias_code": traffic.elias_code,
        "compression_ratio": traffic.ratio,
        "printed_fixed_bits": _printed(fixed),
        "printed_elias_bits": _printed(elias),
        "printed_ratio": _printed(ratio),
    }


def _cell(cell: Cell, group: Group) -> dict[str, Any]:
    return {
        "nodes": cell.nodes,
        "state": _state(cell),
        "num_seeds": cell.num_seeds,
        "num_diverged": cell.num_diverged,
        "num_reached": cell.num_reached,
        "seeds": list(cell.seeds),
        "missing_seeds": list(cell.missing_seeds),
        **_statistic("test_accuracy_percent", cell.accuracy),
        "printed_test_accuracy_percent": _printed(accuracy_entry(cell)),
        **_statistic("epochs_to_target", cell.epochs),
        "printed_epochs_to_target": _printed(epochs_entry(cell, epochs_decimals(group))),
        "run_keys": list(cell.run_keys),
    }


def _state(cell: Cell) -> str:
    """Return ``missing``, ``diverged`` (every seed), ``some diverged`` or ``done``."""
    if not cell.seeds:
        return "missing"
    if cell.all_diverged:
        return "diverged"
    return "some diverged" if cell.num_diverged else "done"


def _statistic(name: str, statistic: Statistic | None) -> dict[str, float | None]:
    mean, deviation = (statistic.mean, statistic.deviation) if statistic else (None, None)
    return {f"{name}_mean": mean, f"{name}_std": deviation}


def _printed(entry: Entry) -> str:
    """Return the number or word of an entry; the marks are fields of their own here."""
    return f"{entry.mean} ± {entry.deviation}" if entry.deviation else entry.mean or entry.word


def _csv_rows(group: Group) -> Iterator[dict[str, Any]]:
    shared = {**group.shared, "is_stale": not group.is_current, "num_parameters": list(group.num_parameters)}
    for method in group.methods:
        for cell in method.cells:
            row = {**shared, **_method_fields(method), **_cell(cell, group)}
            yield {name: _joined(value) for name, value in row.items()}


def _joined(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else value

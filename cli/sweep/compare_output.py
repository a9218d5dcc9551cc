"""The rows that ``qsgd-lab compare`` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qsgd_lab.cli.measure.rows_output import NONE, Table, as_csv, as_json, as_json_lines, as_latex, as_text
from qsgd_lab.report.comparison.outcome import Outcome
from qsgd_lab.report.comparison.rows import Row
from qsgd_lab.report.tables.units import format_seconds

FORMATS = ("text", "json", "jsonl", "csv", "latex")

_HEADER = ("method", "{measure}", "rounds", "bits; up", "bits; down", "time", "speed-up", "p")


@dataclass(frozen=True)
class Words:
    """What the numbers are: a title, the measure's name, and notes under the table."""

    title: str
    measure: str
    notes: tuple[str, ...]


def render(rows: Sequence[Row], outcomes: Sequence[Outcome], words: Words, output_format: str) -> str:
    """Return the comparison as one of `FORMATS`, ending in a newline.

    CSV and JSON lines are tidy: a line a run and checkpoint. JSON has the rows of the table.
    """
    if output_format == "csv":
        return as_csv(_tidy(outcomes, words))
    if output_format == "jsonl":
        return as_json_lines(
            {name: None if value in (math.inf, -math.inf) else value for name, value in line.items()}
            for line in _tidy(outcomes, words)
        )
    if output_format == "json":
        return as_json([{**row.to_dict(), "measure": words.measure} for row in rows])
    header = [name.format(measure=words.measure) for name in _HEADER]
    if output_format == "latex":
        from qsgd_lab.report.formats.latex import escape

        table = Table(["N", *header], [[str(row.nodes), *_cells(row)] for row in rows], left=(1,))
        return as_latex(table, command="compare", caption=escape(" ".join([words.title + ".", *words.notes])))
    tables = [
        Table(header, [_cells(row) for row in rows if row.nodes == nodes], f"N = {nodes}", (0,), keys=1)
        for nodes in dict.fromkeys(row.nodes for row in rows)
    ]
    return as_text([words.title + "\n", *tables, "\n".join(words.notes)])


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.method,
        _value(row),
        f"{row.rounds:.6g}",
        f"{row.sent_bits:.4g}",
        f"{row.received_bits:.4g}",
        format_seconds(row.seconds) if row.seconds else "0 s",
        NONE if row.speed_up is None else _with_error(row.speed_up, row.speed_up_error),
        NONE if row.p_value is None else f"{row.p_value:.2g}",
    )


def _value(row: Row) -> str:
    if not row.is_within_budget:
        return "over budget"
    if not math.isfinite(row.mean):
        return f"div., {row.diverged} of {row.runs}"
    return _with_error(row.mean, row.error) + (f", {row.diverged} div." if row.diverged else "")


def _with_error(value: float, error: float | None) -> str:
    """Return a value to the digits that two digits of its error leave, such as ``0.00196 ± 0.00006``."""
    if error is None or error == 0 or value == 0:
        return f"{value:.4g}"
    digits = math.floor(math.log10(abs(value))) - math.floor(math.log10(error))
    power = math.floor(math.log10(abs(value)))
    if -4 < power < 5:
        decimals = max(0, digits + 1 - power) if digits + 1 > power else 0
        return f"{value:.{decimals}f} ± {error:.{decimals}f}"
    return (
        f"({value / 10**power:.{max(digits + 1, 0)}f} ± {error / 10**power:.{max(digits + 1, 0)}f})e{power}"
    )


def _tidy(outcomes: Sequence[Outcome], words: Words) -> list[dict[str, Any]]:
    return [
        {
            "nodes": outcome.nodes,
            "method": outcome.method,
            "run": run,
            "step": int(outcome.steps[checkpoint]),
            "rounds": float(outcome.rounds[checkpoint]),
            "bits_up": float(outcome.sent_bits[checkpoint]),
            "bits_down": float(outcome.received_bits[checkpoint]),
            "measure": words.measure,
            "value": float(outcome.values[checkpoint, column]),
            # Of networks: values are validation accuracies, and what the table compares is the test's.
            "test_value": None
            if outcome.final is None or checkpoint + 1 < outcome.steps.size
            else float(outcome.final[column]),
            "diverged": bool(diverged[column]),
        }
        for outcome in outcomes
        for diverged in (outcome.diverged(outcome.steps.size - 1),)
        for column, run in enumerate(outcome.runs)
        for checkpoint in range(outcome.steps.size)
    ]

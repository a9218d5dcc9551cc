"""``qsgd-lab runs list``: stored runs, a line a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from qsgd_lab.cli.options.stored_runs import filter_options, only, read_records
from qsgd_lab.cli.runs.output import WRITERS
from qsgd_lab.cli.runs.runs import store_argument

#: Columns of `qsgd_lab.report.tidy` that the list shows -> their heads in text.
_SHOWN = {
    "run_key": "key",
    "preset": "preset",
    "method": "method",
    "model": "model",
    "nodes": "N",
    "seed": "seed",
    "status": "status",
    "is_stale": "stale",
    "commit": "commit",
    "dirty": "dirty",
    "total_s": "seconds",
}
#: In text; longer names are cut.
_WIDEST = 32
_COMMIT_LENGTH = 9


@click.command("list")
@store_argument
@filter_options("List")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["text", "json", "csv"]),
    default="text",
    show_default=True,
    help="How the list is printed.",
)
def list_runs(
    runs: Path, preset: Sequence[str], dataset: Sequence[str], model: Sequence[str], format_name: str
) -> None:
    """List stored runs: key, method, model, nodes, seed, status, code and time.

    A run that is dirty was made from a checkout with uncommitted changes, so that its commit does not name
    its code; a run that is stale was made with another version of the lab, and tables leave it out.

    \b
    Example:
      qsgd-lab runs list
      qsgd-lab runs list paper/runs.jsonl --format csv
    """
    from qsgd_lab.report.tidy import run_columns

    records = read_records(runs, stale=True)
    for name, wanted in (("preset", preset), ("dataset", dataset), ("model", model)):
        records = only(records, name, wanted)
    columns = run_columns(records)
    shown = {name: columns[name] for name in _SHOWN}
    text = _text(shown) if format_name == "text" else WRITERS[format_name](shown)
    click.echo(text.encode(), nl=False)


def _text(columns: dict[str, list[Any]]) -> str:
    rows = [list(_SHOWN.values()), *zip(*([_word(n, v) for v in columns[n]] for n in columns), strict=True)]
    numbers = {"nodes", "seed", "total_s"}
    lines = []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        words = (
            word.rjust(width) if name in numbers else word.ljust(width)
            for name, word, width in zip(columns, row, widths, strict=True)
        )
        lines.append("  ".join(words).rstrip())
    return "\n".join(lines) + "\n"


def _word(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "total_s":
        return f"{value:.1f}"
    text = str(value)[:_COMMIT_LENGTH] if name == "commit" else str(value)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"

"""``qsgd-lab runs list``: stored runs, a line a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from qsgd_lab.cli.options.stored_runs import filter_options, only, read_records
from qsgd_lab.cli.runs.output import WRITERS
from qsgd_lab.cli.runs.runs import store_argument
from qsgd_lab.terminal import fill, text_width

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
_NARROWEST = 16
_COMMIT_LENGTH = 9
_NUMBERS = frozenset({"nodes", "seed", "total_s"})
#: Columns that often have one value, in the order in which they leave the lines, and those to leave out.
_SHARED = ("preset", "model", "commit", "dirty", "is_stale", "status")
_SPARED = ("commit", "is_stale", "dirty", "preset", "model")
_GAP = "  "


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
    its code; a run that is stale was made with another version of the lab, and tables leave it out. The text
    fits the terminal: what all runs have in common is then said once.

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
    text = _text(shown, text_width()) if format_name == "text" else WRITERS[format_name](shown)
    click.echo(text.encode(), nl=False)


def _text(columns: dict[str, list[Any]], width: int) -> str:
    """Return the list in lines of at most `width` columns, as far as that is possible.

    What all runs have in common is said once, above, where the lines would be too long; if that is not
    enough, names are cut, and then columns left out, which the last line names.
    """
    words = {name: [_word(name, value) for value in values] for name, values in columns.items()}
    alike: list[str] = []
    for name in _SHARED:
        if _width(words) > width and len(set(words[name])) == 1:
            alike.append(f"{_SHOWN[name]} {words.pop(name)[0]}")
    for name in ("method", "model"):
        if name in words and (excess := _width(words) - width) > 0:
            longest = max(_NARROWEST, max(map(len, words[name])) - excess)
            words[name] = [_cut(word, longest) for word in words[name]]
    left_out = []
    for name in _SPARED:
        if name in words and _width(words) > width:
            del words[name]
            left_out.append(_SHOWN[name])
    head = f"All runs: {', '.join(alike)}." if alike else ""
    foot = f"Left out for the width: {', '.join(left_out)}; --format csv has all." if left_out else ""
    above, below = (f"{fill(line, width)}\n" if line else "" for line in (head, foot))
    return f"{above}{_lines(words)}{below}"


def _lines(words: dict[str, list[str]]) -> str:
    rows = [[_SHOWN[name] for name in words], *zip(*words.values(), strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        _GAP.join(
            word.rjust(width) if name in _NUMBERS else word.ljust(width)
            for name, word, width in zip(words, row, widths, strict=True)
        ).rstrip()
        + "\n"
        for row in rows
    )


def _width(words: dict[str, list[str]]) -> int:
    widths = (max(map(len, [_SHOWN[name], *column])) for name, column in words.items())
    return sum(widths) + len(_GAP) * (len(words) - 1)


def _cut(word: str, longest: int) -> str:
    return word if len(word) <= longest else f"{word[: longest - 1]}…"


def _word(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "total_s":
        return f"{value:.1f}"
    return str(value)[:_COMMIT_LENGTH] if name == "commit" else _cut(str(value), _WIDEST)

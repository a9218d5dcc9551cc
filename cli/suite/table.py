"""``qsgd-lab suite table``: entries side by side at one rung."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.measure.rows_output import Table, as_csv, as_json, as_latex, as_text
from qsgd_lab.cli.options.completion import one_of
from qsgd_lab.cli.suite.options import against_option, read_board, rung_option

FORMATS = ("text", "markdown", "latex", "csv", "json")
RANKS = (
    "sent",
    "received",
    "rounds",
    "seconds@50Mbit/s,20ms",
    "seconds@1Gbit/s,100us",
    "seconds@10Gbit/s,20us",
)


@click.command()
@rung_option
@against_option
@click.option(
    "--rank",
    default="sent",
    show_default=True,
    metavar="UNIT",
    shell_complete=one_of(lambda _: RANKS),
    help="Order: sent (by score at equal bits sent), received (both ways), rounds, or seconds@LINK.",
)
@click.option("--format", "format_name", type=click.Choice(FORMATS), default="text", show_default=True)
def table(rung: str, against: Sequence[Path], rank: str, format_name: str) -> None:
    """Print the stored baselines, and results beside them, at one rung.

    The columns of tasks are ratios of the metric to float32's. Tasks of networks, which are not scored, have
    tables of their own where there are cells. JSON has a record an entry and task, CSV a
    line a run.

    \b
    Example:
      qsgd-lab suite table --rung 32x
      qsgd-lab suite table --rung 32x --against my.result.json \\
        --rank received --format markdown
    """
    from qsgd_lab.suite.columns import (
        header,
        network_header,
        network_rows,
        network_tasks,
        network_title,
        notes,
        rows,
        summary,
        tidy,
    )
    from qsgd_lab.suite.definition import load_suite

    links = list(load_suite().links)
    unit, at, link = rank.partition("@")
    with argument_errors():
        if unit not in ("sent", "received", "rounds", "seconds") or (unit == "seconds") != (link in links):
            raise ValueError(f"--rank is {rank!r}; write {', '.join(RANKS)}")
        if at and unit != "seconds":
            raise ValueError(f"--rank is {rank!r}; only seconds are of a link")
    board = read_board(against, [rung])
    if format_name == "json":
        click.echo(as_json(summary(board, rung)), nl=False)
        return
    if format_name == "csv":
        click.echo(as_csv(tidy(board, [rung])), nl=False)
        return
    words = notes(board, rung, rank)
    parts = [("", header(board), rows(board, rung, rank))]
    for task in network_tasks(board, rung):
        title = ", ".join(network_title(board, task, rung))
        parts.append((title, network_header(board), network_rows(board, task, rung)))
    if format_name == "latex":
        from qsgd_lab.report.formats.latex import escape

        for title, names, cells in parts:
            body = [[escape(cell) for cell in row] for row in cells]
            made = Table([escape(name) for name in names], body, left=(0,), keys=1)
            caption = escape(title or " ".join(words))
            click.echo(as_latex(made, command="suite table", caption=caption), nl=False)
    elif format_name == "markdown":
        click.echo(markdown(*parts[0][1:], words), nl=False)
        for title, names, cells in parts[1:]:
            click.echo("\n" + markdown(names, cells, [title]), nl=False)
    else:
        tables = [Table(names, cells, title, (0,), 1) for title, names, cells in parts]
        click.echo(as_text([*tables, "\n".join(words)]), nl=False)


def markdown(names: Sequence[str], cells: Sequence[Sequence[str]], words: Sequence[str]) -> str:
    """Return a table with its notes as Markdown."""

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in row) + " |"

    rule = "| --- |" + " ---: |" * (len(names) - 1)
    text = "\n".join([line(names), rule, *map(line, cells)])
    return text + "\n\n" + "\n".join(f"* {word}".replace(" *:", " \\*:") for word in words) + "\n"

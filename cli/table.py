"""``qsgd-lab table``: the stored runs as LaTeX, text, Markdown, CSV or JSON."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qsgd_lab.errors import DataMissingError, UsageError
from qsgd_lab.report import FORMATS, render

if TYPE_CHECKING:
    from qsgd_lab.runs.record import RunRecord

REPRODUCE = "qsgd-lab reproduce --model alexnet --nodes 1,2,4,8"


@click.command()
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="The folder of the runs.",
)
@click.option("--preset", multiple=True, help="Show only this preset; may be given again.")
@click.option("--dataset", multiple=True, help="Show only this data set; may be given again.")
@click.option("--model", multiple=True, help="Show only this model; may be given again.")
@click.option("--stale", is_flag=True, help="Show runs of other versions too, in tables of their own.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(list(FORMATS)),
    default="latex",
    show_default=True,
    help="How to print the tables.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file, whole or not at all, instead of standard output.",
)
def table(
    runs: Path,
    preset: Sequence[str],
    dataset: Sequence[str],
    model: Sequence[str],
    stale: bool,
    format_name: str,
    output: Path | None,
) -> None:
    """Print stored runs as tables.

    Shows test accuracy and epochs to the target as mean ± standard deviation over the seeds, and the
    measured bits per coordinate. Runs of different presets, data sets, models or settings come in
    tables of their own. The LaTeX needs the packages booktabs and siunitx.

    \b
    Example:
      qsgd-lab table > paper/results.tex
      qsgd-lab table --format text --preset demo
      qsgd-lab table --format csv -o results.csv
    """
    records = _read(runs, stale=stale)
    for name, wanted in (("preset", preset), ("dataset", dataset), ("model", model)):
        records = _only(records, name, wanted)
    text = render(records, format_name)
    if output is None:
        click.echo(text.encode(), nl=False)  # UTF-8 whatever the locale: the same bytes as in a file
    else:
        _save(output, text)


def _read(runs: Path, *, stale: bool) -> list[RunRecord]:
    """Return the records of a folder; say on stderr how many were left out as stale."""
    from qsgd_lab.runs.store import RunStore

    everything = list(RunStore(runs).all_records())
    records = [record for record in everything if stale or not record.is_stale]
    left_out = len(everything) - len(records)
    if not records:
        raise DataMissingError(_no_runs(runs, left_out))
    if left_out:
        click.echo(
            f"Left out {left_out} runs made with other versions of the lab; --stale shows them.", err=True
        )
    return records


def _no_runs(runs: Path, left_out: int) -> str:
    option = "" if runs == Path("runs") else f" --runs {shlex.quote(str(runs))}"
    stale = f" but {left_out} made with other versions of the lab (--stale shows them)" if left_out else ""
    return f"no runs in the folder {runs}{stale}; make them with: {REPRODUCE}{option}"


def _only(records: list[RunRecord], name: str, wanted: Sequence[str]) -> list[RunRecord]:
    """Return the records with one of the ``wanted`` values of a configuration field, if any are given."""
    if not wanted:
        return records
    chosen = [record for record in records if getattr(record.config, name) in wanted]
    if not chosen:
        there = ", ".join(sorted({getattr(record.config, name) for record in records}))
        raise DataMissingError(f"no runs with --{name} {' or '.join(wanted)}; there are: {there}")
    return chosen


def _save(output: Path, text: str) -> None:
    from qsgd_lab.runs.atomic import write_atomically

    target = output.resolve()  # a link is followed, not replaced
    if target.exists() and not target.is_file():
        raise UsageError(f"{output} is not an ordinary file; use > to write there")
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent} to write {output.name} in; make it first")
    write_atomically(target, text)

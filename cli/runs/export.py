"""``qsgd-lab runs export``: stored runs as tidy data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from qsgd_lab.cli.options.quantities import BANDWIDTH, SHORT_TIME
from qsgd_lab.cli.options.stored_runs import filter_options, only, read_epochs, read_records
from qsgd_lab.cli.runs.output import WRITERS, as_json
from qsgd_lab.cli.runs.runs import store_argument
from qsgd_lab.files import STANDARD_STREAM, check_place, save
from qsgd_lab.report.analysis.communication import Link
from qsgd_lab.report.tables.options import DEFAULT_LINK
from qsgd_lab.report.tables.units import format_seconds


@click.command()
@store_argument
@filter_options("Export")
@click.option("--epochs", is_flag=True, help="A row an epoch, in place of a row a run.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["csv", "jsonl"]),
    default="csv",
    show_default=True,
    help="CSV with a header, or a JSON object a line.",
)
@click.option("--link", type=BANDWIDTH, help="Add the step modelled over links of this bandwidth.")
@click.option(
    "--latency",
    type=SHORT_TIME,
    help=f"Of a message, with --link.  [default: {format_seconds(DEFAULT_LINK.latency)}]",
)
@click.option("--compute", type=SHORT_TIME, help="Of a node in a step, with --link.  [default: as measured]")
@click.option(
    "--columns", is_flag=True, help="Print name, type and meaning of the columns as JSON, and stop."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=STANDARD_STREAM,
    help="Write to this file, whole or not at all, instead of standard output.",
)
def export(
    runs: Path,
    preset: Sequence[str],
    dataset: Sequence[str],
    model: Sequence[str],
    epochs: bool,
    format_name: str,
    link: float | None,
    latency: float | None,
    compute: float | None,
    columns: bool,
    output: Path,
) -> None:
    """Export stored runs as tidy data: a row a run, or a row an epoch.

    Every column has one type, and its unit in its name. Shares are in [0, 1]; what does not exist is empty
    (CSV) or null. Runs made with other versions of the lab are there too, with is_stale true. In CSV a text
    that a spreadsheet would take for a formula gets a ' before it; read run_key, commit and bucket_size as
    text. A run that has no epochs has no row with --epochs. --link adds what a step of a real node would
    take, as table --show network has it, with the link in columns of its own.

    \b
    Example:
      qsgd-lab runs export -o runs.csv
      qsgd-lab runs export paper/runs.jsonl --epochs --format jsonl
      qsgd-lab runs export --link 1Gbit/s --latency 50us -o steps.csv
      qsgd-lab runs export --columns
    """
    from qsgd_lab.report.tidy import description, epoch_columns, run_columns

    if link is None and (latency, compute) != (None, None):
        raise click.UsageError("--latency and --compute are for the modelled step; add --link")
    if epochs and link is not None:
        raise click.UsageError("--link models the step of a run; leave out --epochs")
    if columns:
        text = as_json({name: [row[name] for row in description(epochs=epochs)] for name in _DESCRIBED})
    else:
        check_place(output)
        records = read_records(runs, stale=True)
        for name, wanted in (("preset", preset), ("dataset", dataset), ("model", model)):
            records = only(records, name, wanted)
        if epochs:
            table = epoch_columns(records, read_epochs(runs, records))
        else:
            table = run_columns(records, _link(link, latency), compute)
        text = WRITERS[format_name](table)
    save(output, text.encode())


_DESCRIBED = ("name", "type", "meaning")


def _link(bandwidth: float | None, latency: float | None) -> Link | None:
    if bandwidth is None:
        return None
    return Link(bandwidth, DEFAULT_LINK.latency if latency is None else latency)

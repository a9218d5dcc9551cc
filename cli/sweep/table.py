"""``qsgd-lab table``: the stored runs as LaTeX, text, Markdown, CSV or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from qsgd_lab.cli.options.lists import WordsType
from qsgd_lab.cli.options.quantities import BANDWIDTH, SHORT_TIME
from qsgd_lab.cli.options.stored_runs import only, read_records, selection_options
from qsgd_lab.errors import UsageError
from qsgd_lab.files import check_place, save
from qsgd_lab.report import FORMATS, render
from qsgd_lab.report.analysis.communication import Link
from qsgd_lab.report.tables.options import (
    DEFAULT_LINK,
    DEFAULT_SHOW,
    ORDERS,
    PAGES,
    SHOWS,
    STYLES,
    VIEWS,
    Order,
    Style,
    TableOptions,
    View,
)
from qsgd_lab.report.tables.units import format_bandwidth, format_seconds
from qsgd_lab.terminal import MIN_WIDTH, text_width
from qsgd_lab.training.presets import margins

#: More columns than this are a slip of the keyboard.
MAX_WIDTH = 1000


class TableWidthType(click.ParamType):  # type: ignore[type-arg]  # generic only since Click 8.4
    """A number of columns, or the name of a page of LaTeX."""

    name = "columns|page"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Parse a string."""
        if value in PAGES:
            return str(value)
        if not str(value).isdecimal() or not MIN_WIDTH <= int(value) <= MAX_WIDTH:
            self.fail(
                f"{value!r} is not a width; write {MIN_WIDTH} to {MAX_WIDTH} columns, or {', '.join(PAGES)}",
                param,
                ctx,
            )
        return int(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the pages."""
        return [CompletionItem(name) for name in PAGES if name.startswith(incomplete)]


@click.command()
@selection_options("Show")
@click.option(
    "--by",
    type=click.Choice(list(VIEWS)),
    default="nodes",
    show_default=True,
    help="What the columns are.",
)
@click.option(
    "--sort",
    type=click.Choice(list(ORDERS)),
    default="method",
    show_default=True,
    help="Order of the methods: their kind, or the bits that they really send, most first.",
)
@click.option(
    "--show",
    type=WordsType(SHOWS),
    default=",".join(DEFAULT_SHOW),
    show_default=True,
    help=f"What to show, a list of: {', '.join(SHOWS)}.",
)
@click.option("--published", is_flag=True, help="Set published figures beside the measured ones.")
@click.option(
    "--link",
    type=BANDWIDTH,
    help="Bandwidth of a node's link, for --show network.  "
    f"[default: {format_bandwidth(DEFAULT_LINK.bandwidth)}]",
)
@click.option(
    "--latency",
    type=SHORT_TIME,
    help=f"Of a message, for --show network.  [default: {format_seconds(DEFAULT_LINK.latency)}]",
)
@click.option(
    "--compute",
    type=SHORT_TIME,
    help="Of a node in a step, for --show network: 80ms.  [default: as measured]",
)
@click.option(
    "--quantize",
    type=SHORT_TIME,
    help="Quantizing and coding of a node in a step, for --show network: 2ms.  [default: as measured]",
)
@click.option(
    "--overlap",
    type=click.FloatRange(0, 1),
    help="Share of the computing that the network overlaps, for --show network: up to 2/3, the backward "
    "pass.  [default: 0]",
)
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
    "--style",
    type=click.Choice(STYLES),
    default="siunitx",
    show_default=True,
    help="Of the LaTeX: with the package siunitx, or without.",
)
@click.option(
    "--width",
    type=TableWidthType(),
    help=f"Of text: columns, at least {MIN_WIDTH}. Of LaTeX: the page, {', '.join(PAGES)}; article is "
    "in one column.  [default: as wide as the terminal; ieeetran]",
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
    by: View,
    sort: Order,
    show: tuple[str, ...],
    published: bool,
    link: float | None,
    latency: float | None,
    compute: float | None,
    quantize: float | None,
    overlap: float | None,
    stale: bool,
    format_name: str,
    style: Style,
    width: int | str | None,
    output: Path | None,
) -> None:
    """Print stored runs as tables.

    Shows test accuracy and epochs to the target as mean ± standard deviation over the seeds, the difference
    from fp32 with 95 % intervals, and the measured bits per coordinate. With five seeds or more, arrows mark
    what is shown to differ from fp32, ≈ what is shown to be near it, bold print what is shown to be near the
    best of its N; the legend says by which tests. Runs of different presets, data sets, models or settings
    come in tables of their own, or with --by model, setting or task side by side. CSV and JSON have every
    seed's values too.

    \b
    Example:
      qsgd-lab table > paper/results.tex
      qsgd-lab table --width article > results.tex
      qsgd-lab table --format text --preset demo
      qsgd-lab table --format text --show traffic,network --link 1Gbit/s \\
        --latency 50us
      qsgd-lab table --by setting --published -o beside.tex
      qsgd-lab table --by task --sort bits --show accuracy,bits
      qsgd-lab table --format csv -o results.csv
    """
    options = TableOptions(
        show=show,
        by=by,
        sort=sort,
        style=style,
        link=_link(link, latency),
        compute=compute,
        quantize=quantize,
        overlap=overlap or 0.0,
        published=published,
        margins=margins(),
        **_fitting(format_name, width),
    )
    of_network = (link, latency, compute, quantize, overlap)
    if "network" not in show and any(value is not None for value in of_network):
        raise UsageError(
            "--link, --latency, --compute, --quantize and --overlap are for the modelled step; "
            "add --show network"
        )
    if output is not None:
        check_place(output)
    records = read_records(runs, stale=stale)
    for name, wanted in (("preset", preset), ("dataset", dataset), ("model", model)):
        records = only(records, name, wanted)
    text = render(records, format_name, options)
    if output is None:
        click.echo(text.encode(), nl=False)  # UTF-8 whatever the locale: the same bytes as in a file
    else:
        save(output, text.encode())


def _fitting(format_name: str, width: int | str | None) -> dict[str, Any]:
    """Return what the tables have to fit, as options of a table."""
    if format_name == "text":
        if isinstance(width, str):
            raise UsageError(f"--width {width} is a page of LaTeX; write a number of columns, such as 100")
        return {"width": text_width() if width is None else width}
    if width is not None and format_name != "latex":
        raise UsageError(f"--width is for text and LaTeX; leave it out of {format_name}")
    if isinstance(width, int):
        raise UsageError(f"--width {width} is for --format text; for LaTeX name a page: {', '.join(PAGES)}")
    return {} if width is None else {"page": width}


def _link(bandwidth: float | None, latency: float | None) -> Link:
    return Link(
        bandwidth=DEFAULT_LINK.bandwidth if bandwidth is None else bandwidth,
        latency=DEFAULT_LINK.latency if latency is None else latency,
    )

"""``qsgd-lab suite plot``: the entries as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from qsgd_lab.cli.suite.options import against_option, read_board


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("suite.pdf"),
    show_default=True,
    help="The figure, ending in .pdf, .png or .svg.",
)
@against_option
def plot(output: Path, against: Sequence[Path]) -> None:
    """Draw the stored baselines, and results beside them.

    A panel a task, a row an entry: ratios to float32 at each rung with intervals over seeds, a grey bar to
    the worse of the neighbouring rates, a green band for the task's margin; in the last panel R*.

    \b
    Example:
      qsgd-lab suite plot -o suite.svg --against my.result.json
    """
    from qsgd_lab.cli.options.quantizer import check_figure_file

    check_figure_file(output)
    from qsgd_lab.report.figures.suite import save_suite
    from qsgd_lab.suite.definition import load_suite
    from qsgd_lab.suite.figure import figure_of

    suite = load_suite()
    board = read_board(against, suite.rungs)
    save_suite(figure_of(board), output, title=f"{suite.name}, {suite.nodes} nodes")
    click.echo(f"{output} written.", err=True)

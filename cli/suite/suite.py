"""The group ``qsgd-lab suite``."""

from __future__ import annotations

import click

from qsgd_lab.cli.lazy import Entry, LazyGroup

SUBCOMMANDS = {
    "list": Entry("qsgd_lab.cli.suite.listing", "list_suite", "List tasks, rungs and stored entries."),
    "run": Entry("qsgd_lab.cli.suite.run", "run", "Run a submission; write its result file."),
    "table": Entry("qsgd_lab.cli.suite.table", "table", "Set entries side by side at a rung."),
    "plot": Entry("qsgd_lab.cli.suite.plot", "plot", "Draw entries: ratios to float32, and lossless R."),
    "verify": Entry("qsgd_lab.cli.suite.verify", "verify", "Audit a submission's messages and seeds."),
    "add": Entry("qsgd_lab.cli.suite.add", "add", "Add a result file to a packed file of entries."),
}


@click.group(cls=LazyGroup, table=SUBCOMMANDS, invoke_without_command=True)
@click.pass_context
def suite(ctx: click.Context) -> None:
    """Compare methods on the pinned benchmark, at equal bits and with the same tuning.

    docs/benchmark.md has the rules. A submission is a TOML file and a plug-in.

    \b
    Example:
      qsgd-lab suite list
      qsgd-lab suite run my.toml --quick -o my.result.json
      qsgd-lab suite verify my.toml
      qsgd-lab suite table --rung 32x --against my.result.json
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)

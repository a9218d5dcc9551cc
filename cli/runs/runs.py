"""The group ``qsgd-lab runs``, and the argument that its commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from qsgd_lab.cli.lazy import Entry, LazyGroup

Command = TypeVar("Command", bound=Callable[..., Any])

SUBCOMMANDS = {
    "list": Entry("qsgd_lab.cli.runs.listing", "list_runs", "List stored runs, a line a run."),
    "export": Entry("qsgd_lab.cli.runs.export", "export", "Export runs or their epochs as tidy data."),
    "pack": Entry("qsgd_lab.cli.runs.pack", "pack", "Pack a folder of runs into one file."),
    "unpack": Entry("qsgd_lab.cli.runs.pack", "unpack", "Write the runs of a packed file as folders."),
}


def store_argument(command: Command) -> Command:
    """Add the argument RUNS, which may also be given as ``--runs``, and pass it on as `runs`."""

    @functools.wraps(command)
    def with_store(*, place: Path | None, named: Path | None, **options: Any) -> Any:
        if place is not None and named is not None:
            raise click.UsageError("RUNS is given twice, with --runs and without; give it once")
        return command(runs=place or named or Path("runs"), **options)

    path = click.Path(path_type=Path)
    with_option = click.option("--runs", "named", type=path, help="The same as the argument RUNS.")
    added = with_option(click.argument("place", type=path, metavar="[RUNS]", required=False)(with_store))
    return cast(Command, added)


@click.group(cls=LazyGroup, table=SUBCOMMANDS, invoke_without_command=True)
@click.pass_context
def runs(ctx: click.Context) -> None:
    """List stored runs, pack them into one file, export them as data.

    RUNS is a folder of runs, a packed file of them, or a folder that holds both; by default the folder runs.
    A packed file has a line a run, with its epochs, and is read by every command that takes --runs.

    \b
    Example:
      qsgd-lab runs list
      qsgd-lab runs pack runs -o runs.jsonl
      qsgd-lab table --runs runs.jsonl
      qsgd-lab runs export --format csv -o runs.csv
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)

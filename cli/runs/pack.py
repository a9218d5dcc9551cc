"""``qsgd-lab runs pack`` and ``unpack``: between a folder a run and one file of all."""

from __future__ import annotations

from pathlib import Path

import click

from qsgd_lab.cli.runs.runs import store_argument
from qsgd_lab.errors import DataMissingError, IntegrityError
from qsgd_lab.files import STANDARD_STREAM, check_place, save

#: So many keys are named; of more, their number is said.
_MOST_NAMED = 5


@click.command()
@store_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The packed file, written whole or not at all; its name should end in .jsonl. - is standard output.",
)
def pack(runs: Path, output: Path) -> None:
    """Pack finished runs into one file, a line a run with its epochs.

    The same runs give the same bytes. Runs that are not finished are left out, and named on standard error.
    A damaged run ends the command with exit code 4, and nothing is written. The folder stays as it is.

    \b
    Example:
      qsgd-lab runs pack runs -o runs.jsonl
      qsgd-lab runs pack /scratch/runs -o - | gzip > runs.jsonl.gz
    """
    from qsgd_lab.runs.packed import pack as packed
    from qsgd_lab.runs.store import RunStore

    check_place(output)
    store = RunStore(runs)
    unfinished = store.unfinished()  # before the records: what finishes in between is packed and named
    try:
        content = packed(store.stored(record) for record in store.all_records())
    except ValueError as error:
        raise IntegrityError(f"{runs} cannot be packed: {error}") from error
    if unfinished:
        more = "" if len(unfinished) <= _MOST_NAMED else f" and {len(unfinished) - _MOST_NAMED} more"
        named = ", ".join(unfinished[:_MOST_NAMED])
        click.echo(f"Left out {len(unfinished)} runs that are not finished: {named}{more}.", err=True)
    if not content:
        raise DataMissingError(f"no finished runs in {runs}; nothing was written")
    save(output, content)
    place = "" if output == STANDARD_STREAM else f" into {output}"
    click.echo(f"Packed {content.count(bytes([10]))} runs{place}.", err=True)


@click.command()
@click.argument("packed", type=click.Path(path_type=Path), metavar="FILE")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder that gets a folder a run; it may have runs already.",
)
def unpack(packed: Path, output: Path) -> None:
    """Write the runs of a packed file as folders, as they were before they were packed.

    Runs that the folder has already are passed over; one that contradicts the file's ends the command with
    exit code 4.

    \b
    Example:
      qsgd-lab runs unpack runs.jsonl -o runs
    """
    from qsgd_lab.runs.store import RunStore

    if not packed.exists():
        raise DataMissingError(f"there is no file {packed}; name a packed file that exists")
    source, target = RunStore(packed), RunStore(output)
    runs = [source.stored(record) for record in source.all_records()]
    if not runs:
        raise DataMissingError(f"no runs in {packed}; nothing was written")
    written = sum(target.add(run) for run in runs)
    already = f", {len(runs) - written} were there already" if written < len(runs) else ""
    click.echo(f"Wrote {written} runs into {output}{already}.", err=True)

"""``qsgd-lab suite add``: results into a packed file of entries, a line an entry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click


@click.command()
@click.argument(
    "results", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The packed file; entries that it has are kept, and replaced by those of the same name.",
)
def add(results: Sequence[Path], output: Path) -> None:
    """Add result files to a packed file of entries, such as the stored baselines.

    Each is checked as by `suite table`; of a name that is there, the cells are merged, those of the new file
    first.

    \b
    Example:
      qsgd-lab suite add my.result.json -o entries.jsonl
    """
    from qsgd_lab.files import write_atomically
    from qsgd_lab.suite.definition import load_suite
    from qsgd_lab.suite.result_file import merged, read_entries, to_json

    suite = load_suite()
    entries = {entry.name: entry for entry in (read_entries(output, suite) if output.exists() else ())}
    for path in results:
        for entry in read_entries(path, suite):
            entries[entry.name] = merged(entries.get(entry.name), entry)
    write_atomically(output, "".join(to_json(entry, suite) for entry in entries.values()))
    click.echo(f"{len(entries)} entries in {output}.", err=True)

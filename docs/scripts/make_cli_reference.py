"""Write docs/cli.md from the commands' own ``--help``, or check that it is current.

python docs/scripts/make_cli_reference.py            write docs/cli.md
python docs/scripts/make_cli_reference.py --check    exit with 1 if it would change
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

import click
from click.testing import CliRunner

from qsgd_lab.cli.main import COMMANDS, cli

REFERENCE = Path(__file__).resolve().parent.parent / "cli.md"
PREFACE = """\
# Command line

This page is what `--help` says, written by `python docs/scripts/make_cli_reference.py`; do not edit it.

Lists of bits, nodes and seeds are written `2,4,8`, `1..8` or `1..4,8`; a number given twice counts once.
Exit codes:

| code | meaning |
| ---: | --- |
| 0 | all is well |
| 1 | a run or check failed |
| 2 | the command line is wrong |
| 3 | data are missing |
| 4 | stored data are damaged |
| 5 | the time of `--max-time` is up and runs remain: the same command goes on with them |
| 130 | interrupted |
| 141 | the program that read the output stopped reading |
"""


def reference() -> str:
    """Return the text of docs/cli.md."""
    sections = [PREFACE, _section("qsgd-lab", [])]
    sections += [_section(f"qsgd-lab {' '.join(args)}", args) for args in _commands()]
    return "\n".join(sections)


def _commands() -> Iterator[list[str]]:
    """Iterate over all commands, each group followed by its own."""
    for name in COMMANDS:
        yield [name]
        command = cli.get_command(click.Context(cli), name)
        if isinstance(command, click.Group):
            yield from ([name, inner] for inner in command.list_commands(click.Context(command)))


def _section(title: str, args: list[str]) -> str:
    # A fixed width, so that the page does not depend on the terminal.
    result = CliRunner().invoke(cli, [*args, "--help"], prog_name="qsgd-lab", terminal_width=100)
    if result.exit_code != 0:
        raise click.ClickException(f"'{title} --help' failed: {result.exception!r}")
    return f"## {title}\n\n```text\n{result.output.rstrip()}\n```\n"


@click.command()
@click.option("--check", is_flag=True, help="Only compare, and show what would change.")
def main(check: bool) -> None:
    """Write docs/cli.md, or check it."""
    fresh = reference()
    stale = REFERENCE.read_text(encoding="utf-8") if REFERENCE.exists() else ""
    if not check:
        REFERENCE.write_text(fresh, encoding="utf-8")
    elif fresh != stale:
        click.echo(
            "".join(
                difflib.unified_diff(stale.splitlines(True), fresh.splitlines(True), "docs/cli.md", "--help")
            )
        )
        raise click.ClickException(
            "docs/cli.md is not what --help says; run: python docs/scripts/make_cli_reference.py"
        )


if __name__ == "__main__":
    main()

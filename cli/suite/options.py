"""Options and steps that the commands of the benchmark share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qsgd_lab.cli.options.completion import one_of

if TYPE_CHECKING:
    from qsgd_lab.suite.result_file import Entry
    from qsgd_lab.suite.score import Board
    from qsgd_lab.suite.submission import Submission

#: Written out so that the help imports nothing heavy; a test compares them with the definition.
RUNGS = ("8x", "32x", "deep")
TASKS = ("curved", "kinked", "softmax", "brackets", "fashion", "fashion-unlike")


def rung_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --rung to a command, once."""
    return click.option("--rung", type=click.Choice(RUNGS), default="32x", show_default=True)(command)


def task_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --task to a command, any number of times."""
    return click.option(
        "--task",
        "tasks",
        multiple=True,
        shell_complete=one_of(lambda _: TASKS),
        help="Only this task; may be given again.  [default: all]",
    )(command)


def against_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --against to a command, any number of times."""
    return click.option(
        "--against",
        multiple=True,
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="A result file beside the stored baselines; may be given again.",
    )(command)


def read_board(against: Sequence[Path], rungs: Sequence[str]) -> Board:
    """Return the stored baselines and the given results side by side.

    Raises
    ------
    IntegrityError
        If a file is not sound, is of another definition, or lacks a cell of a rung that it entered.
    """
    from qsgd_lab.errors import IntegrityError
    from qsgd_lab.suite.definition import load_suite
    from qsgd_lab.suite.result_file import merged, missing_cells, read_entries, stored_entries
    from qsgd_lab.suite.score import Board

    suite = load_suite()
    entries: list[Entry] = [*stored_entries(suite)]
    for path in against:
        for entry in read_entries(path, suite):
            if lacking := missing_cells(entry, suite, rungs):
                raise IntegrityError(f"{path} lacks {lacking[0]}; run the submission again to complete it")
            # Of a baseline that was run here, what was not run is the stored one's.
            before = next((other for other in entries if other.name == entry.name), None)
            entries = [other for other in entries if other is not before] + [merged(before, entry)]
    try:
        return Board(suite, entries)
    except ValueError as error:
        raise IntegrityError(str(error)) from None


def submission_named(text: str, imports: Sequence[str]) -> Submission:
    """Return a baseline by its name, or the submission of a TOML file, with its plug-in loaded.

    Raises
    ------
    ValueError
        If it is neither, or not sound.
    """
    from qsgd_lab import plugins
    from qsgd_lab.suite.definition import load_suite
    from qsgd_lab.suite.submission import baselines, read_submission

    suite = load_suite()
    plugins.load(imports)
    if text in baselines(suite):
        found = baselines(suite)[text]
    elif text.endswith(".toml"):
        found = read_submission(Path(text), suite)
    else:
        known = ", ".join(baselines(suite))
        hint = "; a result is read by qsgd-lab suite table --against" if text.endswith(".json") else ""
        raise ValueError(f"{text!r} is neither a .toml file nor a baseline; baselines: {known}{hint}")
    found.load()
    return found

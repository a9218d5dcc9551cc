"""Which stored runs a command shows: their folder, filters by field, and what to say when there are none."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qsgd_lab.cli.options.completion import of_stored_runs
from qsgd_lab.errors import DataMissingError

if TYPE_CHECKING:
    from qsgd_lab.runs.record import RunRecord

Command = TypeVar("Command", bound=Callable[..., Any])

REPRODUCE = "qsgd-lab reproduce --model alexnet --nodes 1,2,4,8"


def runs_option(*names: str) -> Callable[[Command], Command]:
    """Return the option ``--runs``; `names` may hold another name for its parameter."""
    return click.option(
        "--runs",
        *names,
        type=click.Path(path_type=Path),
        default=Path("runs"),
        show_default=True,
        help="The folder of the runs.",
    )


def selection_options(verb: str) -> Callable[[Command], Command]:
    """Return ``--runs`` and the filters by preset, data set and model, of a command that does `verb`."""

    def add(command: Command) -> Command:
        for name, what in (("model", "model"), ("dataset", "data set"), ("preset", "preset")):
            words = f"{verb} only this {what}; may be given again."
            command = click.option(
                f"--{name}", multiple=True, help=words, shell_complete=of_stored_runs(name)
            )(command)
        return runs_option()(command)

    return add


def read_records(runs: Path, *, stale: bool = False) -> list[RunRecord]:
    """Return the records of a folder; say on stderr how many were left out as stale.

    Raises
    ------
    DataMissingError
        If there are none.
    IntegrityError
        At the first damaged one.
    """
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


def only(records: list[RunRecord], name: str, wanted: Sequence[Any]) -> list[RunRecord]:
    """Return the records with one of the ``wanted`` values of a configuration field, if any are given.

    Raises
    ------
    DataMissingError
        If there are none.
    """
    if not wanted:
        return records
    chosen = [record for record in records if getattr(record.config, name) in wanted]
    if not chosen:
        there = ", ".join(map(str, sorted({getattr(record.config, name) for record in records})))
        given = " or ".join(map(str, wanted))
        raise DataMissingError(f"no runs with --{name} {given}; there are: {there}")
    return chosen


def _no_runs(runs: Path, left_out: int) -> str:
    option = "" if runs == Path("runs") else f" --runs {shlex.quote(str(runs))}"
    stale = f" but {left_out} made with other versions of the lab (--stale shows them)" if left_out else ""
    return f"no runs in the folder {runs}{stale}; make them with: {REPRODUCE}{option}"

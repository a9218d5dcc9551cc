"""Options that select stored runs: their folder, filters by field, and the message when there are none."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qsgd_lab.cli.options.completion import of_stored_runs
from qsgd_lab.cli.standard_error import say_line
from qsgd_lab.errors import DataMissingError
from qsgd_lab.runs.packed import SUFFIX

if TYPE_CHECKING:
    from qsgd_lab.runs.contents import StoreContents
    from qsgd_lab.runs.epochs import EpochRecord
    from qsgd_lab.runs.plan import Plan
    from qsgd_lab.runs.record import RunRecord
    from qsgd_lab.runs.store import RunStore

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
        help="The folder of the runs, or a packed file of them.",
    )


def selection_options(verb: str) -> Callable[[Command], Command]:
    """Return ``--runs`` and the filters of a command that does `verb`."""
    return lambda command: runs_option()(filter_options(verb)(command))


def filter_options(verb: str) -> Callable[[Command], Command]:
    """Return the filters by preset, data set and model of a command that does `verb`."""

    def add(command: Command) -> Command:
        for name, what in (("model", "model"), ("dataset", "data set"), ("preset", "preset")):
            words = f"{verb} only this {what}; may be given again."
            command = click.option(
                f"--{name}", multiple=True, help=words, shell_complete=of_stored_runs(name)
            )(command)
        return command

    return add


def read_records(runs: Path, *, stale: bool = False) -> list[RunRecord]:
    """Return the records of a folder or packed file; say on stderr how many were left out, and why.

    Raises
    ------
    DataMissingError
        If there are none.
    IntegrityError
        If there are some, but all are damaged.
    """
    from qsgd_lab.runs.store import RunStore

    return sound_records(RunStore(runs).read(), runs, stale=stale)


def sound_records(contents: StoreContents, runs: Path, *, stale: bool = True) -> list[RunRecord]:
    """Return the records of a store that was read, as `read_records` does."""
    contents.require_sound(runs)
    records = [record for record in contents.records if stale or not record.is_stale]
    left_out = len(contents.records) - len(records)
    warn_of_damage(contents)
    if not records:
        raise DataMissingError(_no_runs(runs, left_out))
    if left_out:
        say_line(f"Left out {left_out} runs made with other versions of the lab; --stale shows them.")
    return records


def warn_of_damage(contents: StoreContents) -> None:
    """Say on stderr, in one line, how many runs were skipped as damaged, and name the first."""
    if contents.warning:
        say_line(f"Warning: {contents.warning}.")


def check_takes_runs(store: RunStore, plan: Plan) -> None:
    """Refuse a packed file, before any work, where there are runs to be made.

    Raises
    ------
    UsageError
        With what would be right.
    """
    if store.is_file and plan.configs("missing", "stale"):
        store.ensure_writable()


def read_epochs(runs: Path, records: Sequence[RunRecord]) -> dict[str, tuple[EpochRecord, ...]]:
    """Return the epochs of runs by key; those that are damaged are left out, and that is said on stderr.

    Raises
    ------
    IntegrityError
        If there are some, but all are damaged.
    """
    from qsgd_lab.runs.store import RunStore

    found, damaged = RunStore(runs).all_epochs(records)
    if damaged:
        say_line(f"Warning: skipped the epochs of {len(damaged)} runs; the first: {damaged[0]}.")
    return found


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
    packed = Path(f"{runs}{SUFFIX}")
    if left_out:
        stale = f"no runs in {runs} but {left_out} made with other versions of the lab (--stale shows them)"
        return f"{stale}; make them with: {REPRODUCE}{option}"
    if runs.suffix == SUFFIX and not runs.exists():
        return f"there is no file {runs}; name a packed file that exists, or a folder of runs"
    if packed.is_file():
        return f"no runs in the folder {runs}; there is a packed file: --runs {shlex.quote(str(packed))}"
    return f"no runs in the folder {runs}; make them with: {REPRODUCE}{option}"

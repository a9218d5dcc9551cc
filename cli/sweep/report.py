"""``qsgd-lab report``: the stored runs as one HTML page, also while a sweep is making them."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qsgd_lab.cli.options.stored_runs import only, read_epochs, selection_options, sound_records
from qsgd_lab.cli.standard_error import say_line
from qsgd_lab.files import STANDARD_STREAM, check_place, save
from qsgd_lab.runs import events
from qsgd_lab.training.presets import margins

if TYPE_CHECKING:
    from qsgd_lab.report.page.contents import Unfinished
    from qsgd_lab.runs.config import RunConfig
    from qsgd_lab.runs.record import RunRecord
    from qsgd_lab.runs.store import RunStore

#: A page above this opens slowly, and mail programs refuse it.
_LARGE_BYTES = 5_000_000
#: Of error.log, from its end; its last line is shown, cut to so many characters.
_LOG_BYTES = 4096
_REASON_LENGTH = 300


@click.command()
@selection_options("Show")
@click.option("--title", help="Title of the page.  [default: its question]")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="Write to this file, whole or not at all; - is standard output.",
)
def report(
    runs: Path,
    preset: Sequence[str],
    dataset: Sequence[str],
    model: Sequence[str],
    title: str | None,
    output: Path,
) -> None:
    """Write stored runs as one HTML page that needs no network.

    The page has the tables with their marks and legends, the figures, accuracy by epoch of every run, a list
    of runs to filter and sort, settings and environments, what failed or diverged, and the commands that make
    the runs again. It works from a file, in print, and without JavaScript. The same runs give the same bytes.

    \b
    Example:
      qsgd-lab report
      qsgd-lab report --runs paper/runs.jsonl -o report.html
      qsgd-lab reproduce --preset fashion --nodes 1,8 --report report.html
    """
    from qsgd_lab.report.page.build import page
    from qsgd_lab.report.page.contents import PageContents
    from qsgd_lab.runs.store import RunStore

    check_place(output)
    store = RunStore(runs)
    found = store.read()
    records = sound_records(found, runs)
    for name, wanted in (("preset", preset), ("dataset", dataset), ("model", model)):
        records = only(records, name, wanted)
    current = [record for record in records if not record.is_stale]
    contents = PageContents(
        runs=current,
        epochs=read_epochs(runs, current),
        # a folder without a record does not say which preset, data set or model it is of
        unfinished=() if preset or dataset or model else tuple(unfinished(store, store.unfinished())),
        left_out=[record for record in records if record.is_stale],
        warning=found.warning,
        commands=_commands(current),
        title=title,
        margins=margins(),
    )
    text = page(contents).encode()
    save(output, text)
    if output != STANDARD_STREAM:
        click.echo(str(output))
    if len(text) > _LARGE_BYTES:
        say_line(f"Warning: the page has {len(text) / 1e6:.1f} MB; choose by --preset, --dataset or --model.")


def _commands(records: Sequence[RunRecord]) -> list[str]:
    from qsgd_lab.cli.sweep.repeat import repeating_commands

    return repeating_commands(records)


def unfinished(store: RunStore, keys: Sequence[str]) -> Iterator[Unfinished]:
    """Yield what became of runs without a record, with the last line of their error.log."""
    from qsgd_lab.report.page.contents import Unfinished

    for key in keys:
        lines = _end_of_log(store.error_log_path(key)).splitlines()
        if lines:
            yield Unfinished(key, "failed", lines[-1][:_REASON_LENGTH])
        else:
            yield Unfinished(key, "not finished")


def _end_of_log(path: Path) -> str:
    """Return the end of a log; nothing where there is none. Tracebacks above hold the user's paths."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_BYTES))
            return file.read(_LOG_BYTES).decode(errors="replace").strip()
    except OSError:
        return ""


class LiveReport:
    """The page of a sweep that is running, written again as runs finish.

    It is written at most so often that it takes a twentieth of the time, and at the sweep's end. A failure to
    write is said once, and does not stop the sweep.

    Parameters
    ----------
    path : Path
    store : RunStore
    configs : sequence of RunConfig
        All the runs of the sweep.
    """

    REFRESH_S = 30
    _SHARE = 20

    def __init__(self, path: Path, store: RunStore, configs: Sequence[RunConfig]) -> None:
        self.path = path
        self._store = store
        self._configs = {config.key: config.canonical() for config in configs}
        self._started: set[str] = set()
        self._next = 0.0
        self._has_failed = False

    def show(self, event: events.Event) -> None:
        """Write the page if the event is the end of a run, unless that was done just now."""
        if isinstance(event, events.CellStarted):
            self._started.add(event.config.key)
        if isinstance(event, events.CellFinished | events.CellFailed) and time.monotonic() >= self._next:
            self.write()

    def write(self, *, is_last: bool = False) -> None:
        """Write the page of the runs that are there by now."""
        start = time.monotonic()
        try:
            save(self.path, self._page(is_last=is_last).encode())
        except Exception as error:  # whatever is wrong with the page, a night of training goes on
            if not self._has_failed:
                say_line(f"Warning: no report: {error}")
            self._has_failed = True
        end = time.monotonic()
        self._next = end + self._SHARE * (end - start)

    def _page(self, *, is_last: bool) -> str:
        from qsgd_lab.report.page.build import page
        from qsgd_lab.report.page.contents import PageContents, Progress

        contents = self._store.read()
        found = {record.key: record for record in contents.records if record.key in self._configs}
        runs = list(found.values())
        lacking = [key for key in self._configs if key not in found]
        begun = [key for key in lacking if key in self._started or self._store.folder(key).is_dir()]
        return page(
            PageContents(
                runs=runs,
                epochs=self._store.all_epochs(runs)[0],
                unfinished=tuple(unfinished(self._store, begun)),
                warning=contents.warning,
                commands=_commands(runs),
                progress=Progress(len(runs), len(self._configs), 0 if is_last else self.REFRESH_S),
                margins=margins(),
            )
        )

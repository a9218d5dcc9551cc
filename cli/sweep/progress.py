"""Progress of a sweep on stderr: bars in a terminal, a line a cell elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import click

from qsgd_lab.cli.options.quantities import format_duration
from qsgd_lab.cli.standard_error import say_line
from qsgd_lab.compilation import COMPILING
from qsgd_lab.runs import events
from qsgd_lab.runs.sweep import StopReason

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from qsgd_lab.runs.config import RunConfig


#: What is said when a sweep begins to stop: it waits for the next step of each run, which may take a while.
STOPPING: dict[StopReason, str] = {
    "interrupt": "Stopping: the runs under way save what they have done; Ctrl-C again stops at once.",
    "time": "The time is up: the runs under way save what they have done.",
    "caller": "Stopping: the runs under way save what they have done.",
}

#: How many of the longest pauses between epochs say nothing of the pace.
PAUSES = 2


def cell_name(config: RunConfig) -> str:
    """Return a cell in words."""
    return f"{config.model}, {config.method}, N={config.nodes}, seed {config.seed}"


class SweepProgress:
    """Counts epochs, the unit in which all cells progress, and hands what happens to a display."""

    def __init__(self, todo: Sequence[RunConfig]) -> None:
        self.total = sum(config.epochs for config in todo)
        self.cells = len(todo)
        self.finished = 0
        self._compilation_is_told = False
        self._epochs: dict[str, int] = {}
        self._history = [(0, time.monotonic())]

    @property
    def done(self) -> int:
        """Epochs done, all cells together."""
        return sum(self._epochs.values())

    def take(self, event: events.Event) -> None:
        """Count an event."""
        if isinstance(event, events.CellProgress):
            self._epochs[event.config.key] = event.epoch
        elif isinstance(event, events.CellFinished | events.CellFailed):
            self._epochs[event.config.key] = event.config.epochs
            self.finished += 1
        if self.done > self._history[-1][0]:
            self._history.append((self.done, time.monotonic()))

    def is_first_compilation(self, event: events.Event) -> bool:
        """Whether this is the first that is heard of compiling; each worker tells of its own."""
        is_first = isinstance(event, events.CellCompiling) and not self._compilation_is_told
        self._compilation_is_told |= is_first
        return is_first

    def left(self) -> str:
        """Return the time that remains, in words, at the average pace so far.

        The longest pauses are left out: the start of the workers and, on a fresh installation, compilation.
        """
        if not self.done:
            return "time left unknown"
        steps = [(then - begun, after - before) for (before, begun), (after, then) in pairwise(self._history)]
        usual = sorted(steps)[:-PAUSES] if len(steps) > 4 * PAUSES else steps
        pace = sum(seconds for seconds, _ in usual) / sum(epochs for _, epochs in usual)
        return f"about {format_duration(pace * (self.total - self.done))} left"


class LineDisplay:
    """For logs and pipes: one line a finished cell."""

    def __init__(self, progress: SweepProgress) -> None:
        self.progress = progress

    def show(self, event: events.Event) -> None:
        """Print what is worth a line."""
        self.progress.take(event)
        if self.progress.is_first_compilation(event):
            click.echo(COMPILING, err=True)
        line = describe(event)
        if line:
            counter = f"[{self.progress.finished}/{self.progress.cells}]"
            left = f"; {self.progress.left()}" if self.progress.finished < self.progress.cells else ""
            click.echo(f"{counter} {line}{left}", err=True)

    def stopping(self, reason: StopReason) -> None:
        """Say at once that the sweep is stopping, and what it waits for."""
        say_line(STOPPING[reason])


class BarDisplay:
    """For terminals: an overall bar with the time left, and the running cells below it."""

    def __init__(self, progress: SweepProgress, bars: Progress) -> None:
        self.progress, self.bars = progress, bars
        self._overall = bars.add_task("all cells", total=progress.total, note="")
        self._running: dict[str, TaskID] = {}

    def show(self, event: events.Event) -> None:
        """Bring the bars up to date; print only what went wrong."""
        self.progress.take(event)
        key = event.config.key
        if isinstance(event, events.CellStarted):
            self._running[key] = self.bars.add_task(
                cell_name(event.config), total=event.config.epochs, note=""
            )
        elif isinstance(event, events.CellProgress) and key in self._running:
            accuracy = event.metrics.get("validation_accuracy")
            note = "" if accuracy is None else f"val. {100 * accuracy:.1f} %"
            self.bars.update(self._running[key], completed=event.epoch, note=note)
        elif not isinstance(event, events.CellWaiting | events.CellCompiling) and key in self._running:
            self.bars.remove_task(self._running.pop(key))
        if self.progress.is_first_compilation(event):
            self.bars.console.print(COMPILING, markup=False, highlight=False)
        if isinstance(event, events.CellFailed | events.CellRetried):
            self.bars.console.print(describe(event), markup=False, highlight=False)
        note = f"{self.progress.finished}/{self.progress.cells}, {self.progress.left()}"
        self.bars.update(self._overall, completed=self.progress.done, note=note)

    def stopping(self, reason: StopReason) -> None:
        """Say at once that the sweep is stopping, and what it waits for."""
        self.bars.console.print(STOPPING[reason], markup=False, highlight=False)


def describe(event: events.Event) -> str:
    """Return an event in words, empty if it is not worth a line of a log."""
    name = cell_name(event.config)
    if isinstance(event, events.CellFinished):
        accuracy = f"{100 * event.record.result['test_accuracy']:.1f} %"
        diverged = ", diverged" if event.record.status == "diverged" else ""
        where = f"{event.record.timing['total_s']:.1f} s" if event.here else "by another process"
        return f"{name}: {accuracy}{diverged} ({where})"
    if isinstance(event, events.CellFailed):
        return f"{name}: failed: {event.reason}"
    if isinstance(event, events.CellRetried):
        return f"{name}: {event.reason}; tried again"
    if isinstance(event, events.CellInterrupted):
        return f"{name}: stopped, to be continued"
    if isinstance(event, events.CellWaiting):
        return f"{name}: another process holds it; looked at again until it is done or free"
    return ""


@contextmanager
def display(todo: Sequence[RunConfig]) -> Iterator[LineDisplay | BarDisplay]:
    """Show the progress of a sweep while inside: bars in a terminal that can show them, else lines."""
    from rich.console import Console

    progress = SweepProgress(todo)
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal or not todo:
        yield LineDisplay(progress)
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console, transient=True) as bars:
        yield BarDisplay(progress, bars)

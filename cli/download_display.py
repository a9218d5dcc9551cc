"""Progress of a download on stderr: a bar in a terminal, a line for every tenth elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

_MEGABYTE = 1_000_000


class Display(Protocol):
    """What a download tells."""

    def progress(self, done: int, total: int) -> None:
        """Take note that `done` of `total` bytes are there."""

    def notice(self, text: str) -> None:
        """Show what went otherwise than planned."""


class LineDisplay:
    """For logs and pipes."""

    def __init__(self) -> None:
        self._tenths = -1

    def progress(self, done: int, total: int) -> None:
        """Print a line at the beginning and when another tenth is complete."""
        tenths = 10 * done // total
        if tenths > self._tenths:
            click.echo(f"{done / _MEGABYTE:.1f} of {total / _MEGABYTE:.1f} MB", err=True)
        self._tenths = tenths

    def notice(self, text: str) -> None:
        """Print it."""
        click.echo(text, err=True)


class BarDisplay:
    """For terminals."""

    def __init__(self, bars: Progress) -> None:
        self._bars, self._task = bars, bars.add_task("CIFAR-10", total=None)

    def progress(self, done: int, total: int) -> None:
        """Move the bar."""
        self._bars.update(self._task, completed=done, total=total)

    def notice(self, text: str) -> None:
        """Print it above the bar."""
        self._bars.console.print(text, markup=False, highlight=False)


def columns() -> list[str | ProgressColumn]:
    """Return what a bar shows: what has come of how much, how fast, and the time left."""
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    figures = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return ["{task.description}", *figures]


@contextmanager
def display() -> Iterator[Display]:
    """Show the progress of a download while inside."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield LineDisplay()
        return
    from rich.progress import Progress

    with Progress(*columns(), console=console, transient=True) as bars:
        yield BarDisplay(bars)

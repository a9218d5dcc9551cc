"""Standard error: notices in lines of the terminal's width; an error in one line, except on a terminal."""

from __future__ import annotations

import sys

import click

from qsgd_lab.terminal import fill


def say(notice: str) -> None:
    """Print a notice of any length, in lines that fit."""
    click.echo(fill(notice), err=True)


def say_error(error: str) -> None:
    """Print an error: in lines that fit on a terminal, else in one line, which scripts read whole."""
    click.echo(fill(error) if sys.stderr.isatty() else error, err=True)

"""Standard error: notices in lines that fit; an error or warning in one line, except on a terminal."""

from __future__ import annotations

import sys

import click

from qsgd_lab.terminal import fill


def say(notice: str) -> None:
    """Print a notice of any length, in lines that fit."""
    click.echo(fill(notice), err=True)


def say_line(text: str) -> None:
    """Print an error or a warning: on a terminal in lines that fit, else in one line, for scripts."""
    click.echo(fill(text) if sys.stderr.isatty() else text, err=True)

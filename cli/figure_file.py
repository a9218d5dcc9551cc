"""The option ``--plot`` of the commands that draw: which files a figure may go to."""

from __future__ import annotations

from pathlib import Path

from qsgd_lab.errors import UsageError
from qsgd_lab.report.figure_style import SUFFIXES


def check_figure_file(path: Path | None) -> None:
    """Refuse a file that no figure can go to, before the work is done.

    Raises
    ------
    UsageError
        If its ending is unknown or its folder is not there.
    """
    if path is not None and path.suffix not in SUFFIXES:
        raise UsageError(f"--plot {path} has no known ending; use one of {', '.join(SUFFIXES)}")
    if path is not None and not path.absolute().parent.is_dir():
        raise UsageError(f"--plot {path}: there is no folder {path.parent}; make it first")

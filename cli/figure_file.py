"""Figures of the commands: which files they may go to, their sizes and colours, and how they are written."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsgd_lab.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".pdf", ".png", ".svg")

#: Widths in inches of one and of both columns of IEEE's page.
COLUMN, PAGE = 3.5, 7.16

#: Okabe and Ito's palette: colours that colour-blind readers tell apart, here from dark to light in grey.
BLACK, BLUE, VERMILLION, GREEN, ORANGE, SKY = (
    "#000000",
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#E69F00",
    "#56B4E9",
)

#: Type that stays type: TrueType in PDF, no random names in SVG.
_STYLE: dict[Any, Any] = {
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "legend.fontsize": 7.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "mathtext.fontset": "cm",
    "pdf.fonttype": 42,
    "svg.hashsalt": "qsgd-lab",
}

# Without a date the same numbers give the same file.
_DATELESS: dict[str, dict[str, Any]] = {
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
    ".png": {"Software": None},
}


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


def style() -> Any:
    """Return the context in which figures are made and saved."""
    from matplotlib import rc_context

    return rc_context(_STYLE)


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the file's ending says which format, and the same figure gives the same bytes."""
    # It remarks on the dates inside the fonts that it embeds.
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    figure.savefig(path, dpi=200, metadata=_DATELESS.get(path.suffix))

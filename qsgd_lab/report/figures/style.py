"""The style of figures: sizes, colours that print, files whose bytes depend on the numbers alone."""

from __future__ import annotations

import io
import locale
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsgd_lab import files
from qsgd_lab.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: File formats by the ending of a name.
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

#: Parameters of windows, which no file depends on; to set the backend would load it.
_KEPT = {"backend", "backend_fallback", "interactive", "toolbar"}

# Without a date the same numbers give the same file.
_DATELESS: dict[str, dict[str, Any]] = {
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
    ".png": {"Software": None},
}

#: Dots an inch: of images, and of drawings, whose unit is the point.
_PIXELS, _POINTS = 200, 72

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_INVISIBLE = 0.01  # points of the drawing


def load_matplotlib() -> None:
    """Import matplotlib as if the user had not configured it; called before anything else imports it.

    MPLBACKEND may name what is not installed here, as Jupyter's does in its terminals, and the import fails
    then. Figures are drawn without pyplot, and need none of the user's backends.

    Raises
    ------
    UsageError
        If the current folder holds a matplotlibrc that is not text.
    """
    if "matplotlib" in sys.modules:
        return
    before = locale.setlocale(locale.LC_ALL)
    try:
        # A matplotlibrc in the current folder is read all the same, and may ask for the environment's locale,
        # which may not be installed.
        with _environment(MPLBACKEND="agg", MATPLOTLIBRC=os.devnull, LC_ALL="C"):
            import matplotlib as mpl  # noqa: F401 (imported for what it then knows)
    except ValueError as error:
        raise UsageError(f"matplotlib cannot read ./matplotlibrc ({error}); fix or remove it") from error
    finally:
        locale.setlocale(locale.LC_ALL, before)


@contextmanager
def _environment(**values: str | None) -> Iterator[None]:
    """Set variables of the environment, or remove those that are None, and put them back."""
    before = {name: os.environ.get(name) for name in values}

    def put(wanted: dict[str, str | None]) -> None:
        for name, value in wanted.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    put(values)
    try:
        yield
    finally:
        put(before)


@contextmanager
def style() -> Iterator[None]:
    """Return the context in which figures are made and saved: matplotlib's own defaults, and ours over them.

    What a matplotlibrc or the calling program has set does not reach the figures.
    """
    load_matplotlib()
    from matplotlib import rc_context, rcParamsDefault

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some defaults are those of deprecated parameters
        defaults = {name: value for name, value in rcParamsDefault.items() if name not in _KEPT}
    with rc_context({**defaults, **_STYLE}):
        yield


def figure_bytes(figure: Figure, suffix: str) -> bytes:
    """Return the file of a figure; the same figure gives the same bytes.

    Parameters
    ----------
    figure : Figure
    suffix : str
        One of `SUFFIXES`.
    """
    # It remarks on the dates inside the fonts that it embeds.
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a stored name may have letters that the font lacks
        # SOURCE_DATE_EPOCH is read though there is no date, and may be no number.
        with _environment(SOURCE_DATE_EPOCH=None), _laid_out(figure, suffix):
            figure.savefig(stream, format=suffix.removeprefix("."), dpi=_PIXELS, metadata=_DATELESS[suffix])
    return stream.getvalue()


@contextmanager
def _laid_out(figure: Figure, suffix: str) -> Iterator[None]:
    """Place the parts of a figure as saving it would, and save it without drawing it twice.

    Matplotlib draws a figure that has a layout engine once for the layout and once for the file.
    """
    from matplotlib.backend_bases import get_registered_canvas_class

    engine = figure.get_layout_engine()
    if engine is None:
        yield
        return
    get_registered_canvas_class(suffix.removeprefix("."))(figure)  # its renderer measures text
    figure.set_dpi(_PIXELS if suffix == ".png" else _POINTS)
    engine.execute(figure)
    figure.set_layout_engine(None)
    try:
        yield
    finally:
        figure.set_layout_engine(engine)


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the file's ending, one of `SUFFIXES`, says which format."""
    files.save(path, figure_bytes(figure, path.suffix))


def same_drawing(drawn: str, stored: str) -> bool:
    """Whether two SVG texts differ in nothing that can be seen.

    Processors round the last digits otherwise: the text between the numbers must be the same, and no number
    may differ by more than a hundredth of a point.
    """
    if _NUMBER.split(drawn) != _NUMBER.split(stored):
        return False
    pairs = zip(_NUMBER.findall(drawn), _NUMBER.findall(stored), strict=True)
    return all(abs(float(one) - float(other)) <= _INVISIBLE for one, other in pairs)

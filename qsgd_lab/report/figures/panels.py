"""Parts that the figures of runs share: panels in a grid, styles of methods and nodes, an accuracy axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from qsgd_lab.report.analysis.grouping import Group
from qsgd_lab.report.figures.style import BLACK, BLUE, COLUMN, GREEN, ORANGE, PAGE, SKY, VERMILLION
from qsgd_lab.runs.config import FULL_PRECISION_BITS

GREY = "#777777"
PURPLE = "#CC79A7"

_COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE)
_MARKS = ("s", "^", "D", "v", "o", "P", "X")
_NODE_LINES = ("-", "--", "-.", ":")

#: Panels a row of one column's width; with more than `_MANY` panels the figure is as wide as the page.
_ACROSS, _ACROSS_PAGE, _MANY = 2, 4, 8

#: Inches of a single row, of a row of small ones, of title and x label, and of a row of the key.
_SINGLE_HEIGHT, _SMALL_HEIGHT, _LABELS_HEIGHT, _KEY_HEIGHT = 1.7, 1.22, 0.42, 0.145

#: Errors from a few percent up are spread as their logarithm, below that evenly: 100 % stays on the axis.
_EVEN_BELOW = 2.0
_WIDE_RANGE = 15.0
_ACCURACY_TICKS = (0, 20, 40, 60, 70, 80, 85, 90, 92, 94, 96, 97, 98, 99, 100)


@dataclass(frozen=True)
class Look:
    """How a line is drawn: each differs from the others in grey, too."""

    colour: str
    mark: str
    line: str
    is_hollow: bool = False

    @property
    def style(self) -> dict[str, Any]:
        """Keyword arguments of matplotlib."""
        return {
            "color": self.colour,
            "marker": self.mark,
            "linestyle": self.line,
            "markerfacecolor": "white" if self.is_hollow else self.colour,
            "markeredgewidth": 0.8,
        }

    def without_line(self) -> Look:
        """Return the look of points that no line joins."""
        return replace(self, line="none")


def method_looks(group: Group) -> dict[str, Look]:
    """Return a look for each method's label: fp32 black; hollow and dashed without error feedback."""
    looks: dict[str, Look] = {}
    turn = 0
    for method in group.methods:
        if method.bits == FULL_PRECISION_BITS:
            looks[method.label] = Look(BLACK, "o", "-")
            continue
        colour, mark = _COLOURS[turn % len(_COLOURS)], _MARKS[turn % len(_MARKS)]
        hollow = not method.error_feedback
        looks[method.label] = Look(colour, mark, "--" if hollow else "-", hollow)
        turn += 1
    return looks


def method_cycle(count: int) -> list[Look]:
    """Return so many looks, of which the first is black."""
    others = zip(cycle(_COLOURS), cycle(_MARKS), cycle(_NODE_LINES), strict=False)
    return [Look(BLACK, "o", "-"), *(Look(*look) for look in islice(others, max(0, count - 1)))][:count]


def node_looks(nodes: Sequence[int]) -> dict[int, Look]:
    """Return a look for each number of nodes."""
    looks = zip(cycle(_COLOURS), cycle(_MARKS), cycle(_NODE_LINES), cycle((False, True)))
    return {count: Look(*look) for count, look in zip(nodes, looks, strict=False)}


@dataclass(frozen=True)
class Panels:
    """A figure of panels in a grid with common axes.

    Attributes
    ----------
    figure : Figure
    axes : list of Axes
        Row by row.
    spare : Axes or None
        An empty place behind the last panel, where the key goes.
    num_rows : int
    """

    figure: Figure
    axes: list[Axes]
    spare: Axes | None
    num_rows: int

    def finish(self, title: str, y_label: str, keys: Sequence[Line2D], columns: int = 2) -> Figure:
        """Write the title, the common y label and the key, the latter in ``columns`` if it is below."""
        self.figure.suptitle(title, fontsize=7, color="#333333")
        if self.num_rows == 1:
            self.axes[0].set_ylabel(y_label)
        else:
            self.figure.supylabel(y_label, fontsize=8)
        place: dict[str, Any] = {"loc": "center"}
        if self.spare is None:
            place = {"loc": "outside lower center", "ncols": columns, "columnspacing": 1.2}
            width, height = self.figure.get_size_inches()
            self.figure.set_size_inches(width, height + _KEY_HEIGHT * -(-len(keys) // columns))
        (self.spare or self.figure).legend(
            handles=list(keys), frameon=False, handletextpad=0.5, handlelength=2.4, **place
        )
        return self.figure


def make_panels(count: int, x_label: str) -> Panels:
    """Return an empty figure; a single panel has its whole width.

    Parameters
    ----------
    count : int
        Panels, at least 1.
    x_label : str
        Under the panels of the last row.
    """
    across = 1 if count == 1 else _ACROSS_PAGE if count > _MANY else _ACROSS
    rows = -(-count // across)
    height = _SINGLE_HEIGHT if rows == 1 else rows * _SMALL_HEIGHT
    figure = Figure(
        figsize=(PAGE if count > _MANY else COLUMN, _LABELS_HEIGHT + height), layout="constrained"
    )
    grid = figure.subplots(rows, across, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[max(0, count - across) : count]:
        axes.xaxis.set_tick_params(labelbottom=True)
    for axes in grid[(rows - 1) * across : count]:
        axes.set_xlabel(x_label)
    for axes in grid[count:]:
        axes.axis("off")
    return Panels(figure, list(grid[:count]), grid[count] if rows * across > count else None, rows)


def panel_title(axes: Axes, text: str) -> None:
    """Name a panel."""
    axes.set_title(text, fontsize=7, pad=2)


def key(look: Look, label: str) -> Line2D:
    """Return the line of a legend."""
    return Line2D([], [], label=label, **look.style)


def mark_key(mark: str, label: str) -> Line2D:
    """Return the legend's line for a sign beside points."""
    return Line2D([], [], label=label, color=BLACK, linestyle="none", marker=mark)


def cross_key() -> Line2D:
    """Return the legend's line for diverged runs."""
    return Line2D([], [], label="some seed diverged", **CROSS)


#: A cross over the point of a cell of which some seed diverged.
CROSS: dict[str, Any] = {
    "color": BLACK,
    "linestyle": "none",
    "marker": "x",
    "markersize": 6,
    "markeredgewidth": 1.0,
    "zorder": 5,
}


def set_accuracy_axis(axes: Axes, values: Iterable[float]) -> None:
    """Scale a y axis of accuracies in percent so that all values are on it and good ones are apart.

    Over a narrow range it is linear. Over a wide one it goes with the logarithm of the error.
    """
    low, high = _range(values)
    if high - low <= _WIDE_RANGE:
        margin = max(0.08 * (high - low), 0.2)
        axes.set_ylim(low - margin, high + margin)
        return
    axes.set_yscale("function", functions=(_spread, _unspread))
    bottom, top = (float(_spread(edge)) for edge in (low, high))
    margin = 0.05 * (top - bottom)
    axes.set_ylim(float(_unspread(bottom - margin)), float(_unspread(top + margin)))
    ticks = _apart([tick for tick in _ACCURACY_TICKS if low <= tick <= high], 0.13 * (top - bottom))
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.set_yticks([], minor=True)


def _range(values: Iterable[float]) -> tuple[float, float]:
    inside = [min(max(value, 0.0), 100.0) for value in values]
    return min(inside, default=0.0), max(inside, default=100.0)


def _apart(ticks: Sequence[int], distance: float) -> list[int]:
    """Return ticks, from the top down, that are so far apart on the spread axis."""
    chosen: list[int] = []
    for tick in reversed(ticks):
        if not chosen or abs(float(_spread(chosen[-1])) - float(_spread(tick))) >= distance:
            chosen.append(tick)
    return chosen[::-1]


def _spread(accuracy: ArrayLike) -> NDArray[np.float64]:
    place: NDArray[np.float64] = -np.arcsinh((100.0 - np.asarray(accuracy, dtype=float)) / _EVEN_BELOW)
    return place


def _unspread(place: ArrayLike) -> NDArray[np.float64]:
    accuracy: NDArray[np.float64] = 100.0 - _EVEN_BELOW * np.sinh(-np.asarray(place, dtype=float))
    return accuracy


def log_ticks(low: float, high: float) -> list[int]:
    """Return the powers of two from the one at or below ``low`` to the one at or above ``high``."""
    return [2**k for k in range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)]

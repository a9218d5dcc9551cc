"""The benchmark as a dot plot: a row an entry, a panel a task; ratios to float32 at each rung, and R*."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qsgd_lab.report.figures.data import plain
from qsgd_lab.report.figures.style import figure_bytes, save, style

#: Ratios beyond are drawn at the edge, with an arrow.
LIMIT = 64.0
_SHAPES = ("o", "s", "D")
_INK, _OVER, _BAND = "#1B4F72", "#D35400", "#D5F5E3"


@dataclass(frozen=True)
class Dot:
    """A cell of the figure.

    Attributes
    ----------
    ratio : float
        To float32; infinite where a seed diverged.
    low, high : float
        Interval over seeds.
    neighbours : tuple of float
        Ratios at the two neighbouring rates, as far as they were tried.
    is_void : bool
        Whether the bits exceed the rung.
    """

    ratio: float
    low: float
    high: float
    neighbours: tuple[float, ...] = ()
    is_void: bool = False


@dataclass(frozen=True)
class SuiteFigure:
    """What is drawn.

    Attributes
    ----------
    entries : sequence of str
        Titles, the best first.
    tasks, rungs : sequence of str
    dots : mapping of (entry, task, rung) to Dot
    margins : mapping of str to float
        Of each task.
    stars : mapping of (entry, task) to (float, str)
        R*, and the sign before it.
    """

    entries: Sequence[str]
    tasks: Sequence[str]
    rungs: Sequence[str]
    dots: Mapping[tuple[str, str, str], Dot]
    margins: Mapping[str, float]
    stars: Mapping[tuple[str, str], tuple[float, str]]


def save_suite(shown: SuiteFigure, path: Path, *, title: str) -> None:
    """Draw the figure.

    Parameters
    ----------
    shown : SuiteFigure
    path : Path
        Ending in .pdf, .png or .svg; replaced if it exists.
    title : str
    """
    with style():
        save(_draw(shown, title), path)


def suite_bytes(shown: SuiteFigure, suffix: str, *, title: str) -> bytes:
    """Return the figure as a file's bytes; arguments as of `save_suite`, and .pdf, .png or .svg."""
    with style():
        return figure_bytes(_draw(shown, title), suffix)


def _draw(shown: SuiteFigure, title: str) -> Figure:
    height = 1.3 + 0.24 * len(shown.entries)
    figure = Figure(figsize=(2.1 + 1.9 * (len(shown.tasks) + 1), height), layout="constrained")
    panels = figure.subplots(1, len(shown.tasks) + 1, sharey=True)
    for axes, task in zip(panels, shown.tasks, strict=False):
        _draw_task(axes, shown, task)
    _draw_stars(panels[-1], shown)
    panels[0].set_yticks(range(len(shown.entries)), [plain(name) for name in shown.entries])
    panels[0].set_ylim(len(shown.entries) - 0.5, -0.5)
    shapes = [
        Line2D([], [], color=_INK, marker=shape, linestyle="", markersize=4, label=rung, fillstyle=fill)  # type: ignore[arg-type]
        for rung, shape, fill in _looks(shown.rungs)
    ]
    over = Line2D([], [], color=_OVER, marker="o", linestyle="", markersize=4, label="over the bits")
    figure.legend(handles=[*shapes, over], loc="outside lower center", ncols=len(shapes) + 1, frameon=False)
    figure.suptitle(title)
    return figure


def _looks(rungs: Sequence[str]) -> list[tuple[str, str, str]]:
    fills = ("none", "full", "full")
    return [(rung, _SHAPES[i % 3], fills[i % 3]) for i, rung in enumerate(rungs)]


def _draw_task(axes: Axes, shown: SuiteFigure, task: str) -> None:
    axes.axvspan(0.5, shown.margins[task], color=_BAND, linewidth=0)
    axes.axvline(1.0, color="#999999", linewidth=0.6)
    for row, entry in enumerate(shown.entries):
        for rung, shape, fill in _looks(shown.rungs):
            dot = shown.dots.get((entry, task, rung))
            if dot is None:
                continue
            colour = _OVER if dot.is_void else _INK
            if dot.ratio > LIMIT:
                axes.plot([LIMIT], [row], marker=">", color=colour, markersize=4, clip_on=False)
                continue
            ends = [each for each in dot.neighbours if each < LIMIT]
            if ends:
                axes.plot([dot.ratio, max(ends)], [row, row], color="#BBBBBB", linewidth=2.5, zorder=1)
            axes.plot([dot.low, dot.high], [row, row], color=colour, linewidth=0.9, zorder=2)
            axes.plot([dot.ratio], [row], marker=shape, fillstyle=fill, color=colour, markersize=4, zorder=3)  # type: ignore[arg-type]
    axes.set_xscale("log")
    axes.set_xlim(0.7, LIMIT)
    axes.set_xticks([1, 4, 16, 64], ["1", "4", "16", "64"])
    axes.minorticks_off()
    axes.set_title(task)
    axes.set_xlabel("ratio to float32")
    axes.grid(axis="y", linewidth=0.3, color="#DDDDDD")


def _draw_stars(axes: Axes, shown: SuiteFigure) -> None:
    for row, entry in enumerate(shown.entries):
        for place, (task, shape) in enumerate(zip(shown.tasks, "osD^v<>", strict=False)):
            found = shown.stars.get((entry, task))
            if found is None:
                continue
            height = row + 0.22 * (place - (len(shown.tasks) - 1) / 2)  # none covers another
            axes.plot([found[0]], [height], marker=shape, color=_INK, markersize=3, linestyle="")
            if found[1]:  # beyond the rungs that were run
                side = 1 if found[1] == ">" else -1
                end = (found[0] * 1.35**side, height)
                arrow = {"arrowstyle": "->", "color": _INK, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
                axes.annotate("", end, (found[0], height), arrowprops=arrow)
    axes.set_xscale("log", base=2)
    axes.set_xlim(5, 100)
    axes.set_xticks([8, 16, 32, 64], ["8x", "16x", "32x", "64x"])
    axes.minorticks_off()
    axes.set_title("lossless R*")
    axes.set_xlabel("arrow: beyond the rungs")
    axes.grid(axis="y", linewidth=0.3, color="#DDDDDD")
    handles = [
        Line2D([], [], color=_INK, marker=shape, linestyle="", markersize=3, label=task)
        for task, shape in zip(shown.tasks, "osD^v<>", strict=False)
    ]
    axes.legend(handles=handles, fontsize="x-small", loc="lower right", framealpha=0.7)

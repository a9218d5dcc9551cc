"""The figure of ``tradeoff --compressor``: variance against bits of whole messages, a panel a vector.

Colours and marks say the method; hollow marks a bias: the figure reads in grey, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qsgd_lab.report.figures.style import (
    BLACK,
    BLUE,
    COLUMN,
    GREEN,
    ORANGE,
    PAGE,
    SKY,
    VERMILLION,
    figure_bytes,
    save,
    style,
)
from qsgd_lab.theory.checks.equal_bits import EqualBitsRow
from qsgd_lab.theory.tradeoff import lower_bound_curve

_GREY = "#777777"
#: Method -> (colour, mark); others take what is left over.
_MARKS = {
    "qsgd": (BLUE, "o"),
    "qsgd, max": (BLUE, "s"),
    "qsgd-shared": (BLUE, "+"),
    "eden": (VERMILLION, "o"),
    "rotated-stochastic": (VERMILLION, "^"),
    "hsq": (SKY, "X"),
    "hsq, greedy": (SKY, "P"),
    "block-int": (GREEN, "s"),
    "block-int, stochastic": (GREEN, "^"),
    "nuqsgd": (ORANGE, "v"),
    "natural": (ORANGE, "D"),
    "terngrad": (ORANGE, "*"),
    "one-bit": (BLACK, "d"),
    "sign": (BLACK, "h"),
    "top-k": (_GREY, "v"),
    "rand-k": (_GREY, "<"),
    "grbs": (_GREY, ">"),
    "powersgd": (_GREY, "p"),
    "fp16": (_GREY, "x"),
    "bf16": (_GREY, "1"),
}
_OTHERS = (GREEN, "8")
_BITS_RANGE = (0.03, 20.0)
_VARIANCE_RANGE = (1e-8, 2e3)


def save_plot(rows: Sequence[EqualBitsRow], path: Path) -> None:
    """Draw the rows into a file; its ending says which format.

    Parameters
    ----------
    rows : sequence of EqualBitsRow
    path : Path
        Ending in .pdf, .png or .svg; replaced if it exists.
    """
    with style():
        save(_drawn(rows), path)


def plot_bytes(rows: Sequence[EqualBitsRow], suffix: str) -> bytes:
    """Return the file of the figure, ".pdf", ".png" or ".svg"."""
    with style():
        return figure_bytes(_drawn(rows), suffix)


def _drawn(rows: Sequence[EqualBitsRow]) -> Figure:
    sources = list(dict.fromkeys(row.source for row in rows))
    width = PAGE if len(sources) > 1 else COLUMN
    figure = Figure(figsize=(width, 3.4 if len(sources) > 1 else 3.9), layout="constrained")
    panels = figure.subplots(1, len(sources), sharey=True, squeeze=False)[0]
    methods = list(dict.fromkeys(row.method for row in rows if 0 < row.variance < math.inf))
    for axes, source in zip(panels, sources, strict=True):
        _panel(axes, [row for row in rows if row.source == source], methods, source)
    panels[0].set_ylabel("relative variance, scaled to be unbiased")
    handles = [Line2D([], [], label=name, **_appearance(name, rows)) for name in methods]
    bound = Line2D([], [], color=BLACK, lw=1.6, label="lower bound, normal")
    figure.legend(
        handles=[*handles, bound],
        loc="outside lower center",
        ncols=6 if len(sources) > 1 else 3,
        frameon=False,
        columnspacing=1.2,
        handletextpad=0.5,
    )
    return figure


def _panel(axes: Axes, rows: Sequence[EqualBitsRow], methods: Sequence[str], source: str) -> None:
    variances, bits = lower_bound_curve(_VARIANCE_RANGE[0] / 10, _VARIANCE_RANGE[1] * 10)
    if source == "normal":  # of other vectors the bound says nothing: they may be sparse
        axes.fill_betweenx(variances, _BITS_RANGE[0], bits.clip(_BITS_RANGE[0]), color="#E4E4E4", lw=0)
    axes.plot(bits, variances, color=BLACK, lw=1.6)
    for name in methods:
        points = sorted((row.bits, row.variance) for row in rows if row.method == name)
        drawn = [(x, y) for x, y in points if 0 < y < math.inf]
        if drawn:
            axes.plot(*zip(*drawn, strict=True), **_appearance(name, rows))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlim(*_BITS_RANGE)
    axes.set_ylim(*_VARIANCE_RANGE)
    axes.set_xticks([1 / 16, 1 / 4, 1, 4, 16], ["1/16", "1/4", "1", "4", "16"])
    axes.set_xlabel("bits a coordinate, whole messages")
    axes.set_title(source, fontsize=8)


def _appearance(name: str, rows: Sequence[EqualBitsRow]) -> dict[str, Any]:
    colour, mark = _MARKS.get(name, _OTHERS)
    is_biased = any(row.method == name and not row.unbiased for row in rows)
    return {
        "color": colour,
        "marker": mark,
        "lw": 0.8,
        "markerfacecolor": "white" if is_biased else colour,
        "markeredgecolor": colour,
        "markeredgewidth": 0.8,
    }

"""The figure of ``qsgd-lab tradeoff --plot``: variance against bits, and the region no compressor reaches.

Colours and marks say the quantizer, line styles the code, hollow marks a bias: the figure reads in grey, too.
A biased method is drawn at the variance of an unbiased one with the same damped error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qsgd_lab.cli.measure.tradeoff_output import Conditions
from qsgd_lab.report.figures.style import BLACK, BLUE, COLUMN, GREEN, ORANGE, SKY, VERMILLION, save, style
from qsgd_lab.theory.tradeoff import TradeoffRow, lower_bound_curve

_GREY = "#555555"
#: Family -> (colour, mark).
_FAMILIES = {
    "QSGD, l2": (BLUE, "o"),
    "QSGD, max": (VERMILLION, "s"),
    "NUQSGD": (GREEN, "^"),
    "TernGrad": (ORANGE, "D"),
    "scaled sign": (ORANGE, "P"),
    "rand-k": (_GREY, "v"),
    "top-k": (_GREY, "v"),
    "HSQ": (SKY, "X"),
}
_BIASED = {"scaled sign", "top-k"}
_LABELS = {
    "QSGD, l2": r"QSGD, $\ell_2$ norm",
    "QSGD, max": "QSGD, max norm",
    **{name: f"{name} (biased)" for name in _BIASED},
}
#: Code -> (label, line style, its bits in a row); a family shows those that it has.
_CODES: dict[str, tuple[str, str, Callable[[TradeoffRow], float | None]]] = {
    "fixed": ("fixed width", ":", lambda row: row.bits.get("fixed")),
    "elias": ("Elias omega", "--", lambda row: row.best_elias),
    "ideal": ("ideal code", "-", lambda row: row.bits.get("ideal")),
}
_BITS_RANGE = (0.1, 16.0)
_VARIANCE_RANGE = (2e-5, 300.0)


def save_plot(rows: Sequence[TradeoffRow], conditions: Conditions, path: Path) -> None:
    """Draw the rows into a file; its ending says which format.

    Parameters
    ----------
    rows : sequence of TradeoffRow
    conditions : Conditions
    path : Path
        Ending in .pdf, .png or .svg; replaced if it exists.
    """
    with style():
        figure = Figure(figsize=(COLUMN, 3.9), layout="constrained")
        axes = figure.subplots()
        _draw_bound(axes)
        for family in _FAMILIES:
            _draw_family(axes, [row for row in rows if row.method == family], family)
        _frame(axes, conditions)
        save(figure, path)


def _draw_bound(axes: Axes) -> None:
    variances, bits = lower_bound_curve(_VARIANCE_RANGE[0] / 10, _VARIANCE_RANGE[1] * 10)
    axes.fill_betweenx(variances, _BITS_RANGE[0], np.maximum(bits, _BITS_RANGE[0]), color="#E4E4E4", lw=0)
    axes.plot(bits, variances, color=BLACK, lw=1.8)
    axes.annotate("no compressor\nof any design", (0.13, 1.2e-3), fontsize=7, style="italic", color="#404040")


def _draw_family(axes: Axes, rows: Sequence[TradeoffRow], family: str) -> None:
    for code in _codes_of(rows, family):
        _, line, bits_of = _CODES[code]
        points = [(bits_of(row), row.comparable_variance) for row in rows]
        drawn = [(bits, variance) for bits, variance in points if bits is not None and np.isfinite(variance)]
        if drawn:
            axes.plot(*zip(*drawn, strict=True), line, **_appearance(family))


def _codes_of(rows: Sequence[TradeoffRow], family: str) -> list[str]:
    """Return the codes to draw; NUQSGD's fixed width, a staircase of whole bits, only for want of another."""
    has_ideal = any("ideal" in row.bits for row in rows)
    return ["ideal"] if family == "NUQSGD" and has_ideal else list(_CODES)


def _appearance(family: str) -> dict[str, Any]:
    colour, mark = _FAMILIES[family]
    face, edge = ("white", colour) if family in _BIASED else (colour, "white")
    return {
        "color": colour,
        "marker": mark,
        "markerfacecolor": face,
        "markeredgecolor": edge,
        "markeredgewidth": 0.9 if family in _BIASED else 0.4,
    }


def _frame(axes: Axes, conditions: Conditions) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlim(*_BITS_RANGE)
    axes.set_ylim(*_VARIANCE_RANGE)
    ticks = [0.125, 0.25, 0.5, 1, 2, 4, 8, 16]
    axes.set_xticks(ticks, ["1/8", "1/4", "1/2", *map(str, (1, 2, 4, 8, 16))])
    axes.set_xlabel("bits a coordinate, norms included")
    axes.set_ylabel("relative variance, all vectors" if conditions.is_worst_case else "relative variance")
    families = [
        Line2D([], [], ls="", label=_LABELS.get(name, name), **_appearance(name)) for name in _FAMILIES
    ]
    codes = [Line2D([], [], color=BLACK, ls=line, label=label) for label, line, _ in _CODES.values()]
    bound = Line2D([], [], color=BLACK, lw=1.8, label="lower bound")
    axes.figure.legend(
        handles=[*families, *codes, bound],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        columnspacing=1.2,
        handletextpad=0.5,
    )

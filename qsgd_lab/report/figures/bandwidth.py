"""Modelled speed-up over fp32 against the bandwidth of a link, a panel for each method, a line for each N."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qsgd_lab.report.analysis.cells import FULL_PRECISION_CODE
from qsgd_lab.report.analysis.communication import (
    Exchange,
    Link,
    NodeWork,
    exchange_of,
    pays_between,
    speed_up,
)
from qsgd_lab.report.figures.data import FigureRuns, plain
from qsgd_lab.report.figures.panels import Look, key, log_ticks, make_panels, node_looks, panel_title
from qsgd_lab.report.figures.style import BLACK
from qsgd_lab.report.tables.units import format_seconds

#: Bandwidths drawn, in bytes a second: 1 Mbit/s to 100 Gbit/s.
LOWEST, HIGHEST = 1.25e5, 1.25e10
_POINTS = 101
_TICKS = {1e6: "1M", 1e7: "", 1e8: "100M", 1e9: "", 1e10: "10G", 1e11: ""}

#: Beyond these the axis does not follow what a damaged timing may claim.
_SLOWEST, _FASTEST = 2.0**-6, 2.0**12

BREAK_EVEN: dict[str, Any] = {
    "color": BLACK,
    "linestyle": "none",
    "marker": "o",
    "markersize": 4.5,
    "markerfacecolor": "none",
    "zorder": 5,
}


def draw(data: FigureRuns) -> Figure | None:
    """Return the figure; None without timed runs of a quantizer on two nodes or more.

    Rings mark where a line crosses 1, by the closed form; the model is that of `communication`.
    """
    drawn = modelled_cells(data)
    if not drawn:
        return None
    nodes = sorted({exchange.nodes for lines in drawn.values() for exchange, _ in lines})
    looks = node_looks(nodes)
    panels = make_panels(len(drawn), "bandwidth (bit/s)")
    speeds: list[float] = []
    for axes, (label, lines) in zip(panels.axes, drawn.items(), strict=True):
        axes.axhline(1, color=BLACK, linewidth=0.6)
        for exchange, work in lines:
            speeds += _draw_line(axes, exchange, work, data.latency, looks[exchange.nodes])
        panel_title(axes, plain(label))
        axes.grid(axis="y", linewidth=0.3, color="#DDDDDD")
    _frame(panels.axes[0], speeds)
    keys = [key(look, f"N = {count}") for count, look in looks.items()]
    keys.append(Line2D([], [], label="break-even", **BREAK_EVEN))
    remark = f"{_work_words(drawn, data)}, latency {format_seconds(data.latency)}"
    return panels.finish(data.title(remark), "modelled speed-up", keys, columns=4)


def modelled_cells(data: FigureRuns) -> dict[str, list[tuple[Exchange, NodeWork]]]:
    """Return by method what its cells exchange and work, for N > 1, where both are known."""
    found: dict[str, list[tuple[Exchange, NodeWork]]] = {}
    for method, cell in data.cells():
        exchange, work = exchange_of(cell.runs, data.code), data.work_at(cell)
        if exchange and work and exchange.code != FULL_PRECISION_CODE and cell.nodes > 1:
            found.setdefault(method.label, []).append((exchange, work))
    return found


def _draw_line(axes: Axes, exchange: Exchange, work: NodeWork, latency: float, look: Look) -> list[float]:
    bandwidths = np.geomspace(LOWEST, HIGHEST, _POINTS)
    speeds = [speed_up(exchange, work, Link(bandwidth, latency)) for bandwidth in bandwidths]
    axes.plot(8 * bandwidths, speeds, label=f"N = {exchange.nodes}", markevery=20, **look.style)
    for edge in pays_between(exchange, work, latency) or ():
        if LOWEST <= edge <= HIGHEST:
            axes.plot([8 * edge], [1], **BREAK_EVEN)
    return speeds


def _frame(axes: Axes, speeds: list[float]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log", base=2)
    axes.set_xticks(list(_TICKS), list(_TICKS.values()))
    axes.set_xticks([], minor=True)
    sane = [speed for speed in speeds if _SLOWEST <= speed <= _FASTEST]
    ticks = log_ticks(min([*sane, 1]), max([*sane, 1]))
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([], minor=True)


def _work_words(drawn: dict[str, list[tuple[Exchange, NodeWork]]], data: FigureRuns) -> str:
    seconds = [work.compute for lines in drawn.values() for _, work in lines]
    low, high = format_seconds(min(seconds)), format_seconds(max(seconds))
    compute = f"compute {low}" if low == high else f"compute {low} to {high}"
    return compute if data.quantize is None else f"{compute}, quantize {format_seconds(data.quantize)}"

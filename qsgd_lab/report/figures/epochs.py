"""Validation accuracy epoch by epoch with bands over the seeds, a panel for each method."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from qsgd_lab.report.analysis.cells import Cell
from qsgd_lab.report.analysis.grouping import Method
from qsgd_lab.report.figures.data import Curve, FigureRuns, plain, values
from qsgd_lab.report.figures.panels import (
    CROSS,
    GREY,
    cross_key,
    key,
    make_panels,
    node_looks,
    panel_title,
    set_accuracy_axis,
)
from qsgd_lab.runs.config import FULL_PRECISION_BITS

BAND_OPACITY = 0.18


def draw(data: FigureRuns) -> Figure | None:
    """Return the figure; None if no run has its epochs.

    A line is a cell's mean over its seeds, its band one standard deviation up and down. It ends where the
    first seed ends; a cross at its end says that some seed diverged. The thin grey line is fp32 at the
    largest number of nodes.
    """
    looks = node_looks(data.group.nodes)
    drawn = [(method, curves) for method in data.group.methods if (curves := _curves(data, method))]
    if not drawn:
        return None
    panels = make_panels(len(drawn), "epoch")
    largest, reference = _reference(drawn)
    for axes, (method, curves) in zip(panels.axes, drawn, strict=True):
        if reference and method.bits != FULL_PRECISION_BITS:
            axes.plot(reference.epochs, reference.means, color=GREY, linewidth=0.8, zorder=1)
        for nodes, curve in curves.items():
            _draw_curve(axes, curve, nodes, looks[nodes].style)
        panel_title(axes, plain(method.label))
        axes.grid(axis="y", linewidth=0.3, color="#DDDDDD")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    every = [curve for _, curves in drawn for curve in curves.values()]
    set_accuracy_axis(panels.axes[0], values(statistic for curve in every for statistic in curve.accuracy))
    keys = [key(look, f"N = {nodes}") for nodes, look in looks.items()]
    if reference:
        keys.append(Line2D([], [], color=GREY, linewidth=0.8, label=f"fp32, N = {largest}"))
    if any(curve.has_diverged for curve in every):
        keys.append(cross_key())
    return panels.finish(data.title(), "validation accuracy (%)", keys, columns=3)


def _curves(data: FigureRuns, method: Method) -> dict[int, Curve]:
    cells: list[Cell] = [cell for cell in method.cells if cell.seeds]
    return {cell.nodes: curve for cell in cells if (curve := data.curve(cell))}


def _reference(drawn: list[tuple[Method, dict[int, Curve]]]) -> tuple[int, Curve | None]:
    """Return the largest N of fp32 and its curve there; (0, None) without fp32."""
    for method, curves in drawn:
        if method.bits == FULL_PRECISION_BITS:
            return max(curves), curves[max(curves)]
    return 0, None


def _draw_curve(axes: Axes, curve: Curve, nodes: int, style: dict[str, Any]) -> None:
    means, deviations = curve.means, curve.deviations
    axes.plot(curve.epochs, means, label=f"N = {nodes}", markevery=(len(means) - 1, 1), **style)
    if deviations:
        low = [max(mean - deviation, 0.0) for mean, deviation in zip(means, deviations, strict=True)]
        high = [min(mean + deviation, 100.0) for mean, deviation in zip(means, deviations, strict=True)]
        axes.fill_between(curve.epochs, low, high, color=style["color"], alpha=BAND_OPACITY, linewidth=0)
    if curve.has_diverged:
        axes.plot(curve.epochs[-1:], means[-1:], **CROSS)

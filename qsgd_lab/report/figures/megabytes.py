"""Validation accuracy against the megabytes that a node has sent, a panel for each number of nodes."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from qsgd_lab.report.analysis.communication import exchange_of
from qsgd_lab.report.figures.data import Curve, FigureRuns, plain
from qsgd_lab.report.figures.panels import (
    CROSS,
    Look,
    cross_key,
    key,
    make_panels,
    method_looks,
    panel_title,
    set_accuracy_axis,
)

#: A line bears at most so many marks.
_MARKS = 8


def draw(data: FigureRuns) -> Figure | None:
    """Return the figure; None if no run has both its epochs and measured bits.

    A line is a cell's mean over its seeds, each of its corners an epoch; not all bear a mark. What has been
    sent by then is the steps so far times a run's mean message: the bits of single epochs are not recorded.
    """
    looks = method_looks(data.group)
    drawn: dict[int, list[tuple[str, list[float], Curve]]] = {}
    for method, cell in data.cells():
        exchange, curve = exchange_of(cell.runs, data.code), data.curve(cell)
        if exchange and curve:
            sent = [step * exchange.message_bytes / 1e6 for step in curve.steps]
            drawn.setdefault(cell.nodes, []).append((method.label, sent, curve))
    if not drawn:
        return None
    panels = make_panels(len(drawn), f"MB sent by a node{data.code_words}")
    for axes, nodes in zip(panels.axes, sorted(drawn), strict=True):
        for label, sent, curve in drawn[nodes]:
            _draw_line(axes, label, sent, curve, looks[label])
        panel_title(axes, f"N = {nodes}")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="y", linewidth=0.3, color="#DDDDDD")
    every = [curve for lines in drawn.values() for _, _, curve in lines]
    set_accuracy_axis(panels.axes[0], [mean for curve in every for mean in curve.means])
    keys = [key(look, plain(label)) for label, look in looks.items()]
    if any(curve.has_diverged for curve in every):
        keys.append(cross_key())
    return panels.finish(data.title(), "validation accuracy (%)", keys)


def _short(megabytes: float, _: int | None = None) -> str:
    return f"{megabytes:g}" if megabytes < 1000 else f"{megabytes / 1000:g}k"


def _draw_line(axes: Axes, label: str, sent: list[float], curve: Curve, look: Look) -> None:
    style = {**look.style, "markersize": 2.5, "linewidth": 0.9}
    axes.plot(sent, curve.means, label=label, markevery=-(-len(sent) // _MARKS), **style)
    if curve.has_diverged:
        axes.plot(sent[-1:], curve.means[-1:], **CROSS)

"""Test accuracy against measured bits a coordinate, a panel for each number of nodes."""

from __future__ import annotations

from fractions import Fraction

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qsgd_lab.report.analysis.cells import Cell
from qsgd_lab.report.analysis.communication import exchange_of
from qsgd_lab.report.analysis.verdict import Claim
from qsgd_lab.report.figures.data import FigureRuns, plain, values
from qsgd_lab.report.figures.panels import (
    CROSS,
    Look,
    cross_key,
    key,
    make_panels,
    mark_key,
    method_looks,
    panel_title,
    set_accuracy_axis,
)
from qsgd_lab.report.tables.entries import CLAIM_MARKS

#: Claim -> its sign as a marker, and what it says; the sign beside the points is that of the tables.
_CLAIMS: dict[Claim, tuple[str, str]] = {
    "worse": (r"$\downarrow$", "worse than fp32"),
    "better": (r"$\uparrow$", "better than fp32"),
    "equivalent": (r"$\approx$", "shown to be within {margin:g} points of fp32"),
}

_TICKS = (1 / 16, 1 / 4, 1, 4, 16)


def draw(data: FigureRuns) -> Figure | None:
    """Return the figure; None if no run has measured the bits that are asked for.

    A point is a cell's mean over its seeds, its bar one standard deviation up and down. Cells of which some
    seed diverged bear a cross: their mean is over all seeds, at the parameters that were best on validation.
    What the seeds allow to claim against fp32 (`significance`) is written beside the point as in the tables.
    """
    looks = {label: look.without_line() for label, look in method_looks(data.group).items()}
    drawn: dict[int, list[tuple[str, float, Cell]]] = {}
    for method, cell in data.cells():
        exchange = exchange_of(cell.runs, data.code)
        if exchange:
            drawn.setdefault(cell.nodes, []).append((method.label, exchange.bits_per_coordinate, cell))
    if not drawn:
        return None
    panels = make_panels(len(drawn), f"bits a coordinate{data.code_words}")
    for axes, nodes in zip(panels.axes, sorted(drawn), strict=True):
        for label, bits, cell in drawn[nodes]:
            _draw_point(axes, label, bits, cell, looks[label])
        panel_title(axes, f"N = {nodes}")
        axes.set_xscale("log", base=2)
        axes.set_xticks(_TICKS, [f"{Fraction(tick)}" for tick in _TICKS])
        axes.grid(axis="y", linewidth=0.3, color="#DDDDDD")
    every = [cell for points in drawn.values() for _, _, cell in points]
    set_accuracy_axis(panels.axes[0], values(cell.accuracy for cell in every))
    keys = [key(look, plain(label)) for label, look in looks.items()]
    if any(cell.num_diverged for cell in every):
        keys.append(cross_key())
    claims = {cell.verdict.claim for cell in every}
    margin = data.group.margin
    keys += [
        mark_key(symbol, words.format(margin=margin))
        for claim, (symbol, words) in _CLAIMS.items()
        if claim in claims
    ]
    return panels.finish(data.title(), "test accuracy (%)", keys)


def _draw_point(axes: Axes, label: str, bits: float, cell: Cell, look: Look) -> None:
    if cell.accuracy is None:
        return
    bar = None if cell.accuracy.deviation is None else [cell.accuracy.deviation]
    axes.errorbar([bits], [cell.accuracy.mean], bar, elinewidth=0.8, capsize=1.5, label=label, **look.style)
    if cell.num_diverged:
        axes.plot([bits], [cell.accuracy.mean], **CROSS)
    mark = CLAIM_MARKS[cell.verdict.claim] if cell.verdict.claim else ""
    if mark:
        place = (bits, cell.accuracy.mean)
        axes.annotate(mark, place, (2, 1), textcoords="offset points", fontsize=7, color=look.colour)

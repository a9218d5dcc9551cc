"""Methods side by side: error or accuracy against the bits of a node, a panel for each number of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qsgd_lab.report.comparison.outcome import Outcome, standard_error
from qsgd_lab.report.figures.data import plain
from qsgd_lab.report.figures.panels import Look, key, make_panels, method_cycle, panel_title
from qsgd_lab.report.figures.style import save, style


def save_comparison(
    outcomes: Sequence[Outcome], path: Path, *, title: str, y_label: str, is_error: bool = True
) -> None:
    """Draw the means of all methods at their checkpoints, with bands of one standard error.

    Parameters
    ----------
    outcomes : sequence of Outcome
        At least one.
    path : Path
        Ending in .pdf, .png or .svg; replaced if it exists.
    title, y_label : str
    is_error : bool
        Errors have a logarithmic axis.
    """
    with style():
        save(_draw(outcomes, title, y_label, is_error=is_error), path)


def _draw(outcomes: Sequence[Outcome], title: str, y_label: str, *, is_error: bool) -> Figure:
    names = list(dict.fromkeys(outcome.method for outcome in outcomes))
    looks = dict(zip(names, method_cycle(len(names)), strict=True))
    nodes = list(dict.fromkeys(outcome.nodes for outcome in outcomes))
    panels = make_panels(len(nodes), "bits of a node, up and down")
    for axes, count in zip(panels.axes, nodes, strict=True):
        for outcome in outcomes:
            if outcome.nodes == count:
                _draw_line(axes, outcome, looks[outcome.method])
        panel_title(axes, f"N = {count}")
        axes.set_xscale("log")
        if is_error:
            axes.set_yscale("log")
        axes.grid(axis="y", linewidth=0.3, color="#DDDDDD")
    return panels.finish(title, y_label, [key(look, plain(name)) for name, look in looks.items()], columns=1)


def _draw_line(axes: Axes, outcome: Outcome, look: Look) -> None:
    # A checkpoint before the first exchange has no place on a logarithmic axis, nor has an infinite error.
    means = outcome.values.mean(axis=1)
    shown = np.flatnonzero((outcome.bits > 0) & np.isfinite(means))
    if not shown.size:
        return
    bits, means = outcome.bits[shown], means[shown]
    axes.plot(bits, means, markersize=2.5, linewidth=0.9, **look.style)
    errors = np.array([standard_error(outcome.values[c]) or 0.0 for c in shown])
    axes.fill_between(bits, means - errors, means + errors, color=look.colour, alpha=0.15, linewidth=0)

"""The figure of ``qsgd-lab code-length --plot``: measured bits, exact values and bounds against levels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qsgd_lab.report.figures.style import BLACK, BLUE, COLUMN, GREEN, ORANGE, VERMILLION, save, style
from qsgd_lab.theory.checks.code_length import CodeLengthCheck

#: Field -> (line style, colour, label).
_CURVES = {
    "bound_paper": ("--", VERMILLION, "paper's, $o(1) = 0$"),
    "bound_explicit": ("-.", GREEN, "proved bound"),
    "bits_exact": ("-", BLUE, "exact"),
    "entropy": (":", ORANGE, "entropy of the levels"),
    "lower_bound": ("-", BLACK, "lower bound"),
}


def save_plot(checks: Sequence[CodeLengthCheck], path: Path) -> None:
    """Draw the rows into a file; its ending says which format.

    Parameters
    ----------
    checks : sequence of CodeLengthCheck
        At least one.
    path : Path
        Ending in .pdf, .png or .svg; replaced if it exists.
    """
    ordered = sorted(checks, key=lambda check: check.levels)
    with style():
        figure = Figure(figsize=(COLUMN, 2.8), layout="constrained")
        axes = figure.subplots()
        _draw(axes, ordered)
        save(figure, path)


def _draw(axes: Axes, checks: Sequence[CodeLengthCheck]) -> None:
    levels = [check.levels for check in checks]
    for field, (line, colour, label) in _CURVES.items():
        values = [getattr(check, field) for check in checks]
        if None not in values:
            each = [value / check.dim for value, check in zip(values, checks, strict=True)]
            axes.plot(levels, each, line, color=colour, label=label)
    measured = [check.bits_measured / check.dim for check in checks]
    axes.plot(levels, measured, "o", color=BLACK, label="measured")
    axes.set_xscale("log", base=2)
    axes.set_xticks(levels, [str(level) for level in levels])
    axes.set_xticks([], minor=True)
    # A bound far above everything else would flatten the rest.
    axes.set_ylim(0, 1.15 * max(check.bound_explicit / check.dim for check in checks))
    axes.set_xlabel("levels $s$")
    axes.set_ylabel("bits a coordinate, norms included")
    axes.legend(frameon=False)

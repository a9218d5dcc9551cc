"""The figure of ``qsgd-lab variance --plot``: measured variance, exact values and bounds against bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qsgd_lab.report.figures.style import BLACK, BLUE, COLUMN, GREEN, VERMILLION, save, style
from qsgd_lab.theory.checks.quantization import QuantizationCheck


def save_plot(checks: Sequence[QuantizationCheck], path: Path) -> None:
    """Draw the rows into a file; its ending says which format.

    Parameters
    ----------
    checks : sequence of QuantizationCheck
        At least one.
    path : Path
        Ending in .pdf, .png or .svg; replaced if it exists.
    """
    ordered = sorted(checks, key=lambda check: check.levels)
    with style():
        figure = Figure(figsize=(COLUMN, 2.6), layout="constrained")
        axes = figure.subplots()
        _draw(axes, ordered)
        save(figure, path)


def _draw(axes: Axes, checks: Sequence[QuantizationCheck]) -> None:
    levels = [check.levels for check in checks]
    paper = [check.bound_paper for check in checks if check.bound_paper is not None]
    if len(paper) == len(levels):
        axes.plot(levels, paper, "--", color=VERMILLION, label="paper's bound")
    axes.plot(levels, [check.bound_tight for check in checks], "-.", color=GREEN, label="least bound")
    axes.plot(levels, [check.exact for check in checks], "-", color=BLUE, label="exact")
    measured = np.array([check.relative_variance for check in checks])
    low, high = (np.array([getattr(check, end) for check in checks]) for end in ("ci_low", "ci_high"))
    whiskers = np.maximum([measured - low, high - measured], 0)
    axes.errorbar(levels, measured, whiskers, fmt="o", color=BLACK, label="measured, 95 %")
    if (measured > 0).all():
        axes.set_yscale("log")
    _label(axes, checks)


def _label(axes: Axes, checks: Sequence[QuantizationCheck]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks([check.levels for check in checks], [str(check.levels) for check in checks], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xlabel("levels $s$")
    kind = "variance" if checks[0].rounding == "stochastic" else "squared error"
    axes.set_ylabel(rf"relative {kind} $\|Q(v) - v\|^2 / \|v\|^2$")
    axes.legend(frameon=False)

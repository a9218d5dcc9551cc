"""The figure of ``qsgd-lab convergence --plot``: the gap against the bits that a worker has sent."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qsgd_lab.report.figures.style import BLACK, BLUE, GREEN, ORANGE, PAGE, SKY, VERMILLION, save, style
from qsgd_lab.theory.checks.convergence import QSVRG, SGD_PRINTED, ConvergenceCheck

_LOOKS = (
    (BLACK, "o"),
    (BLUE, "s"),
    (VERMILLION, "^"),
    (GREEN, "D"),
    (ORANGE, "v"),
    (SKY, "P"),
)


def save_plot(checks: Sequence[ConvergenceCheck], path: Path) -> None:
    """Draw the rows of the largest number of workers into a file, a panel a problem.

    Parameters
    ----------
    checks : sequence of ConvergenceCheck
        At least one.
    path : Path
        Ending in .pdf, .png or .svg; replaced if it exists.
    """
    problems = list(dict.fromkeys(check.problem for check in checks))
    most = max(check.workers for check in checks)
    shown = [check for check in checks if check.workers == most and check.method != SGD_PRINTED]
    names = list(dict.fromkeys(map(_name, shown)))
    with style():
        figure = Figure(figsize=(PAGE * max(len(problems), 2) / 3, 2.7), layout="constrained")
        panels = figure.subplots(1, len(problems), squeeze=False, sharey=True)[0]
        for axes, problem in zip(panels, problems, strict=True):
            _draw(axes, [check for check in shown if check.problem == problem], names)
            axes.set_title(f"{problem}, $K = {most}$", fontsize="medium")
        panels[0].set_ylabel("gap $f - f^*$")
        figure.legend(handles=_keys(names), loc="outside lower center", ncols=len(names) + 1, frameon=False)
        save(figure, path)


def _name(check: ConvergenceCheck) -> str:
    return check.method if check.levels is None else f"{check.method}, $s = {check.levels}$"


def _draw(axes: Axes, checks: Sequence[ConvergenceCheck], names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        rows = [check for check in checks if _name(check) == name]
        sent = [check.bits for check in rows]
        if rows and rows[0].method == QSVRG:
            sent = list(accumulate(sent))
        colour, mark = _LOOKS[number % len(_LOOKS)]
        axes.plot(sent, [check.gap for check in rows], "-", color=colour, marker=mark)
        axes.plot(
            sent, [check.bound for check in rows], ":", color=colour, marker=mark, markerfacecolor="white"
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("bits a worker has sent")


def _keys(names: Sequence[str]) -> list[Line2D]:
    methods = [
        Line2D([], [], color=colour, marker=mark, label=name)
        for name, (colour, mark) in zip(names, _LOOKS * len(names), strict=False)
    ]
    return [
        *methods,
        Line2D([], [], color=BLACK, ls=":", marker="o", markerfacecolor="white", label="its bound"),
    ]

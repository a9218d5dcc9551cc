"""The figure of ``qsgd-lab variance --plot``: measured variance, exact values and bounds against bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from qsgd_lab.theory.checks.quantization import QuantizationCheck

#: IEEE's column is 3.5 inches wide.
_SIZE_INCHES = (3.5, 2.6)


def save_plot(checks: Sequence[QuantizationCheck], path: Path) -> None:
    """Draw the rows into a file; its ending says which format.

    Parameters
    ----------
    checks : sequence of QuantizationCheck
        At least one.
    path : Path
        Ending in .pdf, .png or .svg; replaced if it exists.
    """
    ordered = sorted(checks, key=lambda check: check.bits)
    bits = [check.bits for check in ordered]
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    paper = [check.bound_paper for check in ordered if check.bound_paper is not None]
    if len(paper) == len(bits):
        axes.plot(bits, paper, "--", color="C3", label="paper's bound")
    axes.plot(bits, [check.bound_tight for check in ordered], "-.", color="C1", label="least bound")
    axes.plot(bits, [check.exact for check in ordered], "-", color="C0", label="exact")
    measured = np.array([check.relative_variance for check in ordered])
    low, high = (np.array([getattr(check, end) for check in ordered]) for end in ("ci_low", "ci_high"))
    whiskers = np.maximum([measured - low, high - measured], 0)
    axes.errorbar(bits, measured, whiskers, fmt="o", markersize=3, color="black", label="measured, 95 %")
    if (measured > 0).all():
        axes.set_yscale("log")
    axes.set_xlabel("magnitude bits $b$ (the sign apart)")
    axes.set_ylabel(r"$\|Q(v) - v\|^2 / \|v\|^2$")
    axes.set_xticks(bits)
    axes.legend(frameon=False, fontsize="small")
    # Without a date the same numbers give the same file.
    dateless = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    figure.savefig(path, dpi=200, metadata=dateless.get(path.suffix))

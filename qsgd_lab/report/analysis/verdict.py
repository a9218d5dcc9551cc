"""Verdicts on a cell, and on a method over all numbers of nodes: the outcome of the tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qsgd_lab.report.analysis.statistics import SIGNIFICANCE_LEVEL, Comparison

Claim = Literal["worse", "better", "equivalent", "fails"]
Test = Literal[
    "paired", "divergence", "too few seeds", "no variance", "no baseline", "baseline", ""
]  # fmt: skip
Ranking = Literal["ranked", "diverged", "alone", "too few seeds", "no variance", ""]


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A comparison with fp32 as one of a family of them.

    Attributes
    ----------
    comparison : Comparison or None
        None where the two could not be set side by side.
    p_different_holm, p_not_equivalent_holm : float or None
        Adjusted by Holm's method over the family; None where nothing was tested.
    half_width : float or None
        Of the 95 % interval of the difference, in points; all intervals of the family hold together.
    """

    comparison: Comparison | None = None
    p_different_holm: float | None = None
    p_not_equivalent_holm: float | None = None
    half_width: float | None = None

    @property
    def is_tested(self) -> bool:
        """Whether the accuracy was tested against that of fp32."""
        return self.comparison is not None and self.comparison.is_tested

    @property
    def difference(self) -> float | None:
        """Mean difference from fp32 in points, if there is one."""
        return self.comparison.difference if self.comparison else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Ends of the 95 % interval, in points; None where nothing was tested."""
        if self.difference is None or self.half_width is None:
            return None
        return self.difference - self.half_width, self.difference + self.half_width

    @property
    def claim(self) -> Claim | None:
        """What is significant after the adjustment; both may be, and then the difference is named."""
        if self.p_different_holm is None or self.p_not_equivalent_holm is None:
            return None
        if self.p_different_holm <= SIGNIFICANCE_LEVEL:
            return "worse" if (self.difference or 0.0) < 0 else "better"
        return "equivalent" if self.p_not_equivalent_holm <= SIGNIFICANCE_LEVEL else None


@dataclass(frozen=True, kw_only=True)
class Verdict(Contrast):
    """What may be said of one cell.

    Attributes
    ----------
    test : str
        The test against fp32 of the same N, or why there was none: ``divergence`` where a run of either
        diverged, so that runs are counted and accuracies not compared; ``too few seeds`` in common; ``no
        variance``; ``no baseline``; ``baseline`` for fp32 itself; empty for a cell without runs.
    fails_more : int
        1 if a larger share of its runs diverged than of fp32's, -1 if a smaller one, 0 otherwise.
    p_divergence, p_divergence_holm : float or None
        That runs diverge as often as those of fp32, by Fisher's exact test, and adjusted over the cells in
        which anything diverged.
    ranking : str
        Whether the cell competed for bold at its N, or why not: ``ranked``; ``diverged`` runs; ``alone``,
        with no other to compete with; ``too few seeds`` or ``no variance`` between some two of its N. Empty
        for a cell without runs.
    p_not_near, p_not_near_holm : float or None
        That some other competitor of the N is better by the margin or more, and adjusted over the N.
    p_beaten : float or None
        That no competitor is better, Bonferroni over the others: small where it is shown to be below one.
    blocked_by : int or None
        Row of the competitor with the largest p of which `p_not_near` is the maximum.
    is_bold : bool
        Shown to be near the best of its N, and not shown to be below any.
    """

    test: Test = ""
    fails_more: int = 0
    p_divergence: float | None = None
    p_divergence_holm: float | None = None
    ranking: Ranking = ""
    p_not_near: float | None = None
    p_not_near_holm: float | None = None
    p_beaten: float | None = None
    blocked_by: int | None = None
    is_bold: bool = False

    @property
    def diverges_otherwise(self) -> bool:
        """Whether runs are shown to diverge more often, or less often, than those of fp32."""
        return self.p_divergence_holm is not None and self.p_divergence_holm <= SIGNIFICANCE_LEVEL

    @property
    def claim(self) -> Claim | None:
        """What is significant: of the accuracy, or ``fails`` where runs diverge more often than fp32's."""
        if self.test == "divergence":
            return "fails" if self.diverges_otherwise and self.fails_more > 0 else None
        return super().claim


NOT_JUDGED = Verdict()

"""What the runs say of a sentence of the paper, and what its words mean in numbers."""

from __future__ import annotations

from dataclasses import dataclass

from qsgd_lab.report.analysis.grouping import Method

#: "A few" points: what a method is shown to lose less than by the lower end of an interval.
FEW_POINTS = 3.0
#: Ratios that count as about one.
ALIKE = (0.75, 4 / 3)


@dataclass(frozen=True)
class Verdict:
    """Whether a sentence is true of the runs.

    Attributes
    ----------
    holds : bool or None
        None where the runs that would decide are missing.
    reason : str
        What was found, in words that complete "Not so in these runs: ...".
    """

    holds: bool | None
    reason: str = ""


def decide(values: list[tuple[bool, str]]) -> Verdict:
    """Return whether all conditions hold, and else the first that does not; unknown without any."""
    if not values:
        return Verdict(None, "they lack the cells that would decide")
    broken = [reason for holds, reason in values if not holds]
    return Verdict(not broken, broken[0] if broken else "")


def loses_little(method: Method) -> tuple[bool, str]:
    """Return whether a method is shown to lose less than a few points averaged over N, or why not."""
    interval = method.mean_over_nodes.interval if method.mean_over_nodes else None
    if interval is None:
        return False, f"{method.label} is not tested at every N"
    return interval[0] > -FEW_POINTS, f"{method.label} may lose {-interval[0]:.1f} points"

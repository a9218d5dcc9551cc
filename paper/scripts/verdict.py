"""What the runs say of a sentence of the paper, and what its words mean in numbers."""

from __future__ import annotations

from dataclasses import dataclass

#: A method "keeps up" when it loses less than this; points.
KEEPS_UP = 3.0
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

"""One finding of ``qsgd-lab doctor``, and how a list of them reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["ok", "warn", "missing"]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    name : str
        What was looked at.
    status : {"ok", "warn", "missing"}
        ``warn`` works, but not as well as it could.
    detail : str
        What was found, in a line.
    remedy : str
        What to do about it; empty if nothing.
    necessary : bool
        Whether the lab cannot work while this is missing.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""
    necessary: bool = False

    @property
    def is_fatal(self) -> bool:
        """Whether the lab cannot work."""
        return self.necessary and self.status == "missing"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON-ready values."""
        return {
            "name": self.name,
            "status": self.status,
            "necessary": self.necessary,
            "detail": self.detail,
            "remedy": self.remedy,
        }


def conclusion(findings: Sequence[Finding]) -> str:
    """Return the one line that closes the report."""
    fatal = [finding.name for finding in findings if finding.is_fatal]
    if fatal:
        return f"The lab cannot work yet: {', '.join(fatal)}."
    incomplete = sum(finding.status != "ok" for finding in findings)
    if incomplete:
        return f"Everything necessary is there; {incomplete} of {len(findings)} could be better."
    return "All is well."

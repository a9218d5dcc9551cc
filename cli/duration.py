"""Lengths of time, as users write and read them."""

from __future__ import annotations

import re
from typing import Any

import click

_FORM = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")


def format_duration(seconds: float) -> str:
    """Return a length of time in words.

    Examples
    --------
    >>> [format_duration(s) for s in (0.4, 75, 3600 * 5, 86400 * 58)]
    ['1 s', '1 min 15 s', '5 h 0 min', '58 d 0 h']
    """
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


class DurationType(click.ParamType):  # type: ignore[type-arg]
    """Click type whose value is a number of seconds: ``90``, ``90s``, ``40m``, ``1h30m``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse a string; hand on a number."""
        if isinstance(value, int | float):
            return float(value)
        match = _FORM.fullmatch(value.strip())
        if not match or not any(match.groups()):
            self.fail(f"{value!r} is not a length of time; write it as 90s, 40m or 1h30m", param, ctx)
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return float(3600 * hours + 60 * minutes + seconds)


DURATION = DurationType()

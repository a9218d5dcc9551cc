"""Options of a sweep that machines share: which cells are this one's, how long, and how they are claimed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import click

from qsgd_lab.cli.options.quantities import DURATION
from qsgd_lab.runs.claim import LOCKS, LOCKS_VARIABLE

_SHARE = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


class ShareType(click.ParamType):  # type: ignore[type-arg]  # generic only since Click 8.4
    """Click type whose value is (i, k), written ``i/k``, with i from 0 to k - 1."""

    name = "i/k"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Parse a string; return a tuple."""
        if isinstance(value, tuple):
            return value
        match = _SHARE.fullmatch(value)
        if match is None or int(match[1]) >= int(match[2]):
            self.fail(f"{value!r} is not a share; write i/k with i from 0 to k - 1, such as 0/8", param, ctx)
        return int(match[1]), int(match[2])


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --share and --max-time, as `share` and `max_time`, and --locks, which sets the environment."""
    share = click.option(
        "--share",
        type=ShareType(),
        help="Run only cells i, i + k, ... of the plan: a part that no other machine takes.",
    )
    locks = click.option(
        "--locks",
        type=click.Choice(LOCKS),
        expose_value=False,
        callback=_set_locks,
        help="How machines that share the folder claim cells: by the file system's locks, by leases where it "
        "has none between machines, or not at all, with --share.  [default: flock]",
    )
    max_time = click.option(
        "--max-time",
        type=DURATION,
        help="Stop, resumably, after this time: 90s, 40m, 1h30m; exit code 5 if runs remain.",
    )
    return share(locks(max_time(command)))


def _set_locks(ctx: click.Context, _param: click.Parameter, kind: str | None) -> None:
    """Let this process and its workers claim cells so, until the command ends."""
    if kind is None or ctx.resilient_parsing:
        return
    before = os.environ.get(LOCKS_VARIABLE)
    os.environ[LOCKS_VARIABLE] = kind

    def restore() -> None:
        os.environ.pop(LOCKS_VARIABLE, None)
        if before is not None:
            os.environ[LOCKS_VARIABLE] = before

    ctx.call_on_close(restore)

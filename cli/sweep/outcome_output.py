"""The end of a sweep: its table on stdout, and a summary of its runs on stderr."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from qsgd_lab.cli.options.quantities import format_duration
from qsgd_lab.cli.standard_error import say, say_line
from qsgd_lab.training.presets import margins

if TYPE_CHECKING:
    from qsgd_lab.runs.plan import Plan
    from qsgd_lab.runs.record import RunRecord
    from qsgd_lab.runs.store import RunStore
    from qsgd_lab.runs.sweep import SweepOutcome


def print_outcome(
    plan: Plan, store: RunStore, outcome: SweepOutcome, seconds: float, format_name: str
) -> None:
    """Print the table on stdout and what happened on stderr."""
    from qsgd_lab.cli.sweep.progress import cell_name
    from qsgd_lab.report import render
    from qsgd_lab.report.tables.options import TableOptions
    from qsgd_lab.terminal import text_width

    records = [record for config in plan.configs() if (record := store.record(config)) is not None]
    if outcome.stopped_by != "interrupt" and records:
        options = TableOptions(width=text_width(), margins=margins())
        click.echo(render(records, format_name, options).encode(), nl=False)
    for failure in outcome.failed:
        where = store.error_log_path(failure.config)
        say_line(f"Error: {cell_name(failure.config)}: {failure.reason} (see {where})")
    say(_summary(outcome, records, seconds))
    if outcome.remaining:
        click.echo(what_remains(len(outcome.remaining)), err=True)


def what_remains(count: int) -> str:
    """Return the line that says how to go on."""
    one = count == 1
    return (
        f"{count} run{'' if one else 's'} remain{'s' if one else ''}; "
        f"the same command goes on with {'it' if one else 'them'}."
    )


def _summary(outcome: SweepOutcome, records: Sequence[RunRecord], seconds: float) -> str:
    here = f"{len(outcome.finished)} runs in {format_duration(seconds)}"
    earlier = f", {len(outcome.already_done)} were there already" if outcome.already_done else ""
    if not records:
        return f"{here}{earlier}."
    totals = {name: sum(r.timing[name] for r in records) for name in ("compute_s", "quantize_s", "total_s")}
    compute, quantize = (100 * totals[name] / totals["total_s"] for name in ("compute_s", "quantize_s"))
    return (
        f"{here}{earlier}. Of the runs' time, gradients took {compute:.0f} %, quantizing, averaging and "
        f"counting bits {quantize:.0f} %, the rest {100 - compute - quantize:.0f} %."
    )

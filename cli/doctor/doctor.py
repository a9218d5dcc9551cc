"""``qsgd-lab doctor``: what is there, what is not, and how to fix it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from qsgd_lab.cli.doctor.finding import Finding, conclusion
from qsgd_lab.cli.options.training import import_option

_STYLES = {"ok": "green", "warn": "yellow", "missing": "red"}


@click.command()
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="The folder of the runs.",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print the findings.",
)
@import_option
@click.pass_context
def doctor(ctx: click.Context, runs: Path, output_format: str, imports: Sequence[str]) -> None:
    """Check this machine and say how to fix it.

    Looks at Python and the packages, torch and its device, numba and its cache, threads, plug-ins, the files
    of all data sets, the folder of the runs and its locks, the terminal and LaTeX. The exit code is 1 if
    something is missing without which the lab cannot work, else 0.

    \b
    Example:
      qsgd-lab doctor
      qsgd-lab doctor --runs /scratch/runs --format json
    """
    findings = examine(runs, imports)
    if output_format == "json":
        click.echo(_as_json(findings))
    else:
        click.echo(_as_text(findings), nl=False)
    if any(finding.is_fatal for finding in findings):
        ctx.exit(1)


def examine(runs: Path, imports: Sequence[str] = ()) -> list[Finding]:
    """Run every check, in the order of the report.

    Parameters
    ----------
    runs : Path
        The folder of the runs; it need not exist.
    imports : sequence of str
        Plug-ins, whose data sets are looked for too.
    """
    from qsgd_lab.cli.doctor import machine, software
    from qsgd_lab.data.registry import DATASETS

    plugins = software.check_plugins(imports)  # first: they bring data sets
    return [
        software.check_python(),
        software.check_lab(),
        software.check_packages(),
        software.check_torch(),
        software.check_numba(),
        software.check_numba_cache(),
        machine.check_threads(),
        plugins,
        machine.check_digits(),
        *(machine.check_files(entry) for entry in DATASETS.values() if entry.source is not None),
        machine.check_runs_folder(runs),
        machine.check_locks(runs),
        machine.check_terminal(),
        machine.check_latex(),
    ]


def _as_json(findings: Sequence[Finding]) -> str:
    healthy = not any(finding.is_fatal for finding in findings)
    return json.dumps({"ok": healthy, "checks": [finding.to_dict() for finding in findings]}, indent=1)


def _as_text(findings: Sequence[Finding]) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for finding in findings:
        detail = Text(finding.detail)
        if finding.remedy:
            detail.append(f"\n→ {finding.remedy}", style="bold")
        table.add_row(Text(finding.status, style=_STYLES[finding.status]), finding.name, detail)
    console = Console()
    # Captured, because rich ends the program by itself when nobody reads its output.
    with console.capture() as capture:
        console.print(table)
        console.print(f"\n{conclusion(findings)}", highlight=False)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())  # rich pads every line

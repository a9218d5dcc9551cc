"""What each flaw of the published protocol does, measured on the digits by `qsgd-lab flaws`.

These runs may be in the store of the main comparison or in a file of their own beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner
from paper_runs import PAPER, PaperRuns

from qsgd_lab.cli.main import cli
from qsgd_lab.errors import DataMissingError
from qsgd_lab.report.analysis.statistics import SIGNIFICANCE_LEVEL
from qsgd_lab.report.formats.latex import escape
from qsgd_lab.report.tables.entries import rounded

FLAW_RUNS = PAPER / "flaw-runs.jsonl"
ALL, TEST_SET_SELECTION = "all together", "test-set-selection"
MISSING = "--"


def flaws_table(runs: PaperRuns) -> str | None:
    """Return the table of the command as LaTeX, from stored runs; None where there are none."""
    return _printed((runs.store, FLAW_RUNS), "latex")


def single_flaws(runs: PaperRuns) -> list[dict[str, Any]]:
    """Return the effects of single flaws that were measured, as the command's JSON has them."""
    return [effect for effect in _effects(runs) if effect["protocol"] != ALL and _is_measured(effect)]


def largest_effect(runs: PaperRuns) -> dict[str, Any] | None:
    """Return the single flaw with the largest difference, whether it could be tested or not."""
    return max(single_flaws(runs), key=lambda effect: abs(effect["difference"]), default=None)


def selection_effects(runs: PaperRuns) -> list[float]:
    """Return the differences, in points, that choosing on the test set makes."""
    return [e["difference"] for e in single_flaws(runs) if e["protocol"] == TEST_SET_SELECTION]


def flaw_numbers(runs: PaperRuns) -> Iterator[tuple[str, str]]:
    """Yield what the text quotes of the table."""
    tested = [effect for effect in _effects(runs) if effect["p_holm"] is not None]
    significant = sum(effect["p_holm"] <= SIGNIFICANCE_LEVEL for effect in tested)
    yield "flaws, differences", str(len(tested)) if tested else MISSING
    yield "flaws, significant", str(significant) if tested else MISSING
    largest, chosen = largest_effect(runs), selection_effects(runs)
    yield "flaws, largest difference", f"${rounded(largest['difference'], 1)}$" if largest else MISSING
    yield "flaws, where", escape(f"{largest['model']}, {largest['method']}") if largest else MISSING
    yield "flaws, diverged", f"{largest['diverged']} of {len(largest['accuracies'])}" if largest else MISSING
    yield "flaws, least gain by selection", rounded(min(chosen), 1) if chosen else MISSING
    yield "flaws, most gain by selection", rounded(max(chosen), 1) if chosen else MISSING


def _is_measured(effect: dict[str, Any]) -> bool:
    return effect["applies"] and effect["difference"] is not None


def _effects(runs: PaperRuns) -> list[dict[str, Any]]:
    document = json.loads(_printed((runs.store, FLAW_RUNS), "json") or '{"effects": []}')
    effects: list[dict[str, Any]] = document["effects"]
    return effects


@cache
def _printed(stores: tuple[Path, ...], format_name: str) -> str | None:
    """Return what the command prints from the first store that has its runs; None if none has.

    Raises
    ------
    ClickException
        If the command fails for another reason.
    """
    for store in stores:
        arguments = ["flaws", "--no-run", "--runs", str(store), "--format", format_name]
        result = CliRunner().invoke(cli, arguments)
        if result.exit_code == 0:
            return result.stdout
        if not isinstance(result.exception, DataMissingError):
            raise click.ClickException(
                f"'qsgd-lab {' '.join(arguments)}' failed: {result.exception or result.output}"
            )
    return None

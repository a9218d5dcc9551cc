"""The README's Python runs as it is written."""

from __future__ import annotations

import re

import checkout

import qsgd_lab as ql
from qsgd_lab.report.analysis.grouping import group_records
from qsgd_lab.runs.store import RunStore

README = (checkout.ROOT / "README.md").read_text(encoding="utf-8")
DEMO = (checkout.ROOT / "docs" / "demo.md").read_text(encoding="utf-8")


def test_examples_run_in_order() -> None:
    """Every Python block of the README runs, each after those above it."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 2
    scope: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), scope)
    assert scope["received"].shape == (100_000,)  # type: ignore[attr-defined]
    assert len(ql.encode(scope["q"], code="omega")) == 19_644


def test_every_command_shown_exists() -> None:
    """Whatever the README calls `qsgd-lab X` is a command."""
    from qsgd_lab.cli.main import COMMANDS

    shown = set(re.findall(r"qsgd-lab ([a-z-]+)", README + DEMO))
    assert shown
    assert shown <= set(COMMANDS)


def test_what_the_demo_is_said_to_show() -> None:
    """The sentences on the demo are what the tests allow: bounds, counts, p-values."""
    (group,) = group_records(RunStore(checkout.ROOT / "paper" / "runs.jsonl").records())
    methods = {method.label: method for method in group.methods}
    with_feedback = [method for method in group.methods if method.error_feedback]
    intervals = [m.mean_over_nodes.interval for m in with_feedback if m.mean_over_nodes]
    at_random = {cell.nodes: cell for cell in methods["2 bit, stochastic"].cells}
    nearest, corrected = (methods[f"2 bit, nearest{end}"].mean_over_nodes for end in ("", " + EF"))
    assert nearest is not None
    assert corrected is not None

    assert not any(cell.verdict.claim for method in with_feedback for cell in method.cells)
    assert len(intervals) == 4
    assert max(abs(end) for interval in intervals if interval for end in interval) < 1.3
    assert corrected.interval is not None
    assert max(map(abs, corrected.interval)) < 0.6
    assert [at_random[n].num_diverged for n in (1, 2, 4, 8)] == [5, 1, 0, 0]
    assert round(at_random[1].verdict.p_divergence_holm or 1, 3) == 0.016
    assert not any(cell.num_diverged for cell in methods["fp32"].cells)
    assert nearest.claim == "worse"
    found = (nearest.difference, nearest.half_width, nearest.p_different_holm)
    assert [round(value or 0, 4) for value in found] == [-2.1944, 0.8374, 0.0014]
    for words in (
        "(0.00 ± 0.59)",
        "within 1.3 points",
        "p = 0.016",
        "2.2 points on average over N (± 0.8, p = 0.0014)",
    ):
        assert words in DEMO
    assert "lose 2.2 points on average over N" in README


def test_the_readme_is_short() -> None:
    """A reader sees all of it in a minute: 120 lines at most."""
    assert README.count("\n") <= 120

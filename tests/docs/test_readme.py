"""The README's Python runs as it stands there."""

from __future__ import annotations

import re

import checkout

README = (checkout.ROOT / "README.md").read_text(encoding="utf-8")


def test_examples_run_in_order() -> None:
    """Every Python block of the README runs, each after those above it."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 2
    scope: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), scope)
    assert scope["received"].shape == (100_000,)  # type: ignore[attr-defined]


def test_every_command_shown_exists() -> None:
    """Whatever the README calls `qsgd-lab X` is a command."""
    from qsgd_lab.cli.main import COMMANDS

    shown = set(re.findall(r"qsgd-lab ([a-z-]+)", README))
    assert shown
    assert shown <= set(COMMANDS)

"""A checkout on sys.path shadows an install, as in ``python -m`` at its top; all of it can be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import checkout
import pytest

#: The checkout, and the folders of what it needs; hooks of an editable install are left out by -S.
SEARCHED = [
    str(checkout.ROOT),
    *(entry for entry in sys.path if Path(entry).is_dir() and "tests" not in entry),
]


def python(*arguments: str, folder: Path = checkout.ROOT) -> subprocess.CompletedProcess[str]:
    """Run Python, which finds the package in the checkout alone."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(SEARCHED)}
    command = [sys.executable, "-S", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_folders_beside_the_package_are_parts_of_it(tmp_path):
    """`qsgd_lab.cli` and `qsgd_lab.theory`, with what is in them, come from the checkout's own folders."""
    modules = "qsgd_lab.cli.main, qsgd_lab.theory.variance, qsgd_lab.theory.checks"
    files = "qsgd_lab.cli.main.__file__, qsgd_lab.theory.__file__"
    result = python("-c", f"import {modules}; print({files}, sep='\\n')", folder=tmp_path)

    assert result.stderr == ""
    folders = [checkout.ROOT / "cli" / "main.py", checkout.ROOT / "theory" / "__init__.py"]
    assert [Path(line) for line in result.stdout.splitlines()] == folders


def test_the_command_line_runs_as_a_module():
    """``python -m qsgd_lab`` works at the top of the checkout."""
    result = python("-m", "qsgd_lab", "--help")

    assert result.returncode == 0
    assert "reproduce" in result.stdout


@pytest.mark.parametrize("name", ["tests", "docs", "paper", "benchmarks", "qsgd_lab"])
def test_other_folders_are_no_parts_of_the_package(name, tmp_path):
    """What else is at the checkout's top cannot be imported as a part of the package."""
    result = python("-c", f"import qsgd_lab.{name}", folder=tmp_path)

    assert f"No module named 'qsgd_lab.{name}'" in result.stderr

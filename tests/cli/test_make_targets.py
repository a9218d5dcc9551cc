"""The long grids of the Makefile: each command is one that the lab takes, and plans the runs it should."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import checkout
import pytest

from qsgd_lab.cli.main import main
from qsgd_lab.training import probe

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def _commands(target: str, *settings: str) -> list[list[str]]:
    """Return the words of each command that a target would run."""
    # The stamp of the environment is taken as made: a file that is there, however old.
    made = subprocess.run(
        [
            "make",
            "--dry-run",
            "--no-print-directory",
            target,
            "STAMP=Makefile",
            "--old-file=Makefile",
            *settings,
        ],
        cwd=checkout.ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=True,
    )
    return [shlex.split(line) for line in made.stdout.replace("\\\n", " ").splitlines()]


def _planned(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """Return the configurations of a command's plan."""
    assert words[1] == "reproduce"
    words[words.index("--runs") + 1] = str(tmp_path / "runs")
    assert main([*words[1:], "--format", "json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["eta_s"] > 0
    return [cell["config"] for cell in plan["cells"]]


@pytest.fixture(autouse=True)
def quick_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a second for each run: what networks cost is not asked here."""
    monkeypatch.setattr(probe, "expected_seconds", lambda configs, _announce: [1.0] * len(configs))


def test_the_evidence_is_the_planned_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets, unlike nodes, images, their frontier and AlexNet have the runs that the paper counts on."""
    commands = _commands("evidence", "PLAN=--dry-run")
    plans = [_planned(words, tmp_path, capsys) for words in commands]

    assert [len(plan) for plan in plans] == [9 * 2 * 5, 5 * 5, 7 * 4 * 10, 13 * 5, 7 * 5]
    assert {config.get("split") for config in plans[1]} == {"dirichlet:0.1"}
    # A method that the shorthand can say has one key, however it is asked for.
    assert {config.get("compressor") for plan in plans for config in plan} == {None}
    assert len({json.dumps(config, sort_keys=True) for plan in plans for config in plan}) == 490


def test_without_a_plan_the_evidence_is_packed() -> None:
    """The last command writes the file that the paper reads."""
    assert _commands("evidence")[-1][1:] == ["runs", "pack", "runs/evidence", "-o", "paper/evidence.jsonl"]


def test_the_gpu_grid_is_the_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three networks at four numbers of nodes with seven methods and three seeds, on CIFAR-10."""
    (words,) = _commands("report-gpu", "PLAN=--dry-run")
    plan = _planned(words, tmp_path, capsys)

    assert len(plan) == 3 * 4 * 7 * 3
    assert {config["dataset"] for config in plan} == {"cifar10"}
    (real,) = _commands("report-gpu")
    assert real[real.index("--device") + 1] == "cuda"
    assert "--download" in real

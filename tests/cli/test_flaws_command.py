"""`qsgd-lab flaws`: what it trains, what it prints, and how it refuses."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import fake_runs
import pytest
from click.testing import CliRunner, Result

from qsgd_lab.cli.sweep.flaws import PRESET
from qsgd_lab.cli.sweep.flaws import flaws as command
from qsgd_lab.report.flaws.effects import ALL, CORRECTED
from qsgd_lab.training.flaws import FLAWS
from qsgd_lab.training.presets import FP32, PRESETS, Method, configurations


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with invented runs of all protocols: a flaw costs as many points as its name is long."""
    folder = tmp_path_factory.mktemp("flaws") / "runs"
    for flaws in ((), *((name,) for name in FLAWS), tuple(FLAWS)):
        for config in configurations(
            PRESET, list(PRESETS[PRESET].models), [2], [FP32, Method(2)], range(3), {"flaws": flaws}
        ):
            lost = sum(map(len, config.flaws)) + 0.5 * config.seed * len(config.flaws)
            record = fake_runs.record(accuracy=0.9 - lost / 1000, **dataclasses.asdict(config))
            (folder / record.key).mkdir(parents=True, exist_ok=True)
            (folder / record.key / "run.json").write_text(record.to_json(), encoding="utf-8")
    return folder


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_every_flaw_is_set_beside_the_mended_protocol(runs: Path) -> None:
    """For both networks and methods: the corrected protocol, each flaw, and all together, over the seeds."""
    result = invoke("--runs", runs, "--seeds", "0..2", "--no-run", "--format", "json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["effects"]
    assert len(found) == 2 * 2 * (len(FLAWS) + 2)
    assert {effect["protocol"] for effect in found} == {CORRECTED, *FLAWS, ALL}
    for effect in found:
        if effect["protocol"] in FLAWS and effect["method"] != "fp32":
            assert effect["difference"] == pytest.approx(-(len(effect["protocol"]) + 0.5) / 10)
        if effect["method"] == "fp32" and not effect["applies"]:
            assert effect["protocol"] in ("no-op-error-feedback", "biased-levels", "unequal-batch")
            assert effect["difference"] is None


@pytest.mark.parametrize("format_name", ["text", "latex", "markdown"])
def test_prints_a_row_a_protocol(runs: Path, format_name: str) -> None:
    """Each protocol has a row for either network, and the caption says what was run."""
    result = invoke("--runs", runs, "--seeds", "0..2", "--no-run", "--format", format_name)
    assert result.exit_code == 0
    # In text, which is narrow, the methods are below each other.
    table = result.stdout[: result.stdout.rindex("Test accuracy in")]
    rows = [line.lstrip("| ") for line in table.splitlines()]
    for name in (CORRECTED, *FLAWS, ALL):
        assert sum(row.startswith(name) for row in rows) == (4 if format_name == "text" else 2)
    assert "3 seeds" in table
    if format_name == "text":
        assert max(map(len, result.stdout.splitlines())) <= 100


def test_names_the_flaws() -> None:
    """--list says what each flaw is and which notebook has it, and trains nothing."""
    result = invoke("--list")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(FLAWS)


def test_without_runs_it_says_how_to_make_them(tmp_path: Path) -> None:
    """--no-run in an empty folder is missing data, exit 3, with the command that makes it."""
    result = subprocess.run(
        [sys.executable, "-m", "qsgd_lab", "flaws", "--runs", tmp_path, "--no-run"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 3
    assert result.stdout == ""
    assert "qsgd-lab flaws" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.slow
def test_trains_what_is_missing(tmp_path: Path) -> None:
    """A real sweep of an epoch at full precision, whose table is there again without training."""
    options = ["--runs", tmp_path / "runs", "--seeds", 0, "--bits", 32, "--epochs", 1, "--jobs", 1]
    options += ["--format", "json"]
    first = invoke(*options)
    assert first.exit_code == 0, first.output
    assert len(list((tmp_path / "runs").glob("*/run.json"))) == 2 * 5
    assert invoke(*options, "--no-run").stdout == first.stdout
    by_name = {(e["model"], e["protocol"]): e for e in json.loads(first.stdout)["effects"]}
    plain, normalised = PRESETS[PRESET].models.values()
    # Without BatchNorm and dropout there is nothing that training mode could change.
    assert by_name[plain, "train-mode-evaluation"]["difference"] == 0
    assert by_name[normalised, "train-mode-evaluation"]["difference"] < 0

"""``qsgd-lab reproduce``: plan, run, resume, print; killed at any moment it ends with the same table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE_S, wait_until

from qsgd_lab.cli.main import main
from qsgd_lab.runs.sweep import SweepOutcome
from qsgd_lab.training import probe

# Four cells of one epoch: fp32 and 2 bits, N = 2, two seeds.
SMALL = ["reproduce", "--bits", "2", "--nodes", "2", "--seeds", "0..1", "--epochs", "1", "--format", "csv"]
PROGRAM = [sys.executable, "-m", "qsgd_lab"]


def run(*args: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *map(str, args)], capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Return the folder and the output of a sweep that nothing disturbed, in one process."""
    folder = tmp_path_factory.mktemp("undisturbed") / "runs"
    return folder, run(*SMALL, "--runs", folder, "--jobs", 1)


def has_begun(folder: Path, num_done: int) -> bool:
    """Whether a worker has taken its first cell, and so many cells are done."""
    return any(folder.glob(".locks/*")) and len(list(folder.glob("*/run.json"))) >= num_done


def results(folder: Path) -> dict[str, object]:
    return {path.parent.name: json.loads(path.read_text())["result"] for path in folder.glob("*/run.json")}


def test_runs_all_cells_and_prints_their_table(
    undisturbed: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    """A sweep exits 0, prints the table alone on stdout, and tells on stderr the data and where time went."""
    folder, process = undisturbed
    assert process.returncode == 0, process.stderr
    assert len(results(folder)) == 4
    assert process.stdout.startswith("preset,") or "alexnet-quarter" in process.stdout.splitlines()[1]
    assert "handwritten digits" in process.stderr
    assert "[4/4]" in process.stderr
    assert "quantizing, averaging and counting bits" in " ".join(process.stderr.split())


def test_table_prints_the_same(
    undisturbed: tuple[Path, subprocess.CompletedProcess[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """`table` over the store prints, byte for byte, what `reproduce` printed."""
    folder, process = undisturbed
    assert main(["table", "--runs", str(folder), "--format", "csv"]) == 0
    assert capsys.readouterr().out == process.stdout


def test_finished_runs_are_not_repeated(
    undisturbed: tuple[Path, subprocess.CompletedProcess[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command again runs nothing and prints the same table."""
    folder, process = undisturbed
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/run.json")}
    assert main([*SMALL, "--runs", str(folder)]) == 0
    again = capsys.readouterr()
    assert again.out == process.stdout
    assert "4 done" in again.err
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/run.json")} == before


def test_two_processes_give_the_table_of_one(
    undisturbed: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """--jobs changes nothing but the time."""
    assert run(*SMALL, "--runs", tmp_path / "runs", "--jobs", 2).stdout == undisturbed[1].stdout


def test_killed_sweeps_end_with_the_same_table(
    undisturbed: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """Killed -9, group and all, as it begins, in the middle and near its end, it ends with the same bytes."""
    folder = tmp_path / "runs"
    for num_done, jobs in ((0, 1), (1, 2), (3, 1)):
        process = subprocess.Popen(
            [*PROGRAM, *SMALL, "--runs", str(folder), "--jobs", str(jobs)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(
            lambda process=process, least=num_done: process.poll() is not None or has_begun(folder, least)
        )
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    final = run(*SMALL, "--runs", folder, "--jobs", 1)
    assert final.returncode == 0, final.stderr
    assert final.stdout == undisturbed[1].stdout
    assert results(folder) == results(undisturbed[0])


def test_interrupted_sweeps_say_how_to_go_on(tmp_path: Path) -> None:
    """Ctrl-C says at once that it stops, ends with 130 and names what remains; no table is printed."""
    folder = tmp_path / "runs"
    process = subprocess.Popen(
        [*PROGRAM, *SMALL, "--epochs", "500", "--runs", str(folder), "--jobs", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: has_begun(folder, 0))
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()  # its workers end with it
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "Stopping: the runs under way save what they have done; Ctrl-C again stops at once." in stderr
    assert "4 runs remain; the same command goes on with them." in stderr
    assert "Traceback" not in stderr


def test_max_time_stops_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """When the time is up the sweep says what remains and ends with the exit code that means just this."""
    process = run(*SMALL, "--epochs", 500, "--runs", tmp_path / "runs", "--jobs", 1, "--max-time", "1s")
    assert process.returncode == 5, process.stderr
    assert "4 runs remain" in process.stderr


def test_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The plan names the cells and an estimated time, as text and as JSON, and makes no folder."""
    assert main([*SMALL[:-2], "--runs", str(tmp_path / "runs"), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "Plan: 4 runs; 4 to do" in text
    assert "about" in text
    assert main([*SMALL[:-2], "--runs", str(tmp_path / "runs"), "--dry-run", "--format", "json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert len(plan["cells"]) == 4
    assert plan["eta_s"] > 0
    assert not (tmp_path / "runs").exists()


def test_a_plan_says_what_speaks_against_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--dry-run has the warnings that the sweep would print."""
    monkeypatch.setattr(probe, "expected_seconds", lambda configs, _announce: [1.0] * len(configs))
    unsound = ["reproduce", "--compressor", "ef(rand-k)", "--nodes", "2", "--seeds", "0", "--epochs", "1"]
    assert main([*unsound, "--runs", str(tmp_path / "runs"), "--dry-run"]) == 0
    assert "Warning: ef(rand-k): the variance factor under error feedback" in capsys.readouterr().err


@pytest.mark.usefixtures("forked_workers")
def test_gradients_are_saved_for_the_measuring_commands(tmp_path: Path) -> None:
    """--save-gradients leaves the nodes' gradients as files that `variance --input` reads."""
    options = ["--bits", "2", "--nodes", "2", "--seeds", "0", "--epochs", "1", "--runs", tmp_path / "runs"]
    options += ["--jobs", 1, "--save-gradients", tmp_path / "gradients"]
    assert main(["reproduce", *map(str, options)]) == 0
    paths = sorted((tmp_path / "gradients").glob("*.npy"))
    assert len(paths) == 3 * 2
    assert main(["variance", "--bits", "4", "--trials", "2", "--input", str(paths[0])]) == 0


def test_a_place_for_gradients_is_checked_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--save-gradients where no folder can be made is refused before anything is trained."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for place in (tmp_path / "file" / "folder", tmp_path / "loop", Path("/proc/folder")):
        code = main([*SMALL[:-2], "--runs", str(tmp_path / "runs"), "--save-gradients", str(place)])
        assert code == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith("Error: cannot make the folder")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--model", "vgg"], 2, "it has: alexnet"),
        (["--preset", "fast"], 2, "'demo'"),
        (["--bits", "0"], 2, "1 to 15 or 32"),
        (["--bits", "33"], 2, "1 to 15 or 32"),
        (["--bits", "8..1"], 2, "1..8"),
        (["--bits", ""], 2, "2,4,8"),
        (["--bits", "two"], 2, "2,4,8"),
        (["--nodes", "3"], 2, "possible: 1, 2, 4"),
        (["--nodes", "0"], 2, "at least 1"),
        (["--epochs", "0"], 2, "x>=1"),
        (["--jobs", "0"], 2, "x>=1"),
        (["--bucket-size", "-5"], 2, "'tensor' or 'model'"),
        (["--max-time", "soon"], 2, "40m"),
        (["--rounding", "up"], 2, "nearest"),
        (["--dry-run", "--format", "csv"], 2, "text or json"),
        (["stray"], 2, "stray"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_requests_get_one_line(
    args: list[str], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A request that cannot be met is one line with what would be right, exit 2, and leaves no folder."""
    assert main(["reproduce", "--runs", str(tmp_path / "runs"), *args]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Error: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert not (tmp_path / "runs").exists()


def test_a_file_in_place_of_the_runs_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--runs FILE is a usage error where there are runs to be made, and the file stays as it was."""
    path = tmp_path / "runs"
    path.write_text("mine")
    assert main(["reproduce", "--runs", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"Error: {path} is a file, and new runs need a folder")
    assert path.read_text() == "mine"


@pytest.mark.usefixtures("forked_workers")
def test_packed_runs_are_not_repeated(
    undisturbed: tuple[Path, subprocess.CompletedProcess[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Over a packed file, and over a folder that holds one without one of the runs, the table is the same."""
    folder, process = undisturbed
    packed, mixed = tmp_path / "packed.jsonl", tmp_path / "mixed"
    assert main(["runs", "pack", str(folder), "-o", str(packed)]) == 0
    capsys.readouterr()
    assert main([*SMALL, "--runs", str(packed)]) == 0
    again = capsys.readouterr()
    assert again.out == process.stdout
    assert "4 done" in again.err

    mixed.mkdir()
    missing, *others = packed.read_text().splitlines(keepends=True)
    (mixed / "old.jsonl").write_text("".join(others))
    assert main([*SMALL, "--runs", str(mixed)]) == 0
    assert capsys.readouterr().out == process.stdout
    assert [path.parent.name for path in mixed.glob("*/run.json")] == [json.loads(missing)["key"]]


def test_a_damaged_record_is_not_overwritten(
    undisturbed: tuple[Path, subprocess.CompletedProcess[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """A cell's run.json that is not what it claims ends with 4, names the file and is left for its owner."""
    folder = undisturbed[0]
    victim = sorted(folder.glob("*/run.json"))[0]
    whole = victim.read_bytes()
    try:
        victim.write_bytes(whole[:100])
        assert main([*SMALL, "--runs", str(folder)]) == 4
        errors = capsys.readouterr().err
        assert str(victim) in errors
        assert errors.splitlines()[-1].startswith("Error: ")
        assert victim.read_bytes() == whole[:100]
    finally:
        victim.write_bytes(whole)


@pytest.mark.parametrize(("dirty", "said"), [(True, 1), (False, 0), (None, 0)])
def test_uncommitted_changes_are_said_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    dirty: bool | None,
    said: int,
) -> None:
    """Before runs are made from a checkout with changes, and only then, one line says what they will lack."""
    monkeypatch.setattr("qsgd_lab.runs.environment.checkout", lambda: {"commit": "0" * 40, "dirty": dirty})
    stopped = SweepOutcome(finished=(), already_done=(), failed=(), remaining=(), stopped_by="time")
    monkeypatch.setattr("qsgd_lab.runs.sweep.run_sweep", lambda *_arguments, **_options: stopped)
    assert main([*SMALL, "--runs", str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().err.count("the checkout of qsgd-lab has uncommitted changes") == said
    assert main([*SMALL[:-2], "--runs", str(tmp_path / "runs"), "--dry-run"]) == 0
    assert "uncommitted" not in capsys.readouterr().err

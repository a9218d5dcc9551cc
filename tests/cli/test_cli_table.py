"""`qsgd-lab table`: what it prints, where to, and how it refuses."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fake_runs import demo_records, record

from qsgd_lab.cli.main import main
from qsgd_lab.cli.sweep.table import table
from qsgd_lab.report import FORMATS, render
from qsgd_lab.report.analysis.communication import Link
from qsgd_lab.report.tables.options import TableOptions
from qsgd_lab.runs.record import RunRecord


def _store(folder: Path, records: list[RunRecord]) -> Path:
    for run in records:
        (folder / run.key).mkdir(parents=True)
        (folder / run.key / "run.json").write_text(run.to_json(), encoding="utf-8")
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Make a store with the demo's runs and one of another preset."""
    return _store(tmp_path / "runs", [*demo_records(), record(preset="other")])


def _invoke(*args: str | Path) -> Result:
    return CliRunner().invoke(table, [str(arg) for arg in args], catch_exceptions=False)


@pytest.mark.parametrize("format_name", FORMATS)
def test_prints_what_render_returns(runs: Path, format_name: str) -> None:
    """Standard output is the rendered text, byte for byte, in UTF-8."""
    result = _invoke("--runs", runs, "--format", format_name)

    assert result.exit_code == 0
    assert result.stdout_bytes == render([*demo_records(), record(preset="other")], format_name).encode()
    assert result.stderr == ""


def test_latex_is_the_default(runs: Path) -> None:
    """`qsgd-lab table > paper/results.tex` gives LaTeX."""
    assert _invoke("--runs", runs).stdout.startswith("% made by: qsgd-lab")


def test_writes_a_file_with_the_same_bytes(runs: Path, tmp_path: Path) -> None:
    """-o writes what would have been printed, prints nothing, and leaves nothing else behind."""
    target = tmp_path / "out" / "results.tex"
    target.parent.mkdir()
    result = _invoke("--runs", runs, "-o", target)

    assert result.stdout == ""
    assert target.read_bytes() == _invoke("--runs", runs).stdout_bytes
    assert list(target.parent.iterdir()) == [target]


def test_filters(runs: Path) -> None:
    """Each filter keeps the runs that match it, and may be given twice."""
    lines = [
        _invoke("--runs", runs, "--format", "csv", *options).stdout.splitlines()
        for options in (
            ["--preset", "other"],
            ["--preset", "other", "--preset", "demo"],
            ["--model", "alexnet"],
        )
    ]

    presets = [{row["preset"] for row in csv.DictReader(each)} for each in lines]
    assert presets == [{"other"}, {"demo", "other"}, {"demo", "other"}]


def test_options_reach_the_table(runs: Path) -> None:
    """What is shown, by what, in which style, over which link: each option is that of `render`."""
    printed = _invoke(
        *("--runs", runs, "--show", "accuracy, network", "--by", "model", "--style", "plain", "--published"),
        *("--link", "100Mbit/s", "--latency", "2ms", "--compute", "80ms"),
    )
    options = TableOptions(
        show=("accuracy", "network"),
        by="model",
        style="plain",
        published=True,
        link=Link(bandwidth=1.25e7, latency=0.002),
        compute=0.08,
    )

    assert (
        printed.stdout_bytes == render([*demo_records(), record(preset="other")], "latex", options).encode()
    )


def _main(capsys: pytest.CaptureFixture[str], *args: str | Path) -> tuple[int, str, str]:
    code = main(["table", *map(str, args)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_no_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Without runs: exit code 3, one line with the folder and the command that makes them, nothing made."""
    code, out, err = _main(capsys, "--runs", tmp_path / "none")

    assert (code, out) == (3, "")
    assert err.count("\n") == 1
    assert f"no runs in the folder {tmp_path / 'none'}; make them with: qsgd-lab reproduce" in err
    assert not (tmp_path / "none").exists()


def test_no_match(capsys: pytest.CaptureFixture[str], runs: Path) -> None:
    """A filter that matches nothing says what there is."""
    code, out, err = _main(capsys, "--runs", runs, "--preset", "absent")

    assert (code, out) == (3, "")
    assert "no runs with --preset absent; there are: demo, other" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--show", "accuracy,speed"], "'speed' is not among them; write a list of: accuracy, difference"),
        (["--show", "accuracy,"], "the list has an empty part"),
        (["--link", "1Gbit/s"], "add --show network"),
        (["--compute", "80ms", "--show", "time"], "add --show network"),
        (["--link", "fast", "--show", "network"], "'fast' is not a bandwidth"),
        (["--by", "seed"], "'seed' is not one of"),
    ],
)
def test_refusals(capsys: pytest.CaptureFixture[str], runs: Path, options: list[str], message: str) -> None:
    """What cannot be shown is refused in one line that says what can, with exit code 2."""
    code, out, err = _main(capsys, "--runs", runs, *options)

    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err


def test_stale_runs_are_left_out_aloud(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Runs of other versions are not shown unless asked for, and never silently."""
    folder = _store(tmp_path, [record(), record(key="0123456789ab")])
    code, out, err = _main(capsys, "--runs", folder)
    _, with_stale, _ = _main(capsys, "--runs", folder, "--stale")

    assert (code, out.count(r"\begin{table*}")) == (0, 1)
    assert "Left out 1 runs" in err
    assert with_stale.count(r"\begin{table*}") == 2


def test_only_stale_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Where all runs are stale, the message says that they are there."""
    code, _, err = _main(capsys, "--runs", _store(tmp_path, [record(key="0123456789ab")]))

    assert code == 3
    assert "but 1 made with other versions" in err


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_record_is_skipped(
    capsys: pytest.CaptureFixture[str], runs: Path, tmp_path: Path, damaged: int
) -> None:
    """Damaged records are left out of the table with one warning that counts them and names the first."""
    victims = [record(preset="other", seed=seed).key for seed in range(damaged)]
    for key in victims:
        (runs / key).mkdir(exist_ok=True)
        (runs / key / "run.json").write_text("{", encoding="utf-8")
    code, out, err = _main(capsys, "--runs", runs)
    _, expected, _ = _main(capsys, "--runs", _store(tmp_path / "sound", demo_records()))

    words = "1 damaged run" if damaged == 1 else "2 damaged runs; the first"
    assert (code, out, err.count("\n")) == (0, expected, 1)
    assert err.startswith(
        f"Warning: skipped {words}: {runs / min(victims) / 'run.json'} is not a sound record"
    )


def test_all_records_are_damaged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Where nothing can be read, in a folder or a packed file, that is one line and exit code 4."""
    folder = _store(tmp_path / "runs", [record(), record(seed=1)])
    for path in folder.glob("*/run.json"):
        path.write_text("{", encoding="utf-8")
    (tmp_path / "packed.jsonl").write_text("no\nruns\n", encoding="utf-8")
    for place in (folder, tmp_path / "packed.jsonl"):
        code, out, err = _main(capsys, "--runs", place)
        assert (code, out, err.count("\n")) == (4, "", 1)
        assert err.startswith(f"Error: none of the 2 runs in {place} can be read; the first: ")


def test_a_packed_file_is_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A folder that is not there, and a packed file that is not, are told apart; the file beside is named."""
    (tmp_path / "runs.jsonl").touch()
    code, _, err = _main(capsys, "--runs", tmp_path / "runs")
    assert (code, err) == (
        3,
        f"Error: no runs in the folder {tmp_path / 'runs'}; "
        f"there is a packed file: --runs {tmp_path / 'runs.jsonl'}\n",
    )
    code, _, err = _main(capsys, "--runs", tmp_path / "absent.jsonl")
    assert code == 3
    assert f"there is no file {tmp_path / 'absent.jsonl'}; name a packed file" in err


def test_output_keeps_the_old_file_on_failure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A failing command leaves the file it was to replace as it was."""
    target = tmp_path / "results.tex"
    target.write_text("old", encoding="utf-8")
    code, _, _ = _main(capsys, "--runs", tmp_path / "none", "-o", target)

    assert code == 3
    assert target.read_text(encoding="utf-8") == "old"


def test_output_refuses_devices(capsys: pytest.CaptureFixture[str], runs: Path) -> None:
    """-o /dev/null is refused: a file put in its place would be no device any more."""
    code, _, err = _main(capsys, "--runs", runs, "-o", os.devnull)

    assert code == 2
    assert "not an ordinary file" in err
    assert not Path(os.devnull).is_file()


def test_output_into_a_missing_folder(capsys: pytest.CaptureFixture[str], runs: Path, tmp_path: Path) -> None:
    """-o does not make folders; it says which one is missing."""
    code, out, err = _main(capsys, "--runs", runs, "-o", tmp_path / "absent" / "results.tex")

    assert (code, out) == (2, "")
    assert f"there is no folder {tmp_path / 'absent'}" in err


def test_output_follows_links(runs: Path, tmp_path: Path) -> None:
    """-o through a symbolic link writes the file that it points to."""
    target, link = tmp_path / "target.tex", tmp_path / "link.tex"
    target.write_text("old", encoding="utf-8")
    link.symlink_to(target)
    _invoke("--runs", runs, "-o", link)

    assert link.is_symlink()
    assert target.read_text(encoding="utf-8").startswith("% made by")


def test_needs_neither_torch_nor_numba(runs: Path) -> None:
    """Printing a table imports none of the heavy libraries, so that it is there at once."""
    program = (
        "import sys; from qsgd_lab.cli.main import main; "
        f"main(['table', '--runs', {str(runs)!r}, '--format', 'text']); "
        "sys.exit(', '.join({'torch', 'numba', 'scipy.stats', 'matplotlib'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert run.stderr.strip() == ""
    assert "Test accuracy" in run.stdout

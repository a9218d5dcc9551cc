"""`qsgd-lab plot`: which files it writes, what it says, and how it refuses."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import record

from qsgd_lab.cli.main import main
from qsgd_lab.runs.record import RunRecord

NAMES = ("bits", "frontier", "epochs", "megabytes", "bandwidth")


def store(folder: Path, *runs: RunRecord, epochs: bool = True) -> Path:
    """Write a store of runs with timing and, unless told otherwise, invented epochs."""
    for run in runs:
        timed = dataclasses.replace(run, timing={"total_s": 3.0, "compute_s": 2.0, "quantize_s": 0.5})
        (folder / run.key).mkdir(parents=True)
        (folder / run.key / "run.json").write_text(timed.to_json(), encoding="utf-8")
        lines = [
            {"epoch": k, "step": 39 * k, "train_loss": None, "validation_accuracy": 0.1 * k}
            for k in range(1, run.config.epochs + 1)
        ]
        if epochs:
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / run.key / "epochs.jsonl").write_text(text, encoding="utf-8")
    return folder


RUNS = [record(nodes=2, seed=seed, accuracy=0.8 + 0.03 * seed) for seed in range(5)]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Make a store of one cell of five seeds."""
    return store(tmp_path / "runs", *RUNS)


def plot(capsys: pytest.CaptureFixture[str], *args: str | Path) -> tuple[int, str, str]:
    """Run the command; return exit code, stdout and stderr."""
    code = main(["plot", *map(str, args)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_everything_by_default(capsys: pytest.CaptureFixture[str], runs: Path, tmp_path: Path) -> None:
    """Without names all figures are written as PDF into a folder that is made; stdout is their paths."""
    out = tmp_path / "figures"
    code, stdout, stderr = plot(capsys, "--runs", runs, "-o", out)
    paths = [out / f"demo-digits-alexnet-{name}.pdf" for name in NAMES]

    assert (code, stderr) == (0, "")
    assert stdout.splitlines() == [str(path) for path in paths]
    assert sorted(out.iterdir()) == sorted(paths)
    assert all(path.read_bytes().startswith(b"%PDF") for path in paths)


def test_twice_the_same_bytes(runs: Path, tmp_path: Path) -> None:
    """Another process writes the same bytes, whatever its hash seed."""
    contents = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        subprocess.run(
            [sys.executable, "-m", "qsgd_lab", "plot", "epochs", "--runs", str(runs), "-o", str(out)],
            env={"PYTHONHASHSEED": seed, "PATH": "", "MPLCONFIGDIR": str(tmp_path / "mpl")},
            check=True,
            capture_output=True,
        )
        contents.append([path.read_bytes() for path in sorted(out.iterdir())])

    assert contents[0] == contents[1]


def test_one_figure_to_a_file(capsys: pytest.CaptureFixture[str], runs: Path, tmp_path: Path) -> None:
    """-o with an ending names the file of one figure; several are refused and nothing is written."""
    target = tmp_path / "one.svg"
    assert plot(capsys, "bits", "--runs", runs, "-o", target)[:2] == (0, f"{target}\n")
    assert target.read_text().startswith("<?xml")

    before = target.read_bytes()
    code, stdout, stderr = plot(capsys, "bits", "epochs", "--runs", runs, "-o", target)
    assert (code, stdout, target.read_bytes()) == (2, "", before)
    assert stderr == f"Error: {target} is one file and there are 2 figures; name a folder\n"


def test_a_link_is_followed(capsys: pytest.CaptureFixture[str], runs: Path, tmp_path: Path) -> None:
    """-o through a symbolic link writes the file that it points to."""
    target, link = tmp_path / "target.svg", tmp_path / "link.svg"
    target.write_text("old")
    link.symlink_to(target)

    assert plot(capsys, "bits", "--runs", runs, "-o", link)[0] == 0
    assert link.is_symlink()
    assert target.read_text().startswith("<?xml")


def test_a_folder_that_cannot_be_made(capsys: pytest.CaptureFixture[str], runs: Path) -> None:
    """Where no folder can be made, one line says so and nothing is printed."""
    code, stdout, stderr = plot(capsys, "bits", "--runs", runs, "-o", "/proc/figures")

    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert stderr.startswith("Error: cannot make the folder /proc/figures: ")


def test_formats(capsys: pytest.CaptureFixture[str], runs: Path, tmp_path: Path) -> None:
    """--format may be given more than once, and says the files' endings."""
    code, stdout, _ = plot(
        capsys, "bits", "--runs", runs, "-o", tmp_path / "f", "--format", "png", "--format", "svg"
    )

    assert code == 0
    assert [Path(path).suffix for path in stdout.splitlines()] == [".png", ".svg"]


def test_groups_get_files_of_their_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Two presets in one store are two figures; a filter leaves one."""
    runs = store(tmp_path / "runs", *RUNS, record(preset="other", nodes=2))
    _, both, stderr = plot(capsys, "bits", "--runs", runs, "-o", tmp_path / "f")
    _, one, _ = plot(capsys, "bits", "--runs", runs, "--preset", "other", "-o", tmp_path / "f")

    assert [Path(path).name for path in both.splitlines()] == [
        "demo-digits-alexnet-bits.pdf",
        "other-digits-alexnet-bits.pdf",
    ]
    assert both.splitlines()[1:] == one.splitlines()
    assert stderr == "other-digits-alexnet: one seed: no deviation is drawn, nothing is tested\n"


def test_an_empty_store(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Without runs: exit code 3, one line that says how to make them, nothing made."""
    code, stdout, stderr = plot(capsys, "--runs", tmp_path / "none", "-o", tmp_path / "f")

    assert (code, stdout) == (3, "")
    assert "make them with: qsgd-lab reproduce" in stderr
    assert list(tmp_path.iterdir()) == []


def test_a_filter_without_a_match(capsys: pytest.CaptureFixture[str], runs: Path, tmp_path: Path) -> None:
    """A filter that matches nothing says what there is."""
    code, _, stderr = plot(capsys, "--runs", runs, "--nodes", "4", "-o", tmp_path / "f")

    assert code == 3
    assert stderr == "Error: no runs with --nodes 4; there are: 2\n"


def test_methods_are_chosen(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """--method leaves the methods named; one that is not there is refused with those that are."""
    runs = store(tmp_path / "runs", *RUNS, record(bits=32, nodes=2))
    target = tmp_path / "one.svg"
    assert plot(capsys, "bits", "--runs", runs, "--method", "fp32", "-o", target)[0] == 0
    only_fp32 = target.read_bytes()
    assert plot(capsys, "bits", "--runs", runs, "-o", target)[0] == 0
    assert len(only_fp32) < len(target.read_bytes())

    code, stdout, stderr = plot(capsys, "--runs", runs, "--method", "1 bit", "-o", tmp_path / "f")
    assert (code, stdout) == (3, "")
    assert stderr == "Error: no runs with --method 1 bit; there are: 2 bit, stochastic + EF; fp32\n"


def test_what_cannot_be_drawn_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A figure without its numbers is left out aloud; if none is left the exit code is 3."""
    runs = store(tmp_path / "runs", record(nodes=1), epochs=False)
    code, stdout, stderr = plot(capsys, "--runs", runs, "-o", tmp_path / "f")

    assert code == 0
    drawn = [f"demo-digits-alexnet-{name}.pdf" for name in NAMES[:2]]
    assert [Path(path).name for path in stdout.splitlines()] == drawn
    assert "no figure bandwidth, which takes timed runs of a quantizer on two nodes or more" in stderr
    assert "1 runs have no epochs.jsonl and no curve" in stderr
    code, stdout, stderr = plot(capsys, "epochs", "--runs", runs, "-o", tmp_path / "g")
    assert (code, stdout) == (3, "")
    assert stderr.endswith(
        "Error: these runs have nothing to draw: epochs takes runs with their epochs.jsonl\n"
    )
    assert not (tmp_path / "g").exists()


def test_damaged_epochs(capsys: pytest.CaptureFixture[str], runs: Path, tmp_path: Path) -> None:
    """Damaged epochs are skipped with a warning that names them; where all are, the exit code is 4."""
    (runs / RUNS[0].key / "epochs.jsonl").write_text("{}\n")
    code, _, stderr = plot(capsys, "megabytes", "--runs", runs, "-o", tmp_path / "f")
    assert code == 0
    path = runs / RUNS[0].key / "epochs.jsonl"
    assert stderr.startswith(f"Warning: skipped the epochs of 1 runs; the first: {path} is not sound")

    for run in RUNS:
        (runs / run.key / "epochs.jsonl").write_text("{}\n")
    code, stdout, stderr = plot(capsys, "megabytes", "--runs", runs, "-o", tmp_path / "g")
    assert (code, stdout, stderr.count("\n")) == (4, "", 1)
    assert not (tmp_path / "g").exists()
    assert plot(capsys, "bits", "--runs", runs, "-o", tmp_path / "f")[0] == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["pie"], "'pie' is not one of"),
        (["--latency", "5"], "'5' is not a time with its unit"),
        (["--compute", "fast"], "'fast' is not a time with its unit"),
        (["--code", "morse"], "'morse' is not one of"),
        (["--format", "gif"], "'gif' is not one of"),
        (["--nodes", "8..1"], "runs backwards"),
        (["-o", "absent/figures"], "there is no folder absent"),
        (["-o", "a-file"], "is a file; name a folder"),
        (["-o", "folder.pdf"], "not an ordinary file"),
    ],
)
def test_bad_usage(
    capsys: pytest.CaptureFixture[str],
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    args: list[str],
    words: str,
) -> None:
    """A wrong command line is one line on stderr, exit code 2, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    Path("a-file").touch()
    Path("folder.pdf").mkdir()
    before = sorted(tmp_path.iterdir())
    code, stdout, stderr = plot(capsys, "--runs", runs, *args)

    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert words in stderr
    assert sorted(tmp_path.iterdir()) == before


def test_stale_runs_are_left_out_aloud(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Runs of other versions are drawn only when asked for, in files of their own."""
    runs = store(tmp_path / "runs", *RUNS, record(nodes=2, key="0123456789ab"))
    _, without, stderr = plot(capsys, "bits", "--runs", runs, "-o", tmp_path / "f")
    _, with_stale, _ = plot(capsys, "bits", "--stale", "--runs", runs, "-o", tmp_path / "f")

    assert "Left out 1 runs" in stderr
    assert len(without.splitlines()) == 1
    assert [Path(path).name for path in with_stale.splitlines()][1] == "demo-digits-alexnet-stale-bits.pdf"


def test_help_needs_no_matplotlib() -> None:
    """Asking for help imports none of the heavy libraries."""
    program = (
        "import sys; from qsgd_lab.cli.main import main; main(['plot', '--help']); "
        "sys.exit(', '.join({'torch', 'numba', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert run.stderr.strip() == ""

"""`qsgd-lab runs`: what it lists, exports and packs, and how it refuses."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import checkout
import naive_packed
import pytest
from fake_runs import demo_records, record
from stored_runs import tree, write_run, write_runs

import qsgd_lab
from qsgd_lab.cli.main import main
from qsgd_lab.report.tidy import description

RUNS = [*demo_records((0, 1)), record(preset="other", key="0123456789ab")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of runs, one of them stale."""
    return write_runs(tmp_path / "runs", RUNS)


def runs(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    """Run the command; return exit code, stdout and stderr."""
    code = main(["runs", *map(str, args)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def packed(capsys: pytest.CaptureFixture[str], folder: Path) -> Path:
    """Pack a folder into a file beside it."""
    path = folder.with_name("packed.jsonl")
    assert runs(capsys, "pack", folder, "-o", path) == (0, "", f"Packed {len(RUNS)} runs into {path}.\n")
    return path


def test_pack_and_unpack(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    """The packed file is the oracle's, stale runs included; unpacked it gives the same files, and no more."""
    path = packed(capsys, folder)
    assert path.read_bytes() == naive_packed.packed_bytes(folder)
    code, out, err = runs(capsys, "unpack", path, "-o", tmp_path / "back")
    assert (code, out, err) == (0, "", f"Wrote {len(RUNS)} runs into {tmp_path / 'back'}.\n")
    assert tree(tmp_path / "back") == tree(folder)
    code, _, err = runs(capsys, "unpack", path, "-o", tmp_path / "back")
    assert (code, err) == (0, f"Wrote 0 runs into {tmp_path / 'back'}, {len(RUNS)} were there already.\n")


@pytest.mark.parametrize("format_name", ["latex", "text", "markdown", "csv", "json"])
def test_tables_of_packed_runs(capsys: pytest.CaptureFixture[str], folder: Path, format_name: str) -> None:
    """The table of a packed file is, byte for byte, that of the folder, in every format."""
    path = packed(capsys, folder)
    outputs = []
    for place in (folder, path):
        assert main(["table", "--runs", str(place), "--format", format_name, "--stale"]) == 0
        outputs.append(capsys.readouterr())
    assert outputs[0] == outputs[1]


def test_pack_to_standard_output(folder: Path) -> None:
    """-o - writes the file's bytes to standard output, and only what was done to standard error."""
    command = [sys.executable, "-m", "qsgd_lab", "runs", "pack", str(folder), "-o", "-"]
    process = subprocess.run(command, capture_output=True, check=True)
    assert process.stdout == naive_packed.packed_bytes(folder)
    assert process.stderr.decode() == f"Packed {len(RUNS)} runs.\n"


def test_unfinished_runs_are_left_out_aloud(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    """Folders without a record are not packed, and are counted and named, a few of them."""
    for number in range(7):
        (folder / f"00000000000{number}").mkdir()
    code, _, err = runs(capsys, "pack", folder, "-o", tmp_path / "p.jsonl")
    named = ", ".join(f"00000000000{number}" for number in range(5))
    assert code == 0
    assert f"Left out 7 runs that are not finished: {named} and 2 more.\n" in err
    assert len(naive_packed.documents((tmp_path / "p.jsonl").read_bytes())) == len(RUNS)


def test_damage_stops_the_packing(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    """A damaged record, or damaged epochs, end with 4 and one line; the file that was there stays."""
    target = tmp_path / "p.jsonl"
    target.write_text("old")
    for name in ("run.json", "epochs.jsonl"):
        path = folder / RUNS[0].key / name
        whole = path.read_bytes()
        path.write_bytes(whole[:10])
        code, out, err = runs(capsys, "pack", folder, "-o", target)
        assert (code, out, err.count("\n")) == (4, "", 1)
        assert str(path) in err
        path.write_bytes(whole)
    assert target.read_text() == "old"


@pytest.mark.parametrize("args", [("pack", "-o", "p.jsonl"), ("list",), ("export",)])
def test_no_runs(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    args: tuple[str, ...],
) -> None:
    """Without runs each command ends with 3 and one line, and writes nothing."""
    monkeypatch.chdir(tmp_path)
    code, out, err = runs(capsys, *args)
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert "no " in err
    assert list(tmp_path.iterdir()) == []


def test_unpack_refuses(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    """No file, a file of another kind, and a folder whose run contradicts the file's: 3, 4 and 4."""
    assert runs(capsys, "unpack", tmp_path / "absent", "-o", tmp_path / "x")[0] == 3
    (tmp_path / "other.jsonl").write_text("no run\n")
    code, _, err = runs(capsys, "unpack", tmp_path / "other.jsonl", "-o", tmp_path / "x")
    assert (code, err.startswith(f"Error: line 1 of {tmp_path / 'other.jsonl'} is not a sound run")) == (
        4,
        True,
    )
    path = packed(capsys, folder)
    write_run(folder, record(**{**vars(RUNS[0].config), "accuracy": 0.125}))
    code, _, err = runs(capsys, "unpack", path, "-o", folder)
    assert (code, "it contradicts the run that is to be added" in err) == (4, True)
    assert not (tmp_path / "x").exists()


def test_list_as_text(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line a run under a head; a long name is cut, and nothing that is not there is invented."""
    monkeypatch.setenv("COLUMNS", "140")
    write_run(folder, record(compressor="x" * 400, bits=None, seed=5, bits_per_coordinate={}))
    code, out, err = runs(capsys, "list", folder)
    head, *lines = out.splitlines()
    assert (code, err, len(lines)) == (0, "", len(RUNS) + 1)
    assert " ".join(head.split()) == "key preset method model N seed status stale commit dirty seconds"
    assert lines[0].split()[:2] == ["0123456789ab", "other"]
    assert max(map(len, lines)) < 140
    assert sum(f"{'x' * 31}…" in line for line in lines) == 1


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_the_list_fits_the_terminal(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """No line is longer than the terminal, each run has its line, and what is left out is named."""
    monkeypatch.setenv("COLUMNS", str(width))
    _, out, _ = runs(capsys, "list", checkout.ROOT / "paper" / "runs.jsonl")
    lines = out.splitlines()

    assert max(map(len, lines)) <= max(width, 64)  # key, method of 16, N, seed, status and time take 64
    assert sum(re.match(r"[0-9a-f]{12}  ", line) is not None for line in lines) == 140
    assert ("alexnet-quarter" in out) or ("Left out" in out)


def test_list_as_data(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """JSON and CSV have the same rows, and those are the columns of `load_runs`."""
    path = packed(capsys, folder)
    columns = qsgd_lab.load_runs(folder)
    rows = json.loads(runs(capsys, "list", path, "--format", "json")[1])
    assert [row["run_key"] for row in rows] == columns["run_key"]
    assert [row["total_s"] for row in rows] == columns["total_s"]
    (line, *_) = csv.DictReader(io.StringIO(runs(capsys, "list", "--runs", path, "--format", "csv")[1]))
    assert line == {name: _text(value) for name, value in rows[0].items()}


def _text(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("epochs", [False, True])
def test_export(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path, epochs: bool) -> None:
    """JSON lines are the columns of `load_runs` row by row; CSV has the same values as text; -o the bytes."""
    columns = qsgd_lab.load_runs(folder, epochs=epochs)
    options = ["--epochs"] if epochs else []
    code, out, err = runs(capsys, "export", folder, "--format", "jsonl", *options)
    assert (code, err) == (0, "")
    rows = [json.loads(line) for line in out.splitlines()]
    assert {name: [row[name] for row in rows] for name in rows[0]} == columns

    code, out, _ = runs(capsys, "export", folder, *options)
    assert list(csv.DictReader(io.StringIO(out))) == [{n: _text(v) for n, v in row.items()} for row in rows]
    assert "\r" not in out
    assert runs(capsys, "export", folder, *options, "-o", tmp_path / "e.csv") == (0, "", "")
    assert (tmp_path / "e.csv").read_text(encoding="utf-8") == out


def test_a_link_adds_columns(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """--link adds the modelled step and what it assumes; what belongs to it is refused without it."""
    out = runs(capsys, "export", folder, "--link", "1Gbit/s", "--latency", "1s", "--compute", "80ms")[1]
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {(row["link_megabits_per_s"], row["link_latency_s"]) for row in rows} == {("1000.0", "1.0")}
    assert "modelled_step_s" not in runs(capsys, "export", folder)[1]
    for options in (["--latency", "1ms"], ["--compute", "1ms"], ["--link", "1Gbit/s", "--epochs"]):
        code, out, err = runs(capsys, "export", folder, *options)
        assert (code, out, err.count("\n")) == (2, "", 1), err


def test_filters(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """Each filter keeps the runs that match it; one that matches none says what there is."""
    listed = runs(capsys, "list", folder, "--preset", "other")[1]
    assert len(re.findall("^[0-9a-f]{12} ", listed, re.MULTILINE)) == 1
    assert len(
        runs(capsys, "export", folder, "--preset", "other", "--preset", "demo")[1].splitlines()
    ) == 1 + len(RUNS)
    code, _, err = runs(capsys, "export", folder, "--model", "absent")
    assert (code, "there are: alexnet" in err) == (3, True)


def test_hostile_names_are_inert(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Names that a spreadsheet would run get a quote in CSV, and are themselves in JSON; quoting holds."""
    names = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", 'a"b,c;d', "<script>", "naïve ☃"]
    write_runs(tmp_path, [record(preset=name, seed=seed) for seed, name in enumerate(names)])
    rows = list(csv.DictReader(io.StringIO(runs(capsys, "export", tmp_path)[1])))
    found = {int(row["seed"]): row["preset"] for row in rows}
    assert [found[seed] for seed in range(7)] == [*(f"'{name}" for name in names[:4]), *names[4:]]
    lines = runs(capsys, "export", tmp_path, "--format", "jsonl")[1].splitlines()
    assert {json.loads(line)["preset"] for line in lines} == set(names)


def test_columns_are_described(capsys: pytest.CaptureFixture[str]) -> None:
    """--columns prints name, type and meaning of every column, without a look at any store."""
    for options, epochs in (([], False), (["--epochs"], True)):
        code, out, _ = runs(capsys, "export", "absent", "--columns", *options)
        assert (code, json.loads(out)) == (0, description(epochs=epochs))


def test_runs_named_twice(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """RUNS and --runs together are a usage error."""
    code, _, err = runs(capsys, "list", folder, "--runs", folder)
    assert (code, "RUNS is given twice" in err) == (2, True)


def test_needs_neither_torch_nor_numba(folder: Path) -> None:
    """Listing and exporting import none of the heavy libraries, so that they are there at once."""
    program = (
        "import sys; from qsgd_lab.cli.main import main; "
        f"main(['runs', 'list', {str(folder)!r}]); main(['runs', 'export', {str(folder)!r}, '--epochs']); "
        "sys.exit(', '.join({'torch', 'numba', 'scipy.stats', 'matplotlib'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert process.stderr.strip() == ""
    assert "run_key" in process.stdout

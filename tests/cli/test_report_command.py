"""`qsgd-lab report` and `reproduce --report`: what is written, what is said, and what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import checkout
import pytest
from fake_runs import record
from stored_runs import write_run, write_runs

from qsgd_lab.cli.main import cli, main
from qsgd_lab.cli.sweep.repeat import repeating_commands
from qsgd_lab.cli.sweep.report import LiveReport
from qsgd_lab.runs import events
from qsgd_lab.runs.store import RunStore
from qsgd_lab.runs.sweep import SweepOutcome

#: Drawing is most of a page's time, and tested elsewhere.
NO_FIGURES = pytest.mark.usefixtures("no_figures")
RUNS = [record(bits=bits, seed=seed) for bits in (32, 2) for seed in range(2)]


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures out."""
    monkeypatch.setattr("qsgd_lab.report.page.build.figures", lambda *_arguments: iter(()))


def run(capsys: pytest.CaptureFixture[str], *args: str | Path) -> tuple[int, str, str]:
    """Run the command line; return exit code, stdout and stderr."""
    code = main([*map(str, args)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_page_is_written_and_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The file appears with its path on stdout; failed runs show the last line of their log and no path."""
    runs, file = write_runs(tmp_path / "runs", RUNS), tmp_path / "report.html"
    failed = runs / ("0" * 12)
    failed.mkdir()
    (failed / "error.log").write_bytes(b'  File "/home/someone/x.py"\n' * 500 + b"ValueError: \xff<b>\n")
    stale = record(seed=7, key="a" * 12)
    write_run(runs, stale)
    code, out, err = run(capsys, "report", "--runs", runs, "-o", file, "--title", "A & B")
    text = file.read_text(encoding="utf-8")

    assert (code, out, err) == (0, f"{file}\n", "")
    assert "<h1>A &amp; B</h1>" in text
    assert "ValueError: \ufffd&lt;b&gt;" in text
    assert "/home/" not in text
    assert str(tmp_path) not in text
    assert "aaaaaaaaaaaa" in text.split('id="trouble"')[1]


@NO_FIGURES
def test_filters_leave_out_the_rest(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """--model shows its runs only; - is standard output."""
    runs = write_runs(tmp_path / "runs", [*RUNS[:2], record(model="other")])
    code, out, _ = run(capsys, "report", "--runs", runs, "--model", "other", "-o", "-")

    assert code == 0
    assert "<b>1</b> runs" in out
    assert "cost other in accuracy" in out


def test_no_runs_are_data_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An empty store ends with exit code 3 and the command that makes runs."""
    code, out, err = run(capsys, "report", "--runs", tmp_path, "-o", tmp_path / "report.html")

    assert (code, out) == (3, "")
    assert "qsgd-lab reproduce" in err
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("name", ["runs", "flaw-runs", "setting-runs"])
def test_the_commands_make_the_runs_again(name: str) -> None:
    """Parsed by the command line itself, the commands plan every run of the paper's stores."""
    records = list(RunStore(checkout.ROOT / f"paper/{name}.jsonl").records())
    commands = [line.split() for line in repeating_commands(records)]
    planned = set(itertools.chain.from_iterable(map(planned_keys, commands)))

    assert {record.key for record in records} <= planned


def planned_keys(words: list[str]) -> set[str]:
    """Return the keys that a command's plan holds."""
    from qsgd_lab.cli.options.training import flaws_asked_for
    from qsgd_lab.training.presets import PRESETS, configurations, methods_of

    assert words[:2] == ["qsgd-lab", "reproduce"]
    command = cli.get_command(None, "reproduce")  # type: ignore[arg-type]
    assert command is not None
    options = command.make_context("reproduce", words[2:]).params
    preset = PRESETS[options["preset"]]
    settings = {name: options[name] for name in ("norm", "bucket_size", "epochs", "engine", "scaling")}
    settings["flaws"] = flaws_asked_for(options["replayed"])
    methods = methods_of(preset, options["bits"], options["roundings"], options["error_feedback"])
    given = {name: value for name, value in settings.items() if value is not None}
    configs = configurations(
        options["preset"], options["models"], options["nodes"], methods, options["seeds"], given
    )
    return {config.key for config in configs}


def test_what_no_command_makes_is_said() -> None:
    """Runs of an unknown preset, of a plug-in or of other settings are a comment."""
    unknown, plugin, other = (
        record(preset="gone"),
        record(plugins=("mine=0123",)),
        record(model="alexnet-quarter", learning_rate=7.0),
    )

    for run_, words in ((unknown, "no such preset"), (plugin, "--import"), (other, "no command")):
        (line,) = repeating_commands([run_])
        assert line.startswith("# 1 runs of")
        assert words in line


@NO_FIGURES
def test_a_sweep_keeps_its_page_current(tmp_path: Path) -> None:
    """The page has what is finished so far; it is not written at each run; the last one does not reload."""
    file, store = tmp_path / "report.html", RunStore(tmp_path / "runs")
    configs = [run.config for run in RUNS]
    report = LiveReport(file, store, configs)
    report.write()
    before = file.read_text()
    write_runs(store.path, [*RUNS[:3], record(seed=99)])
    report.show(events.CellFinished(configs[0], RUNS[0]))  # too soon after the first
    unchanged = file.read_text()
    report._next = 0.0
    report.show(events.CellFinished(configs[1], RUNS[1]))
    later = file.read_text()
    report.write(is_last=True)

    assert "0 of 4 runs finished" in before
    assert unchanged == before
    assert "3 of 4 runs finished; the sweep is running" in later
    assert "3 of 4 runs finished; the sweep has stopped" in file.read_text()


def test_a_page_that_cannot_be_written_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is gone is said once; the sweep goes on."""
    report = LiveReport(tmp_path / "gone" / "report.html", RunStore(tmp_path / "runs"), [])
    report.write()
    report.write()

    assert capsys.readouterr().err.count("Warning: no report") == 1


@pytest.mark.parametrize(
    "options",
    [("report.html", "--dry-run"), ("report.html", "--engine", "distributed"), ("-",)],
    ids=["dry-run", "distributed", "stdout"],
)
def test_reports_without_a_sweep_or_a_file_are_refused(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    """--report needs a sweep of this process to watch, and a file that can be written again and again."""
    code, _, err = run(capsys, "reproduce", "--report", *options)

    assert code == 2
    assert "--report" in err


@NO_FIGURES
def test_reproduce_keeps_the_page_from_start_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page is there before the first run, hears of each, and is final when the sweep has ended."""
    file, seen = tmp_path / "report.html", []

    def sweep(configs: list, *_arguments: object, **options: object) -> SweepOutcome:
        seen.append(file.read_text())
        options["on_event"](events.CellStarted(configs[0]))  # type: ignore[operator]
        return SweepOutcome(finished=(), already_done=(), failed=(), remaining=(), stopped_by="time")

    monkeypatch.setattr("qsgd_lab.runs.sweep.run_sweep", sweep)
    monkeypatch.setattr("qsgd_lab.runs.environment.checkout", lambda: {"commit": "0" * 40, "dirty": False})
    words = ["--nodes", "2", "--bits", "2", "--seeds", "0", "--runs", tmp_path / "runs", "--report", file]
    code, _, _ = run(capsys, "reproduce", *words)

    assert code == 0
    assert "0 of 2 runs finished; the sweep is running" in seen[0]
    assert 'http-equiv="refresh"' in seen[0]
    assert "0 of 2 runs finished; the sweep has stopped" in file.read_text()
    assert "not finished" in file.read_text()

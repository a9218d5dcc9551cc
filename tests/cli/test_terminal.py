"""Text for terminals of any width: no line is longer, nothing is lost, wide tables come in blocks."""

from __future__ import annotations

import io
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from fake_worker import make_config
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from qsgd_lab.cli.errors import report_error
from qsgd_lab.cli.main import COMMANDS, cli
from qsgd_lab.cli.measure.rows_output import Table, as_text
from qsgd_lab.cli.sweep.data_sets import describe_data
from qsgd_lab.cli.sweep.progress import BarDisplay, LineDisplay, SweepProgress, display
from qsgd_lab.cli.sweep.theory_warnings import print_warnings
from qsgd_lab.compilation import COMPILING
from qsgd_lab.data.registry import DATASETS
from qsgd_lab.errors import DataMissingError
from qsgd_lab.runs import events
from qsgd_lab.terminal import fill, text_width

words = st.text("abcxyz0189.", min_size=1, max_size=9)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Draw a table whose first two columns say what a row is."""
    num_columns = draw(st.integers(2, 9))
    rows = draw(st.lists(st.tuples(*[words] * num_columns), min_size=1, max_size=4))
    header = draw(st.tuples(*[words] * num_columns))
    return Table(header, rows, left=tuple(draw(st.sets(st.integers(0, num_columns - 1)))))


@given(tables(), st.integers(40, 160))
def test_tables_fit_and_lose_nothing(table: Table, width: int) -> None:
    """Every cell is printed once, keys once a block; every block has every row; no line is too long."""
    text = as_text([table], width)
    blocks = [block.splitlines() for block in text.strip("\n").split("\n\n")]
    assert max(map(len, text.splitlines())) <= width
    assert {len(block) for block in blocks} == {2 + len(table.rows)}
    for number, row in enumerate(table.rows):
        printed = [block[2 + number].split() for block in blocks]
        assert all(cells[:2] == list(row[:2]) for cells in printed)
        assert [cell for cells in printed for cell in cells[2:]] == list(row[2:])


@given(tables())
def test_a_table_that_fits_is_whole(table: Table) -> None:
    """In a wide terminal there is one block."""
    assert "\n\n" not in as_text([table], 160).strip("\n")


@given(st.lists(words, min_size=1, max_size=60), st.integers(40, 200))
def test_prose_fits_and_stays_readable(prose: list[str], width: int) -> None:
    """Lines of prose are as wide as the terminal, but at most 100 columns; words stay whole and in order."""
    lines = fill(" ".join(prose), width, indent="  ", hanging="    ").splitlines()
    assert max(map(len, lines)) <= min(width, 100)
    assert " ".join(lines).split() == prose


@pytest.mark.parametrize(("columns", "width"), [("60", 60), ("140", 140), ("3", 40), ("", 80), (None, 80)])
def test_the_width_is_the_terminals(monkeypatch: pytest.MonkeyPatch, columns: str | None, width: int) -> None:
    """COLUMNS says how wide the terminal is; without it, and without a terminal, text has 80 columns."""
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    assert text_width() == width


@pytest.mark.parametrize(
    ("terminal", "is_terminal", "kind"),
    [("xterm", True, BarDisplay), ("dumb", True, LineDisplay), ("xterm", False, LineDisplay)],
)
def test_only_terminals_that_can_show_bars_get_them(
    monkeypatch: pytest.MonkeyPatch, terminal: str, is_terminal: bool, kind: type
) -> None:
    """Pipes and dumb terminals get a line a cell."""
    monkeypatch.setenv("TERM", terminal)
    console = Console(file=io.StringIO(), force_terminal=is_terminal)
    monkeypatch.setattr("rich.console.Console", lambda **_: console)
    with display([make_config()]) as shown:
        assert type(shown) is kind


def test_compiling_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Though every worker says that it compiles, the user reads it once."""
    cells = [make_config(seed) for seed in range(2)]
    shown = LineDisplay(SweepProgress(cells))
    for cell in cells:
        shown.show(events.CellStarted(cell))
        shown.show(events.CellCompiling(cell))
    assert capsys.readouterr().err == f"{COMPILING}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_80_columns(name: str) -> None:
    """Choices and examples, too: a command of many words goes on in the next line."""
    command = cli.get_command(click.Context(cli), name)
    inner = command.list_commands(click.Context(command)) if isinstance(command, click.Group) else []
    for arguments in ([name], *([name, each] for each in inner)):
        shown = CliRunner().invoke(cli, [*arguments, "--help"], prog_name="qsgd-lab", terminal_width=80)
        assert shown.exit_code == 0
        assert [line for line in shown.output.splitlines() if len(line) > 80] == []


LONG = "a word and another " * 9 + "end"


class Screen(io.StringIO):
    """What is written to a terminal, or to a pipe."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.is_terminal


@pytest.mark.parametrize("is_terminal", [True, False])
def test_errors_fit_a_terminal_and_are_one_line_elsewhere(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    """On a terminal no line of an error is too long; a pipe gets one line; no word is lost."""
    monkeypatch.setenv("COLUMNS", "80")
    screen = Screen(is_terminal=is_terminal)
    monkeypatch.setattr("sys.stderr", screen)
    for error in (DataMissingError(LONG), click.UsageError(LONG)):
        screen.truncate(screen.seek(0))
        report_error(error)
        lines = screen.getvalue().splitlines()
        assert (len(lines) == 1) != is_terminal
        assert not is_terminal or max(map(len, lines)) <= 80
        assert " ".join(lines).split() == f"Error: {LONG}".split()


def test_notices_fit_80_columns(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What a sweep says before it runs: its data sets, found or not, and what speaks against its methods."""
    (tmp_path / "cifar-10-binary.tar.gz").touch()
    describe_data(DATASETS, [tmp_path])
    print_warnings([LONG])
    notices = capsys.readouterr().err
    assert notices.count("Data: ") == len(DATASETS)
    assert " ".join(notices.split()).endswith(f"Warning: {LONG}.")
    longest = max(len(line) for line in notices.splitlines() if str(tmp_path) not in line)
    assert longest <= 80

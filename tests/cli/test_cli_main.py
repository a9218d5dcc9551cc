"""The qsgd-lab command: help, exit codes, and errors of one line."""

from __future__ import annotations

import errno
import inspect
import os
import platform
import re
import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path

import checkout
import click
import pytest
from click.testing import CliRunner

import qsgd_lab
from qsgd_lab import errors
from qsgd_lab.cli import main as main_module
from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.lazy import Entry, source_docstring
from qsgd_lab.cli.main import COMMANDS, cli, main

HEAVY = {"torch", "numba", "scipy", "matplotlib", "sklearn"}


def run_main(arguments, cwd, **options):
    """Run the command line in a process of its own, with `HEAVY` modules that it loaded on stderr."""
    code = (
        "import atexit, sys; from qsgd_lab.cli.main import main;"
        f"atexit.register(lambda: print('loaded', *sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr));"
        "sys.exit(main(sys.argv[1:]))"
    )
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, text=True, check=False, **options
    )


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
)
def test_help_is_quick(arguments, tmp_path):
    """Help of any kind loads nothing that takes long."""
    result = run_main(arguments, tmp_path)

    assert result.returncode == (0 if arguments else 2)
    assert result.stderr.splitlines()[-1] == "loaded"


def test_the_groups_help_imports_no_command(tmp_path):
    """The list of commands is written from the table alone."""
    code = "import sys; from qsgd_lab.cli.main import main; main(['--help']); print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    loaded = set(result.stdout.split())
    assert not loaded & {entry.module for entry in COMMANDS.values()}
    assert all(name in result.stdout and entry.help in result.stdout for name, entry in COMMANDS.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name):
    """A command carries its row's name, and its help has an Example that calls it."""
    result = CliRunner().invoke(cli, [name, "--help"], prog_name="qsgd-lab")

    assert result.exit_code == 0
    assert f"Example:\n    qsgd-lab {name}" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name):
    """docs/cli.md has a section for each command."""
    assert f"\n## qsgd-lab {name}\n" in (checkout.ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_version_is_the_packages(capsys):
    """--version names the program and the package's version, then Python's and those of the dependencies."""
    assert main(["--version"]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first == f"qsgd-lab {qsgd_lab.__version__}"
    versions = dict(line.split() for line in others)
    assert versions["Python"] == platform.python_version()
    assert versions["numpy"] == metadata.version("numpy")
    assert {"numba", "scipy", "torch", "click", "rich"} <= set(versions)


@pytest.fixture
def command(monkeypatch):
    """Return a function that puts a callback into the table as the command ``probe``."""

    def install(callback):
        module = types.ModuleType("qsgd_lab_probe")
        module.probe = click.command("probe")(callback)
        monkeypatch.setitem(sys.modules, "qsgd_lab_probe", module)
        monkeypatch.setitem(main_module.COMMANDS, "probe", Entry("qsgd_lab_probe", "probe", "Try."))

    return install


def raising(error):
    """Return a callback that raises `error`."""

    def callback():
        raise error

    return callback


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (errors.LabError("it\nfailed"), 1, "Error: it failed"),
        (errors.RunFailedError("2 of 3 runs failed"), 1, "Error: 2 of 3 runs failed"),
        (errors.UsageError("no such preset"), 2, "Error: no such preset"),
        (errors.DataMissingError("no runs"), 3, "Error: no runs"),
        (errors.IntegrityError("bad record"), 4, "Error: bad record"),
        (click.UsageError("wrong."), 2, "Error: wrong (see 'qsgd-lab probe --help')"),
        (click.FileError("x.npy", "is gone"), 1, "Error: Could not open file 'x.npy': is gone"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/runs/x"),
            1,
            "Error: No space left on device: /runs/x; free some space or write elsewhere",
        ),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "xxx"),
            2,
            "Error: xxx: File name too long; name another place",
        ),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (click.Abort(), 130, "Interrupted."),
    ],
)
def test_errors_are_one_line_and_an_exit_code(command, capsys, monkeypatch, error, code, line):
    """Each kind of error has its exit code, prints one line on stderr and nothing on stdout."""
    monkeypatch.setattr(main_module, "discard_stdout", lambda: None)  # stdout is pytest's here
    command(raising(error))

    assert main(["probe"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip() == line


@pytest.mark.parametrize("error", [ValueError("x"), TypeError("x"), OSError(errno.ENOENT, "x")])
def test_a_bug_keeps_its_traceback(command, error):
    """An exception that no rule covers is raised."""
    command(raising(error))

    with pytest.raises(type(error)) as caught:
        main(["probe"])
    assert caught.value is error


def test_a_pipe_broken_inside_the_program_is_a_bug(command):
    """A broken pipe that is not standard output is raised: it must not pass for a reader that left."""
    command(raising(BrokenPipeError(errno.EPIPE, "Broken pipe")))

    with pytest.raises(RuntimeError, match="a pipe inside the program broke"):
        main(["probe"])


@pytest.mark.parametrize(
    ("option", "line"),
    [
        (None, "Error: bits must be at least 1 (see 'qsgd-lab probe --help')"),
        (
            "--bits",
            "Error: Invalid value for '--bits': bits must be at least 1 (see 'qsgd-lab probe --help')",
        ),
    ],
)
@pytest.mark.parametrize("kind", [ValueError, TypeError])
def test_bad_arguments_become_usage_errors(command, capsys, kind, option, line):
    """Inside argument_errors a library's ValueError or TypeError is the user's mistake."""

    def callback():
        with argument_errors(option):
            raise kind("bits must be at least 1")

    command(callback)
    assert main(["probe"]) == 2
    assert capsys.readouterr().err.strip() == line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["varience"], "Error: No such command 'varience'; the commands are reproduce, table,"),
        (["--bits", "3"], "Error: No such option"),
        (["doctor", "--format", "xml"], "Error: Invalid value for '--format': 'xml' is not one of"),
        (["completion"], "Error: Missing argument 'SHELL'"),
    ],
)
def test_usage_errors_are_one_line(capsys, arguments, line):
    """A wrong command line is answered by one line that names what is right."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith(line)


def test_commands_end_with_their_code(command):
    """A command that returns, or leaves by ctx.exit, ends the program with 0 or with its code."""
    command(lambda: None)
    assert main(["probe"]) == 0
    command(lambda: click.get_current_context().exit(4))
    assert main(["probe"]) == 4


@pytest.mark.parametrize("arguments", [["completion", "fish"], ["doctor"], ["link"]])
def test_a_reader_that_leaves_is_no_error(tmp_path, arguments):
    """Writing into a pipe that nobody reads ends without a traceback, as `qsgd-lab table | head` does."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        result = run_main(arguments, tmp_path, stdout=stdout)

    assert result.returncode == 141
    assert len(result.stderr.splitlines()) == 1  # what run_main adds


@pytest.mark.parametrize("streams", [(1,), (0, 1, 2)])
@pytest.mark.parametrize(
    "arguments", [["--version"], ["table", "--help"], ["completion", "fish"], ["doctor"], ["link"]]
)
def test_closed_streams_end_quietly(tmp_path, arguments, streams):
    """With standard output, or all three streams, closed, a command does its work and says nothing."""
    closed = "; ".join(f"os.close({stream})" for stream in streams)
    again = "os.execv(sys.executable, [sys.executable, '-m', 'qsgd_lab', *sys.argv[1:]])"
    code = f"import os, sys; {closed}; {again}"
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_an_output_open_only_for_reading_ends_quietly(tmp_path):
    """`1</dev/null` is like a pipe whose reader has gone."""
    with Path(os.devnull).open("rb") as stdout:
        result = run_main(["completion", "fish"], tmp_path, stdout=stdout)

    assert result.returncode == 141
    assert len(result.stderr.splitlines()) == 1  # what run_main adds


def output_of(arguments, folder, **environment):
    """Return the bytes that a process of its own prints, and nothing else."""
    command = [sys.executable, "-m", "qsgd_lab", *arguments]
    result = subprocess.run(
        command, cwd=folder, capture_output=True, check=False, env={**os.environ, **environment}
    )
    assert result.stderr == b""
    return re.sub(r"[\d.]+ GiB", "GiB", result.stdout.decode())  # doctor's free disk, which others fill


@pytest.mark.parametrize("arguments", [["table", "--help"], ["flaws", "--list"], ["doctor"]])
def test_output_is_utf8_whatever_the_locale(tmp_path, arguments):
    """Eight-bit and ASCII locales get the bytes that UTF-8 ones get; rich, which doctor uses, included."""
    environments = [
        {"PYTHONIOENCODING": "iso8859-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii:strict"},
    ]
    if arguments == ["doctor"]:  # which loads torch
        del environments[:2]
    expected = output_of(arguments, tmp_path, PYTHONUTF8="1")
    assert {output_of(arguments, tmp_path, **environment) for environment in environments} == {expected}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(tmp_path):
    """When the output cannot be written, one line says so, and the exit code is 1."""
    with Path("/dev/full").open("wb") as stdout:
        result = run_main(["completion", "fish"], tmp_path, stdout=stdout)

    assert result.returncode == 1
    assert result.stderr.startswith("Error: No space left on device")
    assert len(result.stderr.splitlines()) == 2  # the error, and what run_main adds


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(capsys, shell):
    """The script for each shell completes qsgd-lab through its variable."""
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "_QSGD_LAB_COMPLETE" in script
    assert "qsgd-lab" in script


def test_the_shell_is_told_the_commands(tmp_path):
    """What the completion script asks is answered with the commands that fit."""
    question = {"_QSGD_LAB_COMPLETE": "bash_complete", "COMP_WORDS": "qsgd-lab do", "COMP_CWORD": "1"}
    result = run_main([], tmp_path, env=os.environ | question)

    assert result.stdout == "plain,doctor\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_does_not_need_docstrings_in_the_code(name):
    """Under `python -OO` there are none; the help is then read from the source, and is the same."""
    entry = COMMANDS[name]
    command = cli.get_command(click.Context(cli), name)
    assert source_docstring(entry.module, entry.attribute) == inspect.cleandoc(command.help)
    assert source_docstring(entry.module, "no such function") is None


def test_help_is_the_same_without_docstrings():
    """The whole program under -OO prints the same help."""
    for arguments in (["--help"], ["data", "fetch", "--help"]):
        texts = {
            subprocess.check_output([sys.executable, *option, "-m", "qsgd_lab", *arguments], text=True)
            for option in ([], ["-OO"])
        }
        assert len(texts) == 1

"""`qsgd-lab data`: fetch, verify, where; what they print, and how they end."""

from __future__ import annotations

import dataclasses
import io
import json

import cifar_fixture as fixture
import flaky_server
import pytest
from flaky_server import Behaviour
from rich.console import Console
from rich.progress import Progress

from qsgd_lab import plugins
from qsgd_lab.cli.data import SUBCOMMANDS
from qsgd_lab.cli.download_display import BarDisplay, LineDisplay, columns
from qsgd_lab.cli.main import main
from qsgd_lab.data import registry
from qsgd_lab.data.cifar10 import fetch
from qsgd_lab.data.registry import DATASETS, cifar10_source

RELEASE = fixture.tiny_release()
BINARY = RELEASE.binary
ARCHIVE = fixture.archive_of(BINARY.folder, fixture.binary_files())


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """Work with the tiny release, in an empty folder with an empty cache and no way out; gives the cache."""
    tiny = dataclasses.replace(DATASETS["cifar10"], source=cifar10_source(RELEASE))
    monkeypatch.setitem(DATASETS, "cifar10", tiny)
    monkeypatch.setattr(fetch, "ADDRESSES", (flaky_server.closed_port(),))
    for name in ("QSGD_LAB_DATA", "QSGD_LAB_OFFLINE", "TORCH_HOME", "http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "qsgd-lab"


@pytest.fixture
def mirror(monkeypatch):
    """Serve the fixture's archive as the user's mirror."""
    behaviour = Behaviour(ARCHIVE)
    with flaky_server.serving(behaviour) as url:
        monkeypatch.setenv("QSGD_LAB_CIFAR_URL", url)
        yield behaviour


def test_fetch_then_where_then_verify(cache, mirror, capsys):
    """What fetch puts into the cache, where names and verify finds sound."""
    archive = cache / BINARY.archive
    assert main(["data", "fetch"]) == 0
    assert capsys.readouterr().out == f"{archive}\n"
    assert archive.read_bytes() == ARCHIVE

    assert main(["data", "where"]) == 0
    assert capsys.readouterr().out == f"{archive}\n"

    assert main(["data", "verify", "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["path"] == str(archive)
    assert facts["arrays_sha256"] == fixture.decoded_sha256()
    assert [facts[f"{part}_images"] for part in ("training", "validation", "test")] == [90, 10, 20]

    assert main(["data", "verify"]) == 0
    text = capsys.readouterr().out
    assert all(f"{name.replace('_', ' ')}: {value}\n" in text for name, value in facts.items())


def test_a_sound_copy_is_not_fetched_again(cache, mirror, capsys, tmp_path):
    """Fetch verifies what is there, in any form and place, and asks no server."""
    fixture.write_folder(tmp_path / "data" / RELEASE.python.folder, fixture.python_files())
    assert main(["data", "fetch"]) == 0
    assert capsys.readouterr().out == f"data/{RELEASE.python.folder}\n"
    assert mirror.requests == []
    assert not cache.exists()


def test_a_damaged_copy_is_replaced(cache, mirror, capsys):
    """Fetch says what is wrong with the copy that is there, and puts a good one in its place."""
    cache.mkdir(parents=True)
    (cache / BINARY.archive).write_bytes(ARCHIVE[:-1])
    assert main(["data", "verify"]) == 4
    assert f"has {len(ARCHIVE) - 1} bytes instead of {len(ARCHIVE)}" in capsys.readouterr().err
    assert main(["data", "fetch"]) == 0
    assert "Not used: " in capsys.readouterr().err
    assert main(["data", "verify"]) == 0


def test_fetch_resumes_and_says_so(mirror, capsys):
    """A broken transfer is told on stderr and goes on; stdout has only the path."""
    mirror.drop_after = [len(ARCHIVE) // 2]
    assert main(["data", "fetch", "--data-dir", "elsewhere"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"elsewhere/{BINARY.archive}\n"
    assert "trying again" in captured.err
    assert mirror.requests == [None, f"bytes={len(ARCHIVE) // 2}-"]


@pytest.mark.parametrize("command", ["where", "verify"])
def test_no_copy_is_one_line(command, capsys, cache):
    """Where there is none, one line names the places, the file, its checksum and the command; exit code 3."""
    assert main(["data", command]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    for part in (str(cache), "qsgd-lab data fetch", BINARY.archive, BINARY.fingerprint.sha256):
        assert part in captured.err


@pytest.mark.parametrize("offline", [["--offline"], []])
def test_without_a_network_fetch_ends_with_3(offline, capsys, cache):
    """Offline or with nobody answering, the last line names the file and its checksum; nothing is left."""
    assert main(["data", "fetch", *offline]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert BINARY.fingerprint.sha256 in captured.err.splitlines()[-1]
    assert not (cache / BINARY.archive).exists()


def test_something_else_at_the_mirror_ends_with_4(mirror, capsys, cache):
    """A page in the archive's place is an integrity error, and leaves nothing."""
    mirror.content = b"<html>Please log in</html>"
    assert main(["data", "fetch"]) == 4
    assert f"has 26 bytes under that name instead of {len(ARCHIVE)}" in capsys.readouterr().err
    assert [path for path in cache.iterdir() if path.suffix != ".lock"] == []


def test_a_data_folder_that_is_a_file_ends_with_3(capsys, tmp_path, monkeypatch, mirror):
    """A cache that cannot be written is one line."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("QSGD_LAB_DATA", str(tmp_path / "file" / "data"))
    assert main(["data", "fetch"]) == 3
    assert capsys.readouterr().err.startswith("Error: cannot write")


def test_the_variable_goes_before_the_option_and_says_so(monkeypatch, capsys, mirror, tmp_path):
    """With both, QSGD_LAB_DATA is used, and a warning tells whoever gave --data-dir."""
    monkeypatch.setenv("QSGD_LAB_DATA", str(tmp_path / "named"))
    assert main(["data", "fetch", "--data-dir", "given"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 'named' / BINARY.archive}\n"
    assert "overrides --data-dir given" in captured.err


def test_data_without_a_command_is_usage(capsys):
    """The group alone prints its help on stderr; exit code 2."""
    assert main(["data"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(name in captured.err for name in ("fetch", "verify", "where"))


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_command_has_help_with_an_example(name, capsys):
    """Each command's help has an Example that calls it."""
    assert main(["data", name, "--help"]) == 0
    assert f"qsgd-lab data {name}" in capsys.readouterr().out.partition("Example:")[2]


def test_progress_in_a_log_is_a_line_a_tenth(capsys):
    """However many pieces come, a log gets the beginning and ten lines, and starting again counts again."""
    show = LineDisplay()
    for done in range(0, 100_000_001, 100_000):
        show.progress(done, 100_000_000)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["0.0 of 100.0 MB", "10.0 of 100.0 MB"]
    assert lines[-1] == "100.0 of 100.0 MB"
    assert len(lines) == 11
    show.progress(1, 100_000_000)
    show.progress(10_000_000, 100_000_000)
    assert capsys.readouterr().err == "10.0 of 100.0 MB\n"


def test_progress_in_a_terminal_is_a_bar():
    """In a terminal there is a bar with what has come, and notices are printed above it as they are."""
    stream = io.StringIO()
    with Progress(*columns(), console=Console(file=stream, force_terminal=True, width=100)) as bars:
        show = BarDisplay(bars)
        show.progress(25_000_000, 100_000_000)
        show.notice("mirror [broke off]")
    assert "mirror [broke off]" in stream.getvalue()
    assert "25.0/100.0 MB" in stream.getvalue()


OWN = """
import pathlib, types
from qsgd_lab.data import DatasetEntry, Source, register_dataset
from qsgd_lab.errors import DataMissingError, IntegrityError

def find(folders):
    for folder in folders:
        if (folder / "own.bin").is_file():
            return types.SimpleNamespace(path=folder / "own.bin", form="file")
    raise DataMissingError("own.bin is in none of the folders")

def fetch(folder, *, progress, notice, offline):
    if offline:
        raise DataMissingError("offline, and own.bin is wanted")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.bin").write_bytes(b"right")
    return folder / "own.bin"

def verify(copy):
    if copy.path.read_bytes() != b"right":
        raise IntegrityError("own.bin is damaged")

def describe(copy):
    verify(copy)
    return {"path": str(copy.path), "images": 12}

source = Source(find, fetch, verify, describe)
register_dataset(DatasetEntry("own", "my own", (1, 2, 2), 2, (4, 4, 4), object, source=source))
"""


def test_a_data_set_of_a_plug_in_is_fetched_verified_and_found(cache, monkeypatch, tmp_path, capsys):
    """The three commands take the name of any registered data set that has files."""
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.setattr(registry._origins, "_outside", {})
    monkeypatch.setenv(plugins.VARIABLE, "")
    (tmp_path / "own.py").write_text(OWN)
    own = ("own", "--import", str(tmp_path / "own.py"))
    try:
        assert main(["data", "where", *own]) == 3
        assert main(["data", "fetch", *own, "--offline"]) == 3
        assert capsys.readouterr().err.splitlines()[-1] == "Error: offline, and own.bin is wanted"
        assert main(["data", "fetch", *own]) == 0
        assert main(["data", "where", *own]) == 0
        assert capsys.readouterr().out == f"{cache / 'own.bin'}\n" * 2
        assert main(["data", "verify", *own]) == 0
        assert capsys.readouterr().out == f"path: {cache / 'own.bin'}\nimages: 12\n"
        (cache / "own.bin").write_bytes(b"wrong")
        assert main(["data", "verify", *own]) == 4
        assert main(["data", "fetch", *own]) == 0
        assert main(["data", "verify", *own]) == 0
    finally:
        del DATASETS["own"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digits", "'digits' needs no files; those that do: cifar10"),
        ("cifar", "unknown data set 'cifar'; known"),
    ],
)
@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_a_name_without_files_is_usage(command, name, words, capsys):
    """One line says which data sets there are; exit code 2."""
    assert main(["data", command, name]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert len(captured.err.splitlines()) == 1

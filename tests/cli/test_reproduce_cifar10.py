"""``qsgd-lab reproduce`` on CIFAR-10: a tiny data set in its format, through the real reader and workers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import cifar_fixture as fixture
import flaky_server
import pytest
from flaky_server import Behaviour

from qsgd_lab.cli.main import main
from qsgd_lab.cli.sweep import reproduce
from qsgd_lab.data.cifar10 import fetch
from qsgd_lab.data.cifar10.find import DATA_VARIABLE
from qsgd_lab.data.registry import DATASETS, cifar10_source

RELEASE = fixture.tiny_release()
QUICK = ["reproduce", "--preset", "quick", "--seeds", "0", "--epochs", "1", "--global-batch", "32"]
ONE_RUN = [*QUICK, "--bits", "32", "--model", "alexnet", "--nodes", "1"]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, forked_workers: None) -> Path:
    """Work in an empty folder with an empty cache, no way out, and the tiny release for the official one."""
    tiny = dataclasses.replace(DATASETS["cifar10"], source=cifar10_source(RELEASE))
    monkeypatch.setitem(DATASETS, "cifar10", tiny)
    monkeypatch.setattr(reproduce, "WORKER", "cifar_fixture_worker:run_training")
    monkeypatch.setattr(fetch, "ADDRESSES", (flaky_server.closed_port(),))
    for name in (DATA_VARIABLE, "QSGD_LAB_OFFLINE", "TORCH_HOME", "http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put_archive(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / RELEASE.binary.archive
    archive.write_bytes(fixture.archive_of(RELEASE.binary.folder, fixture.binary_files()))
    return archive


def records(folder: Path = Path("runs")) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(path.read_text()) for path in folder.glob("*/run.json")]


@pytest.mark.slow
def test_two_models_on_two_node_counts_end_in_a_table(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """AlexNet and ResNet-20 at N = 1 and 8, augmented, from archive to table; records name the data."""
    put_archive(home / "elsewhere")
    models = ["--model", "alexnet", "--model", "resnet20"]
    command = [*QUICK, *models, "--nodes", "1,8", "--bits", "2", "--data-dir", "elsewhere", "--jobs", "1"]
    assert main([*command, "--format", "csv"]) == 0
    printed = capsys.readouterr()
    runs = records()
    assert len(runs) == 2 * 2 * 2
    assert {run["config"]["dataset"] for run in runs} == {"cifar10"}
    assert {run["config"].get("augmentation") for run in runs} == {"crop-flip"}
    (digest,) = {run["environment"]["data_sha256"] for run in runs}
    assert len(digest) == hashlib.sha256().digest_size * 2
    assert "cifar10" in printed.out
    assert "CIFAR-10, binary archive elsewhere" in printed.err


def test_without_the_data_nothing_starts(capsys: pytest.CaptureFixture[str]) -> None:
    """One line names the file that is wanted and three ways out; exit 3, no folder of runs."""
    assert main(ONE_RUN) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    error = captured.err.splitlines()[-1]
    assert error.startswith("Error: CIFAR-10 is not in")
    for way in (RELEASE.binary.archive, "qsgd-lab data fetch", "--download", "--preset demo"):
        assert way in error
    assert not Path("runs").exists()


def test_download_fetches_and_then_trains(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--download leaves the archive in the cache, and the run is made; the second time does nothing."""
    archive = fixture.archive_of(RELEASE.binary.folder, fixture.binary_files())
    with flaky_server.serving(Behaviour(archive)) as url:
        monkeypatch.setenv("QSGD_LAB_CIFAR_URL", url)
        assert main([*ONE_RUN, "--download"]) == 0
    assert (home / "cache" / "qsgd-lab" / RELEASE.binary.archive).read_bytes() == archive
    assert len(records()) == 1
    table = capsys.readouterr().out
    assert main([*ONE_RUN, "--download"]) == 0  # the mirror is gone, and not asked
    assert capsys.readouterr().out == table


def test_offline_download_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """--offline opens no connection: exit 3, and the line says which file is wanted."""
    assert main([*ONE_RUN, "--download", "--offline"]) == 3
    assert RELEASE.binary.archive in capsys.readouterr().err.splitlines()[-1]


def test_a_damaged_copy_stops_the_sweep_before_it_starts(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One flipped byte: exit 4, one line, no run."""
    archive = put_archive(home / "data")
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(bytes(content))
    assert main(ONE_RUN) == 4
    assert capsys.readouterr().err.splitlines()[-1].startswith("Error:")
    assert not Path("runs").exists()


def test_finished_runs_need_no_data(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table of a finished sweep is printed though the data have gone."""
    archive = put_archive(home / "data")
    assert main(ONE_RUN) == 0
    table = capsys.readouterr().out
    archive.unlink()
    assert main(ONE_RUN) == 0
    assert capsys.readouterr().out == table

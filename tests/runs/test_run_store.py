"""The run store: records appear whole or not at all, damage is named, and a cell has one holder."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
from fake_worker import claim_and_hold, make_config, make_outcome

from qsgd_lab.errors import IntegrityError, LabError, UsageError
from qsgd_lab.runs.config import COMPONENT_VERSIONS, RunConfig
from qsgd_lab.runs.record import RunOutcome, RunRecord
from qsgd_lab.runs.store import RunStore

CONFIG = make_config()


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """Return a store whose folder is not there yet."""
    return RunStore(tmp_path / "runs")


def write(store: RunStore, config: RunConfig = CONFIG) -> RunRecord:
    """Claim a cell and write its record."""
    claim = store.claim(config)
    assert claim is not None
    with claim:
        return store.write(config, make_outcome(config), {"python": "3.11.7"})


def write_raw(store: RunStore, text: str, key: str = CONFIG.key) -> Path:
    """Put any text where a record belongs."""
    path = store.record_path(key)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_written_then_read(store: RunStore) -> None:
    """What is written is read back by configuration, by key, and in the iteration; an epoch is a line."""
    record = write(store)
    assert store.record(CONFIG) == store.record(CONFIG.key) == record
    assert list(store.records()) == [record]
    lines = store.epochs_path(CONFIG).read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]


def test_opening_makes_nothing(store: RunStore) -> None:
    """A store that is only read is empty where there is no folder, and makes none."""
    assert store.record(CONFIG) is None
    assert list(store.records()) == []
    assert not store.is_claimed(CONFIG)
    assert not store.path.exists()


def test_order_of_records(store: RunStore) -> None:
    """Records come in the order of their keys, however they were made, and other entries are passed over."""
    for seed in (3, 1, 2):
        write(store, make_config(seed))
    (store.path / "notes.txt").touch()
    (store.path / "0123456789ab").mkdir()
    keys = [record.key for record in store.records()]
    assert keys == sorted(make_config(seed).key for seed in (1, 2, 3))


def test_path_below_a_file(tmp_path: Path) -> None:
    """A folder that cannot be made is refused when something is to be written, naming it."""
    (tmp_path / "file").touch()
    store = RunStore(tmp_path / "file" / "runs")
    with pytest.raises(UsageError, match=r"cannot write in .*runs: Not a directory; name a folder"):
        store.claim(CONFIG)


@pytest.mark.parametrize("key", ["../../etc", "", "0123456789AB", "0123456789ab\n", "/root"])
def test_key_from_outside(store: RunStore, key: str) -> None:
    """A key that is not 12 hexadecimal digits never becomes a path."""
    with pytest.raises(ValueError, match="12 hexadecimal"):
        store.record(key)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema": 1}', '{"schema": NaN}', "x" * (1 << 20 | 1)]
)
def test_damaged_record(store: RunStore, text: str) -> None:
    """A damaged record is an IntegrityError that names the file and the remedy, by every way of reading."""
    path = write_raw(store, text)
    remedy = f"{path} is not a sound record: .*; delete it or move it away"
    assert store.read().num_damaged == 1
    for read in (
        lambda: store.record(CONFIG),
        lambda: store.record(CONFIG.key),
        lambda: list(store.records()),
        lambda: store.read().require_sound(store.path),
    ):
        with pytest.raises(IntegrityError, match=remedy):
            read()


def test_record_is_no_file(store: RunStore) -> None:
    """A folder or a named pipe in the record's place is damage; the pipe is not waited for."""
    store.record_path(CONFIG).mkdir(parents=True)
    os.mkdir(store.folder("0123456789ab"))  # noqa: PTH102
    os.mkfifo(store.record_path("0123456789ab"))
    for run in (CONFIG, "0123456789ab"):
        with pytest.raises(IntegrityError, match="not a regular file"):
            store.record(run)


def test_record_in_foreign_folder(store: RunStore) -> None:
    """A record copied into another run's folder is damage."""
    text = write(store).to_json()
    other = make_config(1)
    path = write_raw(store, text, other.key)
    with pytest.raises(IntegrityError, match="not the name of its folder"):
        store.record(other)
    path.write_text(text.replace(CONFIG.key, other.key))
    with pytest.raises(IntegrityError, match="another configuration"):
        store.record(other)


def test_stale_record(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a component's version is raised a record is foreign: not found, not listed, and no error."""
    record = write(store)
    monkeypatch.setitem(COMPONENT_VERSIONS, "quantizer", 10**6)
    assert store.record(CONFIG) is None
    assert store.record(record.key) is None
    assert list(store.records()) == []
    assert list(store.all_records()) == [record]


class Crash(BaseException):
    """A process dies here: nothing after this runs but what the operating system does."""


@pytest.mark.parametrize("replaced", [0, 1])
def test_crash_while_writing(store: RunStore, monkeypatch: pytest.MonkeyPatch, replaced: int) -> None:
    """A crash before either file takes its name leaves a cell not done; the next claim tidies up."""
    replace, calls = os.replace, iter(range(10))

    def crashing(*arguments: Any) -> None:
        if next(calls) == replaced:
            raise Crash
        replace(*arguments)

    monkeypatch.setattr(os, "replace", crashing)
    with pytest.raises(Crash):
        write(store)
    assert store.record(CONFIG) is None
    assert len(list(store.folder(CONFIG).glob(".*.part"))) == 1
    monkeypatch.undo()
    record = write(store)
    assert store.record(CONFIG) == record
    assert sorted(path.name for path in store.folder(CONFIG).iterdir()) == ["epochs.jsonl", "run.json"]


def test_leftovers_of_the_dead(store: RunStore) -> None:
    """A claim removes the temporary files that killed processes left in the cell, and nothing else."""
    write(store)
    (store.folder(CONFIG) / ".run.json.1.part").touch()
    (store.folder(CONFIG) / "error.log").touch()
    with store.claim(CONFIG) or pytest.fail("the cell was not free"):
        names = sorted(path.name for path in store.folder(CONFIG).iterdir())
    assert names == ["epochs.jsonl", "error.log", "run.json"]


@pytest.mark.parametrize("call", range(4))  # the file and its folder, for each of two files
def test_full_disk(store: RunStore, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """A full disk is one clear line, and leaves no temporary file and no half of a record."""
    fsync, calls = os.fsync, iter(range(10))

    def full(descriptor: int) -> None:
        if next(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LabError, match=r"No space left on device; free some space") as caught:
        write(store)
    assert "\n" not in str(caught.value)
    assert not list(store.folder(CONFIG).glob(".*"))
    assert store.record(CONFIG) is None or call == 3  # then only the folder's entry was not yet forced out


def test_numbers_not_finite(store: RunStore) -> None:
    """A diverged run's loss that is not finite is stored as null, in its record and in its epochs."""
    outcome = make_outcome(CONFIG)
    outcome.result["final_train_loss"] = float("inf")
    outcome.epochs[1]["train_loss"] = float("nan")
    assert store.claim(CONFIG) is not None
    diverged = RunOutcome(
        status="diverged", result=outcome.result, timing=outcome.timing, epochs=outcome.epochs
    )
    record = store.write(CONFIG, diverged, {})
    assert (record.status, record.result["final_train_loss"]) == ("diverged", None)
    assert json.loads(store.epochs_path(CONFIG).read_text().splitlines()[1])["train_loss"] is None


def test_unsound_outcome_is_not_written(store: RunStore) -> None:
    """An outcome that could not be read back is a ValueError of the writer, and no file."""
    outcome = make_outcome(CONFIG)
    outcome.result["test_accuracy"] = 98.0
    assert store.claim(CONFIG) is not None
    with pytest.raises(ValueError, match="test_accuracy"):
        store.write(CONFIG, outcome, {})
    assert list(store.folder(CONFIG).iterdir()) == []


def test_checkpoint_goes_with_the_record(store: RunStore) -> None:
    """A checkpoint outlives claims, and goes once the record is there."""
    claim = store.claim(CONFIG)
    assert claim is not None
    with claim:
        store.checkpoint_path(CONFIG).write_text("half way")
    with store.claim(CONFIG) or pytest.fail("the claim was not free"):
        assert store.checkpoint_path(CONFIG).exists()
    write(store)
    assert not store.checkpoint_path(CONFIG).exists()


def test_one_holder(store: RunStore) -> None:
    """A claimed cell cannot be claimed again until it is released; other cells can."""
    claim = store.claim(CONFIG)
    assert claim is not None
    with claim:
        assert store.claim(CONFIG) is None
        assert store.is_claimed(CONFIG)
        assert not store.is_claimed(make_config(1))
    assert not store.is_claimed(CONFIG)


def test_killed_holder(store: RunStore) -> None:
    """A cell that another process holds is not to be had; kill -9 of the holder frees it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    holder = context.Process(target=claim_and_hold, args=(store.path, CONFIG, theirs))
    holder.start()
    theirs.close()
    assert ours.recv() is True
    assert store.claim(CONFIG) is None
    holder.kill()
    holder.join()
    claim = store.claim(CONFIG)
    assert claim is not None
    claim.release()


@pytest.mark.parametrize(
    "name", ["checkpoint.npz.4242.part", ".checkpoint.npz.host.4242.part", ".run.json.host.1.part"]
)
def test_a_claim_removes_parts_of_every_naming_scheme(store: RunStore, name: str) -> None:
    """What a killed worker left of a checkpoint or record is removed by the next claim, whatever its host."""
    with store.claim(CONFIG) or pytest.fail("the cell was not free"):
        left = store.folder(CONFIG) / name
        left.touch()
    with store.claim(CONFIG) or pytest.fail("the cell was not free"):
        assert not left.exists()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_no_locks_is_an_error(store: RunStore, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A file system without locks is one clear line at once: no lock that is a mere file, no endless wait."""

    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(LabError, match="a file system with locks"):
        store.claim(CONFIG)

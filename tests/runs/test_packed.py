"""Packed stores: the same bytes, the same runs, whatever order they come in; damage is named and skipped."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import tempfile
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import naive_packed
import pytest
from fake_runs import demo_records, record
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_runs import epoch_lines, further, sweeps, tree, write_run, write_runs

from qsgd_lab.errors import IntegrityError, LabError, UsageError
from qsgd_lab.runs.packed import MAX_LINE_BYTES, MAX_NAMED, contradict, pack, read_packed
from qsgd_lab.runs.store import RunStore

RUNS = [record(seed=seed, nodes=2) for seed in range(4)]


def packed(store: RunStore) -> bytes:
    """Return the packed file of a store."""
    return pack(store.stored(run) for run in store.all_records())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of four runs."""
    return write_runs(tmp_path / "runs", RUNS)


@pytest.fixture
def file(folder: Path) -> Path:
    """Return the packed file of the folder, beside it."""
    path = folder.with_name("packed.jsonl")
    path.write_bytes(packed(RunStore(folder)))
    return path


def test_the_bytes_are_the_oracles(folder: Path, file: Path) -> None:
    """A line a run, in the order of the keys: as written with json alone; packed again, the same bytes."""
    assert file.read_bytes() == naive_packed.packed_bytes(folder) == packed(RunStore(file))
    assert file.read_bytes().count(b"\n") == len(RUNS)


def test_a_packed_store_reads_as_the_folder(folder: Path, file: Path) -> None:
    """Records, their order, lookup by key and configuration, and epochs are those of the folder."""
    one, other = RunStore(folder), RunStore(file)

    assert list(other.records()) == list(one.records())
    for run in RUNS:
        assert other.record(run.config) == other.record(run.key) == run
        assert other.epochs(run) == one.epochs(run)
    assert other.record(record(seed=9).config) is None
    assert not other.is_claimed(RUNS[0].config)
    other.discard_checkpoint(RUNS[0].config)


@settings(max_examples=15)
@given(sweeps, st.data())
def test_round_trip(records: list[Any], data: st.DataObject) -> None:
    """Folder to file and back gives the same files, and file to file the same bytes, whatever the runs."""
    with tempfile.TemporaryDirectory() as name:
        source, back, path = Path(name, "runs"), Path(name, "back"), Path(name, "packed.jsonl")
        for run in records:
            lines = epoch_lines(run)
            if run.status == "diverged" and data.draw(st.booleans()):
                last = {
                    "epoch": len(lines) + 1,
                    "step": 10**6,
                    "train_loss": None,
                    "validation_accuracy": None,
                }
                lines.append(last)
            write_run(source, run, [{**data.draw(further), **line} for line in lines])
        path.write_bytes(packed(RunStore(source)))
        written = RunStore(back)

        assert path.read_bytes() == naive_packed.packed_bytes(source)
        assert all(written.add(RunStore(path).stored(run)) for run in records)
        assert tree(back) == tree(source)
        assert not any(written.add(RunStore(path).stored(run)) for run in records)
        for key, document in naive_packed.documents(path.read_bytes()).items():
            assert naive_packed.files(document) == {p.name: p.read_bytes() for p in (source / key).iterdir()}


def test_order_blank_lines_and_copies_do_not_matter(file: Path) -> None:
    """Files joined by cat, in any order, with blank lines and without a last newline, are the same store."""
    lines = file.read_bytes().splitlines()
    random.Random(0).shuffle(lines)
    expected = packed(RunStore(file))
    file.write_bytes(b"\n".join([*lines, b"", lines[0].replace(b":", b": "), b"  ", *lines]))

    assert packed(RunStore(file)) == expected


def test_an_empty_file_is_an_empty_store(tmp_path: Path) -> None:
    """A packed file without lines has no runs, and no damage."""
    (tmp_path / "none.jsonl").touch()
    assert RunStore(tmp_path / "none.jsonl").read().records == ()
    assert pack([]) == b""


def damaged_lines() -> dict[str, bytes]:
    """Return lines that are not valid runs, by the reason that is given."""
    document = {**json.loads(record().to_json()), "epochs": epoch_lines(record())}
    line = json.dumps(document).encode()

    def changed(**fields: Any) -> bytes:
        return json.dumps(document | fields).encode()

    return {
        r"it is not JSON \(.*, character [0-9]+\)": line[: len(line) // 2],
        "Expecting value, character 1": b"\x00" * 100,
        "it is not UTF-8": line.replace(b"digits", b"\xff\xfe"),
        "not an object with the fields of a run": record().to_json().replace("\n", "").encode(),
        "not an object with the fields": b"[1, 2, 3]",
        "nested too deeply": b"[" * 200_000,
        "NaN is not JSON": line.replace(b"0.5", b"NaN"),
        "a field is given twice": line.replace(b'"schema"', b'"key": "0", "schema"'),
        "its schema is not 1": changed(schema=2),
        "unknown fields": changed(more=1),
        "its key is not 12 hexadecimal digits": changed(key="../../../etc"),
        "must be a short printable string": changed(environment={"python": "\x1b[31m"}),
        "its epochs must be a list": changed(epochs={"1": 2}),
        "in its epochs, it has 1 epochs and its run 8": changed(epochs=document["epochs"][:1]),
        "in its epochs, line 1 must be an object": changed(epochs=[1] * 8),
        "in its epochs, line 1 is not epoch 1": changed(epochs=document["epochs"][::-1]),
        "it is far too long": b'"' + b"x" * (2 * MAX_LINE_BYTES + 7) + b'"',
        "must be an integer|Exceeds the limit": line.replace(b'"schema": 1', b'"schema": 1' + b"0" * 5000),
    }


@pytest.mark.parametrize("reason", list(damaged_lines()))
def test_a_damaged_line_is_named_and_skipped(file: Path, reason: str) -> None:
    """A line that is not a valid run is skipped alone; its number, the reason and the remedy are said."""
    whole = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([*whole[:2], damaged_lines()[reason], *whole[2:]]) + b"\n")
    contents = RunStore(file).read()

    assert sorted(run.key for run in contents.records) == sorted(run.key for run in RUNS)
    assert contents.num_damaged == len(contents.damaged) == 1
    with pytest.raises(IntegrityError, match=f"line 3 of {file} is not a sound run: .*({reason}).*; delete"):
        raise contents.damaged[0]
    assert "\n" not in str(contents.damaged[0])
    assert len(str(contents.damaged[0])) < 400
    with pytest.raises(IntegrityError, match="line 3"):
        list(RunStore(file).records())


def test_a_truncated_file_loses_its_last_line(file: Path) -> None:
    """A file that was cut off anywhere in its last line still has the others."""
    whole = file.read_bytes()
    start = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    for end in range(start + 1, len(whole) - 1, 97):
        file.write_bytes(whole[:end])
        contents = RunStore(file).read()
        assert (len(contents.records), contents.num_damaged) == (3, 1)


@settings(max_examples=60)
@given(
    st.binary(max_size=200) | st.text('{}[]":,\n 0123456789.eEkyschmatnull-', max_size=200).map(str.encode)
)
def test_any_bytes_are_runs_or_damage(content: bytes) -> None:
    """Whatever a file holds, every line that is not blank is a run or is counted as damaged."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "any.jsonl")
        path.write_bytes(content)
        found = read_packed(path)

    assert found.runs == {}
    assert found.num_damaged == sum(bool(line) and not line.isspace() for line in content.split(b"\n"))


def test_a_huge_file_of_another_kind_takes_little_memory(tmp_path: Path) -> None:
    """Neither a line without an end nor lines without number are kept: memory is bounded by one line."""
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.truncate(40 * MAX_LINE_BYTES)  # sparse: zeros without a newline
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + b"x\n" * 5_000)
    tracemalloc.start()
    found = read_packed(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert (found.num_damaged, len(found.damaged)) == (5_001, MAX_NAMED)
    assert peak < 4 * MAX_LINE_BYTES


def test_lines_of_one_key(file: Path) -> None:
    """Of two lines of a key the first is used; where they differ in more than time, that is damage."""
    first = json.loads(file.read_bytes().splitlines()[0])
    later = first | {"timing": {"total_s": 99.0}}
    file.write_bytes(file.read_bytes() + json.dumps(later).encode() + b"\n")
    contents = RunStore(file).read()
    assert contents.damaged == ()
    assert {run.key: run.timing for run in contents.records}[first["key"]] == first["timing"]

    other = first | {"result": first["result"] | {"test_accuracy": 0.25}}
    file.write_bytes(file.read_bytes() + json.dumps(other).encode() + b"\n")
    contents = RunStore(file).read()
    assert {run.key: run.result for run in contents.records}[first["key"]] == first["result"]
    assert f"it contradicts line 1, which is of the same run {first['key']}" in str(contents.damaged[0])


def test_a_folder_may_hold_both(folder: Path, file: Path) -> None:
    """A folder's own runs and those of its packed files are one store, each run once."""
    mixed = folder.with_name("mixed")
    write_runs(mixed, [*RUNS[:2], record(seed=7)])
    lines = file.read_bytes().splitlines(keepends=True)
    (mixed / "b.jsonl").write_bytes(b"".join(lines[2:]))
    (mixed / "a.jsonl").write_bytes(b"".join(lines[:3]))
    (mixed / ".c.jsonl").write_text("{")
    store = RunStore(mixed)

    expected = sorted([*RUNS, record(seed=7)], key=lambda run: run.key)
    assert list(store.records()) == expected
    assert all(store.record(run.config) == run for run in expected)
    assert all(len(store.epochs(run) or ()) == 8 for run in expected)
    assert packed(RunStore(mixed)) == pack(store.stored(run) for run in expected)


def test_the_folders_run_is_used(folder: Path, file: Path) -> None:
    """Where folder and file have a run, the folder's is used, damaged or not; a contradiction is said."""
    (folder / "packed.jsonl").write_bytes(file.read_bytes())
    slower = dataclasses.replace(RUNS[0], timing={"total_s": 77.0})
    write_run(folder, slower, [])
    other = dataclasses.replace(RUNS[1], result={**RUNS[1].result, "test_accuracy": 0.25})
    write_run(folder, other)
    (folder / RUNS[2].key / "run.json").write_text("{")
    store = RunStore(folder)
    contents = store.read()

    assert [run for run in contents.records if run.key == RUNS[0].key] == [slower]
    assert [run for run in contents.records if run.key == RUNS[1].key] == [other]
    assert RUNS[2].key not in {run.key for run in contents.records}
    said = " ".join(map(str, contents.damaged))
    assert (contents.num_damaged, f"{RUNS[2].key}/run.json is not a sound record" in said) == (2, True)
    assert f"its run {RUNS[1].key} contradicts that of {folder / RUNS[1].key / 'run.json'}" in said
    with pytest.raises(IntegrityError, match="it has 0 epochs and its run 8"):
        store.epochs(slower)  # not those of the packed run


def test_an_unfinished_folder_does_not_hide_a_packed_run(folder: Path, file: Path) -> None:
    """The folder of a run that has no record yet leaves the packed run to be read."""
    mixed = folder.with_name("mixed")
    (mixed / RUNS[0].key).mkdir(parents=True)
    (mixed / "0123456789ab").mkdir()
    (mixed / "packed.jsonl").write_bytes(file.read_bytes())

    assert RunStore(mixed).record(RUNS[0].config) == RUNS[0]
    assert RunStore(mixed).unfinished() == ("0123456789ab",)


def test_a_file_that_changes_is_read_again(file: Path) -> None:
    """An open store sees a packed file that was replaced, and one that is gone, at the next look."""
    store = RunStore(file.parent)
    lines = file.read_bytes().splitlines(keepends=True)
    (file.parent / "runs").rename(file.parent / "elsewhere")
    assert len(store.read().records) == 4
    new = file.with_name("new.part")
    new.write_bytes(b"".join(lines[:2]))
    new.replace(file)
    assert len(store.read().records) == 2
    file.unlink()
    assert store.read().records == ()


def test_what_is_no_file_is_damage(tmp_path: Path) -> None:
    """A folder or a pipe named .jsonl is damage that is named; the pipe is not waited for."""
    (tmp_path / "a.jsonl").mkdir()
    os.mkfifo(tmp_path / "b.jsonl")
    contents = RunStore(tmp_path).read()

    assert contents.num_damaged == 2
    assert f"{tmp_path / 'b.jsonl'} cannot be read: not a regular file" in str(contents.damaged[1])
    with pytest.raises(UsageError, match="neither a folder nor a file"):
        RunStore(tmp_path / "b.jsonl")


def test_a_packed_file_takes_no_runs(file: Path) -> None:
    """A claim on a packed file, there or to be, is refused with what would be right; the file stays."""
    before = file.read_bytes()
    for path in (file, file.with_name("absent.jsonl")):
        with pytest.raises(UsageError, match="is a file, and new runs need a folder; put a packed"):
            RunStore(path).claim(RUNS[0].config)
    assert file.read_bytes() == before
    assert not file.with_name("absent.jsonl").exists()


def test_runs_that_cannot_be_packed(folder: Path) -> None:
    """Damaged epochs stop the packing, and two runs of one key are an error of the caller."""
    store = RunStore(folder)
    run = store.stored(RUNS[0])
    with pytest.raises(ValueError, match="two runs have the key"):
        pack([run, run])
    (folder / RUNS[1].key / "epochs.jsonl").write_text("{")
    with pytest.raises(IntegrityError, match=r"epochs\.jsonl is not sound"):
        packed(store)


def test_a_field_of_a_later_version_contradicts_nothing() -> None:
    """A record with the last model's test accuracy is the same run as one without; another value is not."""
    later, other, worse = (
        dataclasses.replace(RUNS[0], result={**RUNS[0].result, **changes})
        for changes in (
            {"last_test_accuracy": 0.5},
            {"last_test_accuracy": 0.6},
            {"last_test_accuracy": 0.5, "best_epoch": 1},
        )
    )

    assert not contradict(RUNS[0], later)
    assert not contradict(later, RUNS[0])
    assert contradict(later, other)
    assert contradict(RUNS[0], worse)


def test_adding_a_run_refuses_a_contradiction(folder: Path, file: Path) -> None:
    """A run is added to a folder unless another of its key is there, or is being made."""
    run = RunStore(file).stored(RUNS[0])
    other = dataclasses.replace(RUNS[0], result={**RUNS[0].result, "test_accuracy": 0.25})
    write_run(folder, other)
    with pytest.raises(IntegrityError, match="it contradicts the run that is to be added"):
        RunStore(folder).add(run)
    claim = RunStore(folder).claim(RUNS[0].config)
    assert claim is not None
    with claim, pytest.raises(LabError, match="is being made in"):
        RunStore(folder).add(run)


def test_packing_while_runs_are_written(tmp_path: Path) -> None:
    """A folder that is packed while runs end in it gives a sound file of some of them, at last of all."""
    records = demo_records((0, 1))
    source = RunStore(tmp_path / "unpacked")
    write_runs(source.path, records)
    runs = [source.stored(run) for run in records]
    target = RunStore(tmp_path / "runs")
    writer = threading.Thread(target=lambda: [RunStore(target.path).add(run) for run in runs])
    writer.start()
    sizes = []
    while writer.is_alive():
        content = packed(target)
        found = naive_packed.documents(content)
        sizes.append(len(found))
        assert all(len(document["epochs"]) == document["result"]["epochs"] for document in found.values())
    writer.join()

    assert sizes == sorted(sizes)
    assert packed(target) == naive_packed.packed_bytes(source.path)

"""Tidy columns: one type each, the values that the files hold, and what pandas and polars make of them."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import checkout
import naive_packed
import pytest
from fake_runs import record
from hypothesis import given, settings
from stored_runs import epoch_lines, sweeps, write_run, write_runs

import qsgd_lab
from qsgd_lab.errors import DataMissingError, IntegrityError
from qsgd_lab.report.analysis.communication import Link
from qsgd_lab.report.tidy import description, epoch_columns, run_columns
from qsgd_lab.runs.epochs import epochs_of

TYPES = {"text": str, "int": int, "float": float, "bool": bool}
COMMITTED = sorted(checkout.ROOT.glob("paper/*runs.jsonl"))

#: Column -> where its value is in run.json.
PLAIN = {
    "run_key": "key",
    "status": "status",
    "model": "config.model",
    "seed": "config.seed",
    "nodes": "config.nodes",
    "rounding": "config.rounding",
    "weight_decay": "config.weight_decay",
    "target_accuracy_share": "config.target_accuracy",
    "test_accuracy_share": "result.test_accuracy",
    "validation_accuracy_share": "result.validation_accuracy",
    "epochs_to_target": "result.epochs_to_target",
    "epochs_done": "result.epochs",
    "final_train_loss_nats": "result.final_train_loss",
    "coordinates_sent": "result.coordinates_sent",
    "bits_per_coordinate_omega": "result.bits_per_coordinate.omega",
    "bits_per_coordinate_fp32": "result.bits_per_coordinate.fp32",
    "quantize_s": "timing.quantize_s",
    "encode_message_s": "timing.encode_message_s",
    "commit": "environment.commit",
    "dirty": "environment.dirty",
    "threads": "environment.threads",
}


def at(document: Any, path: str) -> Any:
    """Return what is at a path of names, None where it ends early."""
    for name in path.split("."):
        document = None if document is None else document.get(name)
    return document


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_the_committed_runs(path: Path) -> None:
    """The columns of the paper's runs hold what json alone finds in the file, and what follows from it."""
    columns = qsgd_lab.load_runs(path)
    documents = list(naive_packed.documents(path.read_bytes()).values())

    for name, place in PLAIN.items():
        assert columns[name] == [at(document, place) for document in documents], name
    for row, document in enumerate(documents):
        bits, config = document["result"]["bits_per_coordinate"], document["config"]
        sent = bits.get("message", bits.get("auto", bits.get("fp32")))
        assert columns["bits_per_coordinate_sent"][row] == sent
        assert columns["compression_ratio"][row] == 32 / sent
        result = document["result"]
        # Local methods do not send at every step.
        each_step = config["nodes"] * result["steps"] * result["num_parameters"]
        megabytes = result.get("coordinates_sent", each_step) / config["nodes"] * sent / 8 / 1e6
        assert columns["megabytes_sent_per_node"][row] == pytest.approx(megabytes, rel=1e-12)
        quantized = config["bits"] not in (32, None)  # None: another method's
        assert columns["num_levels"][row] == (2 ** config["bits"] - 1 if quantized else None)
        assert columns["bucket_size"][row] == (str(config["bucket_size"]) if quantized else None)
        flaws = config.get("flaws", [])
        assert columns["flaws"][row] == "+".join(flaws)
        images = 32 * (config["nodes"] if "unequal-batch" in flaws and quantized else 1)
        assert columns["step_batch_images"][row] == images


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_the_committed_epochs(path: Path) -> None:
    """A row an epoch holds the lines of the file, and the share of the run's traffic by their steps."""
    columns = qsgd_lab.load_runs(path, epochs=True)
    documents = naive_packed.documents(path.read_bytes())
    lines = [(key, line) for key, document in documents.items() for line in document["epochs"]]
    names = ("epoch", "step", "train_loss", "validation_accuracy")

    assert columns["run_key"] == [key for key, _ in lines]
    got = zip(*(columns[name] for name in [d["name"] for d in description(epochs=True)][7:11]), strict=True)
    assert list(got) == [tuple(line[name] for name in names) for _, line in lines]
    runs = qsgd_lab.load_runs(path)
    whole = dict(zip(runs["run_key"], runs["megabytes_sent_per_node"], strict=True))
    for row, (key, line) in enumerate(lines):
        share = line["step"] / documents[key]["result"]["steps"]
        assert columns["cumulative_megabytes_sent_per_node"][row] == pytest.approx(whole[key] * share)


@settings(max_examples=30)
@given(sweeps)
def test_columns_are_typed(records: list[Any]) -> None:
    """Whatever the runs: every column has a row a run, values of its type or None, finite numbers."""
    columns = run_columns(records)
    epochs = epoch_columns(records, {run.key: epochs_of(epoch_lines(run)) for run in records})

    for table, kinds in ((columns, description()), (epochs, description(epochs=True))):
        assert [d["name"] for d in kinds] == list(table)[: len(kinds)]
        for described in kinds:
            kind = TYPES[described["type"]]
            values = [value for value in table[described["name"]] if value is not None]
            assert all(type(value) is kind for value in values), described
            assert all(math.isfinite(value) for value in values if kind is float)
    assert {len(values) for values in columns.values()} == {len(records)}
    assert len(epochs["step"]) == sum(run.result["epochs"] for run in records)
    assert columns["run_key"] == sorted(run.key for run in records)


def test_what_is_not_known_has_a_column_of_its_own() -> None:
    """Codes, times and facts that the lab does not know follow the others; wrong kinds of facts are None."""
    odd = dataclasses.replace(
        record(bits_per_coordinate={"morse": 4, "sent": 1.0}, timing={"total_s": 1, "tea_s": 2}),
        environment={"torch": 2, "dirty": "perhaps", "threads": 1.5, "=cmd()": True},
    )
    columns = run_columns([odd])

    assert columns["bits_per_coordinate_morse"] == [4.0]
    assert columns["bits_per_coordinate_sent"] == [1.0]
    assert (columns["total_s"], columns["time_tea_s"]) == ([1.0], [2.0])
    assert (columns["torch"], columns["dirty"], columns["threads"]) == (["2"], [None], [None])
    assert columns["env_=cmd()"] == ["True"]
    assert list(columns)[: len(description())] == [column["name"] for column in description()]


def test_the_modelled_step() -> None:
    """Over a link there are its columns; the step is a ring's: all-reduce of fp32, all-gather of codes."""
    times = {"total_s": 9.0, "compute_s": 4.0, "quantize_s": 1.0}
    coded = times | {"encode_message_s": 0.001, "decode_message_s": 0.002}
    runs = [
        record(bits=32, nodes=4, epochs=1, timing=times),
        record(bits=2, nodes=4, epochs=1, timing=coded, bits_per_coordinate={"message": 2.0}),
    ]
    columns = run_columns(runs, Link(bandwidth=1e6, latency=0.001))
    steps, nodes = 39, 4
    compute, quantize = 4.0 / steps / nodes, 1.0 / steps / nodes + 0.001 + (nodes - 1) * 0.002
    # 1000 coordinates: fp32 in 2 (N - 1) messages of 1000 bytes, codes in N - 1 messages of 250 bytes.
    network = {True: 6 * (0.001 + 1000 / 1e6), False: 3 * (0.001 + 250 / 1e6)}

    for row, is_float in enumerate(columns["is_full_precision"]):
        extra = 0.0 if is_float else quantize
        assert (columns["link_megabits_per_s"][row], columns["link_latency_s"][row]) == (8.0, 0.001)
        assert columns["modelled_compute_s"][row] == pytest.approx(compute)
        assert columns["modelled_quantize_and_code_s"][row] == pytest.approx(extra)
        assert columns["modelled_network_s"][row] == pytest.approx(network[is_float])
        assert columns["modelled_step_s"][row] == pytest.approx(compute + extra + network[is_float])
    assert "modelled_step_s" not in run_columns(runs)
    assert run_columns([record()], Link(1e6), 0.5)["modelled_step_s"] == [None]  # nothing was measured


def test_names_have_units() -> None:
    """Every number but a count, a name of the lab's or a factor says its unit in its name."""
    units = ("_s", "_nats", "_share", "_images", "_coordinates", "_per_node", "_ratio")
    bare = {"learning_rate", "peak_learning_rate", "momentum", "weight_decay"}
    floats = [d["name"] for d in description() if d["type"] == "float"]
    assert [n for n in floats if not n.endswith(units) and n not in bare and "bits_per_" not in n] == []


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames_take_the_columns(library: str) -> None:
    """Pandas and polars, where installed, make a frame of the columns as they are."""
    frames = pytest.importorskip(library)
    for epochs in (False, True):
        columns = qsgd_lab.load_runs(COMMITTED[-1], epochs=epochs)
        frame = frames.DataFrame(columns)
        assert frame.shape == (len(columns["run_key"]), len(columns))
        assert frame["validation_accuracy_share"].mean() == pytest.approx(
            sum(columns["validation_accuracy_share"]) / len(columns["run_key"])
        )
        assert frame["seed"].to_list() == columns["seed"]


def test_load_runs_skips_damage_aloud(tmp_path: Path) -> None:
    """Damaged runs and epochs are left out with one warning each; where all are, an error names the first."""
    records = [record(seed=seed) for seed in range(3)]
    write_runs(tmp_path, records)
    (tmp_path / records[0].key / "run.json").write_text("{")
    (tmp_path / records[1].key / "epochs.jsonl").write_text("{")
    with pytest.warns(UserWarning, match=f"skipped 1 damaged run: {tmp_path / records[0].key}") as said:
        assert qsgd_lab.load_runs(tmp_path)["seed"] == [
            r.config.seed for r in sorted(records[1:], key=lambda r: r.key)
        ]
    assert len(said) == 1
    with pytest.warns(UserWarning, match="skipped 1 damaged run|skipped the epochs of 1 runs") as said:
        assert set(qsgd_lab.load_runs(tmp_path, epochs=True)["seed"]) == {2}
    assert len(said) == 2
    for run in records:
        (tmp_path / run.key / "run.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"none of the 3 runs in .* can be read; the first: "):
        qsgd_lab.load_runs(tmp_path)
    with pytest.raises(DataMissingError, match="no runs in"):
        qsgd_lab.load_runs(tmp_path / "absent")


def test_a_run_without_epochs_has_no_row(tmp_path: Path) -> None:
    """A run that diverged at once has its one unfinished epoch, one without epochs.jsonl has no row."""
    diverged = record(status="diverged", seed=1, epochs=8)
    diverged = dataclasses.replace(diverged, result={**diverged.result, "epochs": 0, "steps": 7})
    last = {"epoch": 1, "step": 7, "train_loss": 9.0, "validation_accuracy": None}
    write_run(tmp_path, diverged, [last])
    bare = write_run(tmp_path, record(seed=2))
    (bare / "epochs.jsonl").unlink()
    columns = qsgd_lab.load_runs(tmp_path, epochs=True)

    assert columns["run_key"] == [diverged.key]
    assert (columns["train_loss_nats"], columns["validation_accuracy_share"]) == ([9.0], [None])
    assert json.loads(json.dumps(columns)) == columns

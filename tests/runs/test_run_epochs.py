"""Epoch lines: what a run wrote is read back, and nothing else passes for them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from fake_runs import record
from fake_worker import make_config, make_outcome
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.errors import IntegrityError
from qsgd_lab.runs.epochs import EpochRecord, check_epochs, parse_epochs
from qsgd_lab.runs.store import RunStore
from qsgd_lab.traffic import Flow

LINE: dict[str, Any] = {"epoch": 1, "step": 39, "train_loss": 1.5, "validation_accuracy": 0.75}


def lines(*documents: dict[str, Any]) -> bytes:
    """Return the bytes of epochs.jsonl."""
    return "".join(json.dumps(document) + "\n" for document in documents).encode()


LAST = {"epoch": 2, "step": 41, "train_loss": 7.5, "validation_accuracy": None}


def test_the_epoch_of_a_divergence_is_the_last() -> None:
    """A line without accuracy is an epoch that was not finished: at the end, and of a run that diverged."""
    epochs = parse_epochs(lines(LINE, LAST))
    assert [epoch.is_finished for epoch in epochs] == [True, False]
    with pytest.raises(ValueError, match="line 3 follows an epoch that was not finished"):
        parse_epochs(lines(LINE, LAST, {**LINE, "epoch": 3, "step": 50}))
    check_epochs(epochs, record(status="diverged", epochs=1))
    with pytest.raises(ValueError, match="its last epoch was not finished, and its run did not diverge"):
        check_epochs(epochs, record(epochs=1))
    with pytest.raises(ValueError, match="it has 1 epochs and its run 2"):
        check_epochs(epochs, record(status="diverged", epochs=2))


TRAFFIC: dict[str, Any] = {"rounds": 3, "sums.rounds": 2, "sums.sent_bits": 64.0, "sums.received_bits": 64}


def test_traffic_is_read_where_a_line_says_it() -> None:
    """By collective, of one node; older lines say nothing."""
    (epoch,) = parse_epochs(lines({**LINE, **TRAFFIC}))
    assert epoch == EpochRecord(1, 39, 1.5, 0.75, 3, {"sums": Flow(2, 64.0, 64)})
    (epoch,) = parse_epochs(lines(LINE))
    assert (epoch.rounds, epoch.flows) == (None, None)
    (epoch,) = parse_epochs(lines({**LINE, "rounds": 0}))
    assert (epoch.rounds, epoch.flows) == (0, {})


def test_lines_are_read() -> None:
    """Each line is an epoch; a loss that was not finite is None; further flat fields are let pass."""
    second = {"epoch": 2, "step": 78, "train_loss": None, "validation_accuracy": 1, "learning_rate": 0.1}

    assert parse_epochs(lines(LINE, second)) == (EpochRecord(1, 39, 1.5, 0.75), EpochRecord(2, 78, None, 1))
    assert parse_epochs(b"") == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"not json\n", "Expecting value"),
        (b"[]\n", "line 1 must be an object"),
        (b"\xff\xfe\n", "line 1 is not UTF-8"),
        (b"\n", "Expecting value"),
        (lines({**LINE, "epoch": 2}), "line 1 is not epoch 1"),
        (lines({**LINE, **TRAFFIC, "rounds": 1.5}), "line 1.rounds must be an integer from 0 up"),
        (lines({**LINE, **TRAFFIC, "sums.rounds": -1}), "line 1.sums.rounds must be"),
        (lines({**LINE, **TRAFFIC, "sums.sent_bits": "9"}), "line 1.sums.sent_bits must be an? ?"),
        (lines({**LINE, "rounds": 1, "sums.rounds": 1}), "line 1 lacks sums.received_bits, sums.sent_bits"),
        (lines(LINE, {**LINE, "epoch": 2}), "line 2 is not after the steps before it"),
        (lines({**LINE, "step": -1}), "line 1.step must be"),
        (lines({**LINE, "step": 0}), "line 1 is not after"),
        (lines({**LINE, "validation_accuracy": 1.5}), "line 1.validation_accuracy must be between 0 and 1"),
        (lines({**LINE, "train_loss": "low"}), "line 1.train_loss must be"),
        (lines({**LINE, "more": [1]}), "line 1.more must be"),
        (lines({"epoch": 1, "step": 39}), "line 1 lacks train_loss, validation_accuracy"),
        (b'{"epoch": 1, "epoch": 1}\n', "given twice"),
        (lines(LINE)[:-20], "line|delimiter|Expecting"),
    ],
)
def test_damage_is_named(text: bytes, reason: str) -> None:
    """A line that is not sound is refused with the reason."""
    with pytest.raises(ValueError, match=reason):
        parse_epochs(text)


@given(st.binary(max_size=80) | st.text(alphabet='{}[]":,epochst123.-e\n ', max_size=80).map(str.encode))
def test_any_bytes_give_epochs_or_a_reason(text: bytes) -> None:
    """Whatever the file holds, the answer is sound epochs or a ValueError."""
    try:
        epochs = parse_epochs(text)
    except ValueError:
        return
    assert [epoch.epoch for epoch in epochs] == list(range(1, len(epochs) + 1))


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """Return a store with one finished run."""
    store, config = RunStore(tmp_path / "runs"), make_config()
    outcome = make_outcome(config)
    claim = store.claim(config)
    assert claim is not None
    with claim:
        store.write(config, outcome, {})
    return store


def rewrite(store: RunStore, change: Any) -> None:
    """Replace the run's epoch lines by what `change` makes of them."""
    path = store.epochs_path(make_config())
    documents = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_bytes(lines(*documents))


def with_loss(line: dict[str, Any]) -> dict[str, Any]:
    """Return a sound line of the same epoch."""
    return {**LINE, "epoch": line["epoch"], "step": 10 * line["epoch"]}


def test_the_store_reads_them(store: RunStore) -> None:
    """The store gives a finished run's epochs, and None where the file is gone."""
    rewrite(store, with_loss)
    record = next(store.records())
    epochs = store.epochs(record)

    assert epochs is not None
    assert [epoch.step for epoch in epochs] == [10, 20, 30]
    store.epochs_path(record.key).unlink()
    assert store.epochs(record) is None


def test_the_store_refuses_damage(store: RunStore) -> None:
    """A damaged file, or one with another number of epochs than the record, is named with its path."""
    rewrite(store, with_loss)
    record = next(store.records())
    longer = dataclasses.replace(record, result={**record.result, "epochs": 4})
    with pytest.raises(IntegrityError, match=r"epochs\.jsonl is not sound: it has 3 epochs and its run 4"):
        store.epochs(longer)
    store.epochs_path(record.key).write_text("{}\n")
    with pytest.raises(IntegrityError, match=r"line 1 lacks epoch.*delete the folder"):
        store.epochs(record)
    store.epochs_path(record.key).unlink()
    store.epochs_path(record.key).mkdir()
    with pytest.raises(IntegrityError, match="not a regular file"):
        store.epochs(record)

"""The lines of epochs.jsonl: how a run got on, epoch by epoch.

A run that diverged within an epoch has a last line for it: the steps that were taken, the mean of the losses
that were finite, and no validation accuracy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qsgd_lab.runs import validation
from qsgd_lab.runs.record import RunRecord
from qsgd_lab.traffic import COLLECTIVES, Flow, flows_in


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of a run.

    Attributes
    ----------
    epoch : int
        Counts from 1.
    step : int
        Steps taken by its end.
    train_loss : float or None
        Mean over its steps; None where that is not finite. In an epoch that was not finished the mean of the
        losses before the first that was not finite; None without one.
    validation_accuracy : float or None
        At its end, in [0, 1]; None for the last epoch of a run that diverged within it.
    rounds : int or None
        Steps so far in which anything was exchanged; None in older records, and where sizes are not known.
    flows : dict of str to Flow, or None
        By collective what one node has sent and received so far; None as `rounds`.
    """

    epoch: int
    step: int
    train_loss: float | None
    validation_accuracy: float | None
    rounds: int | None = None
    flows: Mapping[str, Flow] | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the run came to the epoch's end."""
        return self.validation_accuracy is not None


def parse_epochs(text: bytes) -> tuple[EpochRecord, ...]:
    """Parse epochs.jsonl, trusting nothing in it.

    A line may hold more than an `EpochRecord` does, as long as it is flat; that is checked and left out.

    Raises
    ------
    ValueError
        With the reason and the line, if a line is not a flat JSON object, lacks a field or has a value out of
        range, or if epochs or steps do not go up.
    """
    return epochs_of(parse_lines(text))


def parse_lines(text: bytes) -> list[Any]:
    """Parse each line of epochs.jsonl as JSON, without a look at what it holds.

    Raises
    ------
    ValueError
        With the reason and the line.
    """
    return [_parsed(line, f"line {number}") for number, line in enumerate(text.splitlines(), 1)]


def epochs_of(documents: Iterable[Any]) -> tuple[EpochRecord, ...]:
    """Return the epochs that parsed lines describe; see `parse_epochs`.

    Raises
    ------
    ValueError
        See `parse_epochs`.
    """
    epochs: list[EpochRecord] = []
    for number, document in enumerate(documents, 1):
        epoch = _epoch(document, f"line {number}")
        if epoch.epoch != number:
            raise ValueError(f"line {number} is not epoch {number}")
        if epochs and not epochs[-1].is_finished:
            raise ValueError(f"line {number} follows an epoch that was not finished")
        if epoch.step <= (epochs[-1].step if epochs else 0):
            raise ValueError(f"line {number} is not after the steps before it")
        epochs.append(epoch)
    return tuple(epochs)


def write_lines(lines: Iterable[Mapping[str, Any]]) -> str:
    """Return the text of epochs.jsonl; the values are JSON-ready and finite."""
    return "".join(json.dumps(line, sort_keys=True, allow_nan=False) + "\n" for line in lines)


def check_epochs(epochs: tuple[EpochRecord, ...], record: RunRecord) -> None:
    """Hold the epochs of a run to its record.

    Raises
    ------
    ValueError
        If it has not as many finished epochs as its record says, or one that was not finished although it did
        not diverge.
    """
    finished = sum(epoch.is_finished for epoch in epochs)
    if finished != record.result["epochs"]:
        raise ValueError(f"it has {finished} epochs and its run {record.result['epochs']}")
    if finished < len(epochs) and record.status != "diverged":
        raise ValueError("its last epoch was not finished, and its run did not diverge")


def _parsed(line: bytes, name: str) -> Any:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8") from None
    return validation.parse_json(text)


def _epoch(document: Any, name: str) -> EpochRecord:
    given = validation.mapping_of(validation.scalar)(document, name)
    own = {field: value for field, value in given.items() if field in _CHECKS}
    return EpochRecord(**validation.fields(own, name, _CHECKS), **_traffic(given, name))


def _traffic(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what a line says of the traffic; nothing of an older one."""
    if "rounds" not in given:
        return {}
    checks: dict[str, validation.Check] = {"rounds": validation.count}
    for collective in COLLECTIVES:
        if f"{collective}.rounds" in given:
            checks |= {f"{collective}.{field}": validation.number for field in Flow._fields}
            checks[f"{collective}.rounds"] = validation.count
    own = {field: value for field, value in given.items() if field in checks}
    checked = validation.fields(own, name, checks)
    return {"rounds": checked["rounds"], "flows": flows_in(checked)}


_CHECKS: dict[str, validation.Check] = {
    "epoch": validation.count,
    "step": validation.count,
    "train_loss": validation.optional(validation.number),
    "validation_accuracy": validation.optional(validation.share),
}

"""The lines of epochs.jsonl: how a run got on, epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass

from qsgd_lab.runs import validation


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
        Mean over its steps; None where that is not finite.
    validation_accuracy : float
        At its end, in [0, 1].
    """

    epoch: int
    step: int
    train_loss: float | None
    validation_accuracy: float


def parse_epochs(text: bytes) -> tuple[EpochRecord, ...]:
    """Parse epochs.jsonl, trusting nothing in it.

    A line may hold more than an `EpochRecord` does, as long as it is flat; that is checked and left out.

    Raises
    ------
    ValueError
        With the reason and the line, if a line is not a flat JSON object, lacks a field or has a value out of
        range, or if epochs or steps do not go up.
    """
    epochs: list[EpochRecord] = []
    for number, line in enumerate(text.splitlines(), 1):
        epoch = _epoch(line, f"line {number}")
        if epoch.epoch != number:
            raise ValueError(f"line {number} is not epoch {number}")
        if epoch.step <= (epochs[-1].step if epochs else 0):
            raise ValueError(f"line {number} is not after the steps before it")
        epochs.append(epoch)
    return tuple(epochs)


def _epoch(line: bytes, name: str) -> EpochRecord:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8") from None
    given = validation.mapping_of(validation.scalar)(validation.parse_json(text), name)
    own = {field: value for field, value in given.items() if field in _CHECKS}
    return EpochRecord(**validation.fields(own, name, _CHECKS))


_CHECKS: dict[str, validation.Check] = {
    "epoch": validation.count,
    "step": validation.count,
    "train_loss": validation.optional(validation.number),
    "validation_accuracy": validation.share,
}

"""The record of a run in run.json, and the outcome that a worker returns."""

from __future__ import annotations

import functools
import json
import math
import typing
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, NotRequired, TypedDict, TypeVar

from qsgd_lab.runs import validation
from qsgd_lab.runs.config import LATER_DEFAULTS, RunConfig

Status = Literal["done", "diverged"]

Json = TypeVar("Json")

#: A record is about 2 KB; a "run.json" much larger than that is something else.
MAX_RECORD_BYTES = 1 << 20


class Interrupted(Exception):  # noqa: N818 (not an error: the run was asked to stop, and did)
    """Raised by a worker's function after ``should_stop()`` was true; the cell stays to be done."""


class RunResult(TypedDict):
    """The numbers of a run that do not depend on time, process or order.

    Accuracies are shares in [0, 1]; `best_epoch` and `epochs_to_target` count epochs from 1, and `best_epoch`
    is 0 when no epoch was finished; the two ``..._to_target`` are None when the target was never reached;
    `final_train_loss` is None when it is not finite; `bits_per_coordinate` has an entry a code, norms
    included. `num_test` (test images, by which an accuracy moves in steps) is not in older records.
    `last_test_accuracy` is that of the last parameters, where they are not those that were best on
    validation; older records lack it. `checked_sizes`, in records of methods that estimate the sizes of
    their messages, has the coordinates of those that were also coded, and their bits both ways. `down`, in
    records of the two-phase collective and of algorithms with a server, counts what the owners of shards, or
    the server, have sent, each message once: "coordinates", and
    "bits" a coordinate of whole messages; the other counts are then of what was sent to them. Older records
    with a server lack it.
    """

    test_accuracy: float
    validation_accuracy: float
    best_epoch: int
    epochs_to_target: int | None
    steps_to_target: int | None
    epochs: int
    steps: int
    final_train_loss: float | None
    num_parameters: int
    coordinates_sent: int
    bits_per_coordinate: dict[str, float]
    num_test: NotRequired[int]
    last_test_accuracy: NotRequired[float]
    checked_sizes: NotRequired[dict[str, int]]
    down: NotRequired[dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """What a worker's function returns for one configuration.

    Attributes
    ----------
    status : {"done", "diverged"}
    result : RunResult
    timing : dict of str to float
        Seconds by name; ``total_s`` must be among them and includes time spent before an interruption.
    epochs : list of dict
        One flat dict an epoch, for epochs.jsonl; of a run that diverged also the epoch it stopped in (see
        `qsgd_lab.runs.epochs`). Numbers that are not finite are stored as null.
    device : str
        What the run was computed on, such as "cpu" or "cuda:0".
    device_facts : dict of str to str
        What else the record's environment says of the device: its name, the versions of its libraries.
    data_sha256 : str or None
        Digest of the arrays that the run was trained and tested on.
    """

    status: Status
    result: RunResult
    timing: dict[str, float]
    epochs: list[dict[str, Any]]
    device: str = "cpu"
    device_facts: dict[str, str] = field(default_factory=dict)
    data_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One finished run as run.json holds it; see `RunOutcome` for the fields that come from there.

    Attributes
    ----------
    key : str
        Name of the run's folder: the configuration's key at the time of the run.
    config : RunConfig
        In canonical form.
    environment : dict of str to scalar
        Versions, device and machine, from `qsgd_lab.runs.environment`.
    """

    SCHEMA: ClassVar[int] = 1

    key: str
    status: Status
    config: RunConfig
    result: RunResult
    timing: dict[str, float]
    environment: dict[str, str | float | bool | None]

    @property
    def is_stale(self) -> bool:
        """Whether the run was made with other component versions than today's, so that it must be redone."""
        return self.key != self.config.key

    def to_json(self) -> str:
        """Return the canonical text of run.json.

        Raises
        ------
        ValueError
            If a value is not finite.
        """
        return json.dumps(self.to_document(), sort_keys=True, indent=1, allow_nan=False) + "\n"

    def to_document(self) -> dict[str, Any]:
        """Return the content of run.json as JSON-ready values."""
        return {"schema": self.SCHEMA} | asdict(self) | {"config": self.config.to_dict()}

    @classmethod
    def from_json(cls, text: str | bytes) -> RunRecord:
        """Parse run.json, trusting nothing in it.

        Raises
        ------
        ValueError
            With the reason, if the text is not JSON, or a field is missing, unknown, of the wrong type or out
            of range.
        """
        return cls.from_document(validation.parse_json(text))

    @classmethod
    def from_document(cls, document: Any) -> RunRecord:
        """Build a record from parsed JSON, trusting nothing in it.

        Raises
        ------
        ValueError
            See `from_json`.
        """
        if isinstance(document, dict) and document.get("schema", cls.SCHEMA) != cls.SCHEMA:
            raise ValueError(f"its schema is not {cls.SCHEMA}, the one this version reads")
        fields = validation.fields(document, "the record", _RECORD_CHECKS)
        del fields["schema"]
        return cls(**fields)


@functools.cache  # resolving the annotations takes longer than all the checks of a record
def _config_checks() -> dict[str, validation.Check]:
    hints = typing.get_type_hints(RunConfig)
    checks = {field: validation.of_type(annotation) for field, annotation in hints.items()}
    return checks | dict.fromkeys(("flaws", "plugins", "versions"), validation.list_of(validation.text))


def _config(value: Any, name: str) -> RunConfig:
    defaults = {
        key: list(default) if isinstance(default, tuple) else default
        for key, default in LATER_DEFAULTS.items()
    }
    given = {**defaults, **value} if isinstance(value, dict) else value
    config = RunConfig.from_dict(validation.fields(given, name, _config_checks()))
    bits = 1 if config.bits is None else config.bits
    if (config.bits is None) != (config.compressor is not None):
        raise ValueError(f"{name} must have either bits or a compressor")
    if min(config.nodes, bits, config.global_batch) < 1 or config.target_accuracy > 1:
        raise ValueError(f"{name} is out of range")
    if config.to_dict() != value:
        raise ValueError(f"{name} is not in canonical form")
    return config


def finite(value: Json) -> Json:
    """Return a copy of JSON-ready data in which every number that is not finite is None."""
    copy: Any = value
    if isinstance(value, dict):
        copy = {key: finite(item) for key, item in value.items()}
    elif isinstance(value, list):
        copy = [finite(item) for item in value]
    elif isinstance(value, float) and not math.isfinite(value):
        copy = None
    return copy  # type: ignore[no-any-return]


def _result(value: Any, name: str) -> dict[str, Any]:
    later = {
        key: check for key, check in _LATER_RESULT_CHECKS.items() if isinstance(value, dict) and key in value
    }
    return validation.fields(value, name, _RESULT_CHECKS | later)


def _status(value: Any, name: str) -> str:
    if value not in typing.get_args(Status):
        raise ValueError(f"{name} must be done or diverged")
    return typing.cast(str, value)


def _timing(value: Any, name: str) -> dict[str, float]:
    timing = validation.mapping_of(validation.number)(value, name)
    if "total_s" not in timing:
        raise ValueError(f"{name} lacks total_s")
    return typing.cast(dict[str, float], timing)


_RESULT_CHECKS: dict[str, validation.Check] = {
    "test_accuracy": validation.share,
    "validation_accuracy": validation.share,
    "best_epoch": validation.count,
    "epochs_to_target": validation.optional(validation.count),
    "steps_to_target": validation.optional(validation.count),
    "epochs": validation.count,
    "steps": validation.count,
    "final_train_loss": validation.optional(validation.number),
    "num_parameters": validation.count,
    "coordinates_sent": validation.count,
    "bits_per_coordinate": validation.mapping_of(validation.number),
}

#: Fields that older records lack.
_LATER_RESULT_CHECKS: dict[str, validation.Check] = {
    "num_test": validation.count,
    "last_test_accuracy": validation.share,
    "checked_sizes": lambda value, name: validation.fields(
        value, name, dict.fromkeys(("coordinates", "coded", "estimated"), validation.count)
    ),
    "down": lambda value, name: validation.fields(
        value, name, {"coordinates": validation.count, "bits": validation.number}
    ),
}

_RECORD_CHECKS: dict[str, validation.Check] = {
    "schema": validation.count,
    "key": validation.text,
    "status": _status,
    "config": _config,
    "result": _result,
    "timing": _timing,
    "environment": validation.mapping_of(validation.scalar),
}

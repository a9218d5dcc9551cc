"""Repetitions of a method on a problem with a known optimum: configuration, key, and the stored record."""

from __future__ import annotations

import hashlib
import json
import math
import typing
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from qsgd_lab.runs import validation
from qsgd_lab.traffic import COLLECTIVES

#: Raised when a change to the simulation changes results; what was stored before is then redone.
VERSION = 1

#: Repetitions of one record at most: what a kill can lose, and what a file can hold.
BLOCK = 100


@dataclass(frozen=True, kw_only=True)
class ProblemConfig:
    """One block of repetitions of one method.

    Attributes
    ----------
    problem : str
        Key of `qsgd_lab.problems.PROBLEMS`.
    nodes, steps : int
        N and T.
    algorithm, compressor : str
        Canonical texts.
    first_repeat, repeats : int
        Numbers of the repetitions, at most `BLOCK` of them.
    seed : int
    rate_scale : float
        Factor of the problem's learning rates.
    split : str
        How a problem with examples deals them to nodes.
    plugins : tuple of str
        ``name=origin`` of what is not the package's own code, sorted.
    """

    problem: str
    nodes: int
    steps: int
    algorithm: str
    compressor: str
    first_repeat: int
    repeats: int
    seed: int = 0
    rate_scale: float = 1.0
    split: str = "iid"
    plugins: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**asdict(self), "plugins": list(self.plugins)}

    @property
    def key(self) -> str:
        """The first 12 hex digits of the SHA-256 of the canonical JSON: the name of the folder."""
        semantic = {"problem-run": self.to_dict(), "version": VERSION}
        text = json.dumps(semantic, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class ProblemRecord:
    """What a block of repetitions came to, at C checkpoints.

    Attributes
    ----------
    config : ProblemConfig
    steps, rounds : list of int
        Steps taken, and steps so far in which anything was exchanged.
    sent_bits, received_bits : list of float
        Of one node so far, a mean over nodes and repetitions.
    errors : list of list of float
        A row a checkpoint, a column a repetition; infinite where it left the finite numbers.
    seconds : float
        Processor time of the block.
    flows : dict of str to dict of str to list of float, or None
        By collective, "rounds", "sent_bits" and "received_bits": what of the above went through it. None in
        older records.
    """

    SCHEMA: ClassVar[int] = 1

    config: ProblemConfig
    steps: list[int]
    rounds: list[int]
    sent_bits: list[float]
    received_bits: list[float]
    errors: list[list[float]]
    seconds: float
    flows: dict[str, dict[str, list[float]]] | None = None

    def to_json(self) -> str:
        """Return the canonical text of problem.json; errors that are not finite are null."""
        document = {name: getattr(self, name) for name in _RECORD_CHECKS if name not in ("schema", "key")}
        document |= {"schema": self.SCHEMA, "key": self.config.key, "config": self.config.to_dict()}
        if self.flows is not None:
            document["flows"] = self.flows
        document["errors"] = [[e if math.isfinite(e) else None for e in row] for row in self.errors]
        return json.dumps(document, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> ProblemRecord:
        """Parse problem.json, trusting nothing in it.

        Raises
        ------
        ValueError
            With the reason.
        """
        parsed = validation.parse_json(text)
        later = _LATER_CHECKS if isinstance(parsed, dict) and "flows" in parsed else {}
        document = validation.fields(parsed, "the record", _RECORD_CHECKS | later)
        if document.pop("schema") != cls.SCHEMA:
            raise ValueError(f"its schema is not {cls.SCHEMA}, the one this version reads")
        key, config = document.pop("key"), document["config"]
        if key != config.key:
            raise ValueError("its key is not that of its configuration")
        rows = {len(document[name]) for name in ("steps", "rounds", "sent_bits", "received_bits", "errors")}
        rows |= {len(row) for flow in document.get("flows", {}).values() for row in flow.values()}
        columns = {len(row) for row in document["errors"]}
        if len(rows) != 1 or columns != {config.repeats}:
            raise ValueError("its lists differ in length")
        document["errors"] = [[math.inf if e is None else e for e in row] for row in document["errors"]]
        return cls(**document)


def _config(value: Any, name: str) -> ProblemConfig:
    hints = typing.get_type_hints(ProblemConfig)
    checks = {field.name: validation.of_type(hints[field.name]) for field in fields(ProblemConfig)}
    checks["plugins"] = validation.list_of(validation.text)
    given = validation.fields(value, name, checks)
    config = ProblemConfig(**{**given, "plugins": tuple(given["plugins"])})
    if not 0 < config.repeats <= BLOCK or min(config.nodes, config.steps) < 1:
        raise ValueError(f"{name} is out of range")
    return config


_RECORD_CHECKS: dict[str, validation.Check] = {
    "schema": validation.count,
    "key": validation.text,
    "config": _config,
    "steps": validation.list_of(validation.count),
    "rounds": validation.list_of(validation.count),
    "sent_bits": validation.list_of(validation.number),
    "received_bits": validation.list_of(validation.number),
    "errors": validation.list_of(validation.list_of(validation.optional(validation.number))),
    "seconds": validation.number,
}

_FLOW_CHECKS: dict[str, validation.Check] = {
    "rounds": validation.list_of(validation.count),
    "sent_bits": validation.list_of(validation.number),
    "received_bits": validation.list_of(validation.number),
}


def _flows(value: Any, name: str) -> dict[str, dict[str, list[float]]]:
    found = {}
    for collective, flow in validation.mapping_of(lambda given, _: given)(value, name).items():
        if collective not in COLLECTIVES:
            raise ValueError(f"{name} has a collective that is not one of: {', '.join(COLLECTIVES)}")
        found[collective] = validation.fields(flow, f"{name}.{collective}", _FLOW_CHECKS)
    return found


#: Fields that older records lack.
_LATER_CHECKS: dict[str, validation.Check] = {"flows": _flows}

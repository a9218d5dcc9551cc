"""RunConfig: everything that decides the outcome of one training run, and the key that names it.

A run is a function of its configuration. The key is a hash of the semantic fields and of a version
number for each component that can change a result, so that editing a comment reruns nothing and
changing an algorithm reruns everything it touches.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

#: Raise a component's number when a change to it changes results; runs made before are then redone.
COMPONENT_VERSIONS = {"quantizer": 1, "training": 1, "models": 1, "data": 1}

FULL_PRECISION_BITS = 32


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One cell of a sweep for one seed.

    Attributes
    ----------
    preset, dataset, model : str
        Names in the preset, data and model tables.
    nodes : int
        N, the number of simulated nodes; ``global_batch`` is divided over them.
    bits : int
        Magnitude bits b, so that s = 2**b - 1 levels; 32 is fp32 and bypasses the quantizer.
    rounding : {"stochastic", "nearest"} or None
    error_feedback : bool
    norm : {"l2", "max"} or None
    bucket_size : int, "tensor", "model" or None
        These four are None or False at 32 bits (`canonical` sees to it), so that the baseline has one key.
    seed : int
        Seeds initialisation, data order and quantization.
    epochs, global_batch : int
    learning_rate, momentum, weight_decay : float
    warmup : float
        Share of all steps over which the learning rate rises linearly; it then falls linearly to zero.
    target_accuracy : float
        Validation accuracy (in [0, 1]) whose first epoch is the run's convergence time.
    """

    preset: str
    dataset: str
    model: str
    nodes: int
    bits: int
    rounding: str | None
    error_feedback: bool
    norm: str | None
    bucket_size: int | str | None
    seed: int
    epochs: int
    global_batch: int
    learning_rate: float
    momentum: float
    weight_decay: float
    warmup: float
    target_accuracy: float

    @property
    def is_full_precision(self) -> bool:
        """Whether the run sends fp32 gradients."""
        return self.bits == FULL_PRECISION_BITS

    @property
    def method(self) -> str:
        """The run's method in words, such as ``2 bit, stochastic + EF`` (EF: error feedback)."""
        if self.is_full_precision:
            return "fp32"
        return f"{self.bits} bit, {self.rounding}" + (" + EF" if self.error_feedback else "")

    def canonical(self) -> RunConfig:
        """Return the configuration with fields that have no meaning at its bits emptied."""
        if not self.is_full_precision:
            return self
        return dataclasses.replace(self, rounding=None, error_feedback=False, norm=None, bucket_size=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the semantic fields as JSON-ready values."""
        return dataclasses.asdict(self.canonical())

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> RunConfig:
        """Rebuild a configuration from `to_dict`.

        Raises
        ------
        ValueError
            If a field is missing, unknown or of the wrong type.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if set(fields) != known:
            missing, unknown = sorted(known - set(fields)), sorted(set(fields) - known)
            raise ValueError(f"configuration fields missing: {missing}, unknown: {unknown}")
        return cls(**fields)

    @property
    def key(self) -> str:
        """The first 12 hex digits of the SHA-256 of the canonical JSON: the name of the run's folder."""
        semantic = {"config": self.to_dict(), "versions": COMPONENT_VERSIONS}
        text = json.dumps(semantic, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

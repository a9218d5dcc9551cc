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

#: The default algorithm.
SYNCHRONOUS = "synchronous"

#: How messages travel: every node receives all of them, or the owners of shards add them up and requantize.
ALL_GATHER, TWO_PHASE = "all-gather", "two-phase"

#: A flaw (`RunConfig.flaws`): quantized runs take N times the baseline's batch.
UNEQUAL_BATCH = "unequal-batch"
#: Flaws that only a quantized run can have.
QUANTIZER_FLAWS = frozenset({"biased-levels", "no-op-error-feedback", UNEQUAL_BATCH})


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One cell of a sweep for one seed.

    Attributes
    ----------
    preset, dataset, model : str
        Names in the preset, data and model tables.
    nodes : int
        N, the number of simulated nodes; ``global_batch`` is divided over them.
    bits : int or None
        Magnitude bits b, so that s = 2**b - 1 levels; 32 is fp32 and bypasses the quantizer. None where
        `compressor` names the method.
    rounding : {"stochastic", "nearest"} or None
    error_feedback : bool
    norm : {"l2", "max"} or None
    bucket_size : int, "tensor", "model" or None
        These four are None or False at 32 bits, and where `compressor` names the method (`canonical` empties
        them), so that a method has one key.
    convention : str or None
        How bits name levels, a key of `qsgd_lab.levels.CONVENTIONS`; None is the lab's own, s = 2**b - 1.
    raw_tensors_up_to : int
        Tensors of at most so many coordinates are sent in float32, unquantized.
    seed : int
        Seeds initialisation, data order and quantization.
    epochs, global_batch : int
    learning_rate, momentum, weight_decay : float
    nesterov : bool
    scaling : {"strong", "weak"}
        Strong: `global_batch` images a step at every N, so that only the quantizer changes. Weak: as many at
        every node, and the learning rate grows with N.
    schedule : str
        The learning rate's course after the warm-up, a key of `qsgd_lab.training.schedule.SCHEDULES`.
    warmup : float
        Share of all steps over which the learning rate rises linearly.
    augmentation : {"crop-flip"} or None
    engine : {"auto", "loop", "batched"}
        How the nodes' gradients are computed.
    precision : {"float32", "bfloat16"}
        Of the forward and backward pass; parameters and gradients stay float32.
    flaws : tuple of str
        Deliberate mistakes of a published protocol, replayed; sorted keys of
        `qsgd_lab.training.flaws.FLAWS`.
    compressor : str or None
        Canonical text of a method of `qsgd_lab.compressors.COMPRESSORS` that the fields above cannot name.
    algorithm : str
        Canonical text of a method of `qsgd_lab.algorithms.registry.ALGORITHMS`.
    plugins : tuple of str
        ``name=origin`` of everything in the run that is not the package's own code, sorted.
    versions : tuple of str
        ``name=version`` of the data set and the network, where they have one, sorted: editing either under
        the same name gives other keys.
    split : str
        Which training images each node has: ``iid`` (any, in every epoch again), or canonical text of
        `qsgd_lab.data.node_split`: a share of its own, dealt by the seed.
    collective : {"all-gather", "two-phase"}
        How messages travel, where it changes the result; `canonical` leaves two-phase to compressed gradients
        of several nodes.
    target_accuracy : float
        Validation accuracy (in [0, 1]) whose first epoch is the run's convergence time.
    """

    preset: str
    dataset: str
    model: str
    nodes: int
    bits: int | None
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
    # Fields from here on came later: at their default they are neither in a key nor in a record, so that
    # runs made before they existed keep both.
    convention: str | None = None
    raw_tensors_up_to: int = 0
    nesterov: bool = False
    scaling: str = "strong"
    schedule: str = "linear"
    augmentation: str | None = None
    engine: str = "auto"
    precision: str = "float32"
    flaws: tuple[str, ...] = ()
    compressor: str | None = None
    algorithm: str = SYNCHRONOUS
    plugins: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    split: str = "iid"
    collective: str = ALL_GATHER

    @property
    def batch_size(self) -> int:
        """Images a step at all nodes together."""
        unequal = UNEQUAL_BATCH in self.flaws and not self.is_full_precision
        return self.global_batch * (self.nodes if self.scaling == "weak" or unequal else 1)

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after the warm-up."""
        return self.learning_rate * (self.nodes if self.scaling == "weak" else 1)

    @property
    def is_full_precision(self) -> bool:
        """Whether the run sends fp32 gradients."""
        return self.bits == FULL_PRECISION_BITS

    @property
    def method(self) -> str:
        """The run's method in words, such as ``2 bit, stochastic + EF`` (EF: error feedback)."""
        suffix = self.method_suffix
        if self.compressor is not None:
            return self.compressor + suffix
        if self.is_full_precision:
            return "fp32" + suffix
        return f"{self.bits} bit, {self.rounding}" + (" + EF" if self.error_feedback else "") + suffix

    @property
    def method_suffix(self) -> str:
        """What the row's name adds to the compressor's: algorithm and collective that are not the default."""
        others = (self.algorithm, SYNCHRONOUS), (self.collective, ALL_GATHER)
        return "".join(f", {value}" for value, default in others if value != default)

    @property
    def has_quantizer_fields(self) -> bool:
        """Whether bits, rounding, norm and buckets name the method: neither fp32 nor a text does."""
        return self.compressor is None and not self.is_full_precision

    def canonical(self) -> RunConfig:
        """Return the configuration with fields that have no meaning for its method emptied."""
        flaws = tuple(sorted(set(self.flaws)))
        # float32 has nothing to requantize, and one node has no receiver.
        collective = ALL_GATHER if self.is_full_precision or self.nodes == 1 else self.collective
        if self.has_quantizer_fields:
            return dataclasses.replace(self, flaws=flaws, collective=collective)
        return dataclasses.replace(
            self,
            bits=self.bits if self.compressor is None else None,
            rounding=None,
            error_feedback=False,
            norm=None,
            bucket_size=None,
            convention=None,
            raw_tensors_up_to=0,
            collective=collective,
            flaws=tuple(flaw for flaw in flaws if flaw not in QUANTIZER_FLAWS),
        )

    def baseline(self) -> RunConfig:
        """Return the fp32 run that differs in nothing else."""
        kept = (f"{self.model}=", f"{self.dataset}=")  # what it trains stays, how it sends does not
        plugins = tuple(plugin for plugin in self.plugins if plugin.startswith(kept))
        return dataclasses.replace(
            self, bits=FULL_PRECISION_BITS, compressor=None, algorithm=SYNCHRONOUS, plugins=plugins
        ).canonical()

    def to_dict(self) -> dict[str, Any]:
        """Return the semantic fields as JSON-ready values, without later ones that are at their default."""
        config = self.canonical()
        values = {field.name: getattr(config, field.name) for field in dataclasses.fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if name not in LATER_DEFAULTS or value != LATER_DEFAULTS[name]
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> RunConfig:
        """Rebuild a configuration from `to_dict`.

        Raises
        ------
        ValueError
            If a field is missing, unknown or of the wrong type.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        missing, unknown = sorted(known - set(fields) - set(LATER_DEFAULTS)), sorted(set(fields) - known)
        if missing or unknown:
            raise ValueError(f"configuration fields missing: {missing}, unknown: {unknown}")
        lists = {name: tuple(fields.get(name, ())) for name in ("flaws", "plugins", "versions")}
        return cls(**{**fields, **lists})

    @property
    def key(self) -> str:
        """The first 12 hex digits of the SHA-256 of the canonical JSON: the name of the run's folder."""
        semantic = {"config": self.to_dict(), "versions": COMPONENT_VERSIONS}
        text = json.dumps(semantic, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


#: Default of each field that has one: those that came after the first runs were stored.
LATER_DEFAULTS: dict[str, Any] = {
    field.name: field.default
    for field in dataclasses.fields(RunConfig)
    if field.default is not dataclasses.MISSING
}

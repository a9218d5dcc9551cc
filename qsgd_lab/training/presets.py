"""Named protocols: data, model shapes, hyper-parameters and the methods that a sweep compares.

Nothing here imports torch, so that a plan is made at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple

from qsgd_lab.runs.config import FULL_PRECISION_BITS, RunConfig


class Method(NamedTuple):
    """How gradients are sent: magnitude bits (32 is fp32), rounding, error feedback."""

    bits: int
    rounding: str = "stochastic"
    error_feedback: bool = True


FP32 = Method(FULL_PRECISION_BITS)


@dataclass(frozen=True)
class Preset:
    """A protocol that `qsgd-lab reproduce --preset NAME` runs.

    Attributes
    ----------
    title : str
        One line for help and plans.
    dataset : str
        Key of `qsgd_lab.data.DATASETS`.
    models : dict of str to str
        The name users give -> key of `qsgd_lab.models.MODELS`; a preset may train a narrower network.
    settings : dict
        The remaining fields of `RunConfig`: hyper-parameters, norm and buckets.
    methods : tuple of Method
    bits : tuple of int
        Those of a grid that names rounding or error feedback but no bits.
    seeds : tuple of int
    """

    title: str
    dataset: str
    models: dict[str, str]
    settings: dict[str, Any]
    methods: tuple[Method, ...]
    bits: tuple[int, ...] = (8, 4, 2)
    seeds: tuple[int, ...] = (0, 1, 2)
    num_train: int = field(kw_only=True)


_REPORT_METHODS = (
    FP32,
    Method(8),
    Method(4),
    Method(2),
    Method(2, "stochastic", False),
    Method(2, "nearest", False),
    Method(2, "nearest", True),
)

_DIGITS = {
    # One scale for the whole gradient and no BatchNorm: layers with small gradients starve, which tells
    # methods apart.
    "norm": "max",
    "bucket_size": "model",
    "epochs": 8,
    "global_batch": 32,
    "learning_rate": 0.03,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "warmup": 0.1,
    "target_accuracy": 0.95,
}

#: Name -> preset; the first is the default.
PRESETS: dict[str, Preset] = {
    "demo": Preset(
        "a quarter-width AlexNet without BatchNorm on the embedded digits: minutes on a laptop",
        "digits",
        {"alexnet": "alexnet-quarter"},
        _DIGITS,
        _REPORT_METHODS,
        num_train=1257,
    ),
    "digits-full": Preset(
        "networks at full width on the embedded digits: several times the demo's cost",
        "digits",
        {"alexnet": "alexnet", "resnet20": "resnet20", "resnet110": "resnet110"},
        {**_DIGITS, "learning_rate": 0.01},
        _REPORT_METHODS,
        num_train=1257,
    ),
}


def methods_of(
    preset: Preset,
    bits: Sequence[int] | None,
    roundings: Sequence[str],
    error_feedback: bool | None,
) -> tuple[Method, ...]:
    """Return the methods that a request asks for: the preset's own, or a grid if anything of it is named.

    In a grid, what is not named is: the preset's bits, stochastic rounding, with error feedback. The fp32
    baseline is always there.
    """
    if bits is None and not roundings and error_feedback is None:
        return preset.methods
    quantized = [b for b in (bits or preset.bits) if b != FULL_PRECISION_BITS]
    feedback = True if error_feedback is None else error_feedback
    grid = product(quantized, roundings or ("stochastic",), (feedback,))
    return (FP32, *(Method(*cell) for cell in grid))


def configurations(
    preset_name: str,
    models: Sequence[str],
    nodes: Sequence[int],
    methods: Sequence[Method],
    seeds: Sequence[int],
    overrides: dict[str, Any],
) -> list[RunConfig]:
    """Return every cell of a sweep.

    Parameters
    ----------
    preset_name : str
    models : sequence of str
        As users name them.
    nodes, seeds : sequence of int
    methods : sequence of Method
    overrides : dict
        Settings that replace the preset's.

    Raises
    ------
    ValueError
        If the preset does not know a model, a node count does not divide the global batch, or there are no
        epochs.
    """
    preset = PRESETS[preset_name]
    settings = preset.settings | overrides
    _check(preset_name, preset, models, nodes, settings)
    return [
        RunConfig(
            preset=preset_name,
            dataset=preset.dataset,
            model=preset.models[model],
            nodes=count,
            bits=method.bits,
            rounding=method.rounding,
            error_feedback=method.error_feedback,
            seed=seed,
            **settings,
        ).canonical()
        for seed, model, method, count in product(seeds, models, methods, nodes)
    ]


def _check(
    name: str, preset: Preset, models: Sequence[str], nodes: Sequence[int], settings: dict[str, Any]
) -> None:
    for model in models:
        if model not in preset.models:
            raise ValueError(f"preset {name!r} has no model {model!r}; it has: {', '.join(preset.models)}")
    batch = settings["global_batch"]
    for count in nodes:
        if batch % count:
            divisors = ", ".join(str(d) for d in range(1, batch + 1) if batch % d == 0)
            raise ValueError(f"{count} nodes do not divide the global batch of {batch}; possible: {divisors}")
    if settings["epochs"] < 1:
        raise ValueError(f"epochs is {settings['epochs']}; at least 1 is needed")

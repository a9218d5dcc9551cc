"""Named protocols: data, model shapes, hyper-parameters and the methods that a sweep compares.

Nothing here imports torch, so that a plan is made at once. The presets themselves are in `preset_table`.

Warnings of the theory about a sweep, before it starts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

from qsgd_lab.compressors import COMPRESSORS, QSGD
from qsgd_lab.compressors.stacking import stacking_warnings
from qsgd_lab.data.node_split import check_shards, check_split
from qsgd_lab.data.registry import DatasetEntry, dataset_entry, dataset_origins, dataset_version
from qsgd_lab.levels import num_levels
from qsgd_lab.runs.config import ALL_GATHER, FULL_PRECISION_BITS, SYNCHRONOUS, RunConfig
from qsgd_lab.training.flaws import check_flaws
from qsgd_lab.training.methods import (
    algorithm_text,
    algorithm_warnings,
    check_algorithm,
    compressor_fields,
    with_collective,
)
from qsgd_lab.training.preset_table import FP32, MODEL_VERSIONS, PRESETS, Method, Preset

__all__ = ["FP32", "PRESETS", "Method", "Preset", "configurations", "margins", "methods_of"]


def margins() -> dict[str, float]:
    """Return the margin of every preset; see `Preset.margin`."""
    return {name: preset.margin for name, preset in PRESETS.items()}


def methods_of(
    preset: Preset,
    bits: Sequence[int] | None,
    roundings: Sequence[str],
    error_feedback: bool | None,
    compressors: Sequence[str] = (),
) -> tuple[Method | str, ...]:
    """Return the methods that a request asks for: the preset's own, or a grid if anything of it is named.

    In a grid, what is not named is: the preset's bits, stochastic rounding, with error feedback. The fp32
    baseline is always there. Compressors named by their text join the grid, or alone replace the preset's.
    """
    named = tuple(compressors)
    if bits is None and not roundings and error_feedback is None:
        return (FP32, *named) if named else preset.methods
    quantized = [b for b in (bits or preset.bits) if b != FULL_PRECISION_BITS]
    feedback = True if error_feedback is None else error_feedback
    grid = product(quantized, roundings or ("stochastic",), (feedback,))
    return (FP32, *(Method(*cell) for cell in grid), *named)


def configurations(
    preset_name: str,
    models: Sequence[str],
    nodes: Sequence[int],
    methods: Sequence[Method | str],
    seeds: Sequence[int],
    overrides: dict[str, Any],
    algorithm: str = SYNCHRONOUS,
    dataset: str | None = None,
    collective: str = ALL_GATHER,
) -> list[RunConfig]:
    """Return every cell of a sweep.

    Parameters
    ----------
    preset_name : str
    models : sequence of str
        As users name them: the preset's, or registered from outside (`qsgd_lab.models.register_model`),
        which take the preset's settings.
    nodes, seeds : sequence of int
    methods : sequence of Method or str
        A str is the text of a compressor, such as ``ef(top-k(fraction=0.01))``.
    overrides : dict
        Settings that replace the preset's.
    algorithm : str
        Text of an algorithm.
    dataset : str, optional
        Key of `qsgd_lab.data.DATASETS`; by default the preset's. The preset's augmentation is left out where
        it does not suit the data set.
    collective : str
        See `qsgd_lab.training.methods.with_collective`.

    Raises
    ------
    ValueError
        If the data set is unknown, a model is neither the preset's nor registered, a node count
        does not divide the global batch, a batch is larger than the training set, there are no epochs, bits
        mean no levels under the convention, a flaw is unknown, or a seed is 2**32 or more.
    """
    if too_large := [seed for seed in seeds if seed >= 2**32]:  # what is above numbers a run's exchanges
        raise ValueError(f"seed {too_large[0]} is too large; seeds are from 0 to {2**32 - 1}")
    preset = PRESETS[preset_name]
    entry = dataset_entry(dataset or preset.dataset)
    settings = {model: _settings(preset_name, preset, model, entry, overrides) for model in models}
    canonical_algorithm, algorithm_origins = algorithm_text(algorithm)
    origins = {
        model: (*algorithm_origins, *_model_origins(preset, model), *dataset_origins(entry.name))
        for model in models
    }
    fields = {method: _fields(method) for method in methods}
    configs = [
        RunConfig(
            preset=preset_name,
            dataset=entry.name,
            model=preset.models.get(model, model),
            nodes=count,
            seed=seed,
            algorithm=canonical_algorithm,
            versions=_versions(entry.name, preset.models.get(model, model)),
            **{**settings[model], **fields[method], "plugins": _merged(origins[model], fields[method])},
        ).canonical()
        for seed, model, method, count in product(seeds, models, methods, nodes)
    ]
    for model in models:
        _check_batch(nodes, settings[model])
    for config in configs:
        _check(config, entry)
    for model, method in product(models, methods):
        methods_origins = (*algorithm_origins, *fields[method].get("plugins", ()))
        _check_names(preset.models.get(model, model), entry.name, methods_origins)
    return [with_collective(config, collective) for config in configs]


def _versions(dataset: str, model: str) -> tuple[str, ...]:
    """Return ``name=version`` of a data set and a network that have one."""
    versions = {dataset: dataset_version(dataset), model: MODEL_VERSIONS.get(model, 0)}
    return tuple(sorted(f"{name}={version}" for name, version in versions.items() if version))


def _fields(method: Method | str) -> dict[str, Any]:
    """Return what a method sets of `RunConfig`; its other fields are the preset's."""
    if isinstance(method, Method):
        return method._asdict()
    named: dict[str, Any] = {"bits": None, "rounding": None, "error_feedback": False}
    return named | compressor_fields(method)


def _merged(plugins: tuple[str, ...], fields: dict[str, Any]) -> tuple[str, ...]:
    return tuple(sorted({*plugins, *fields.get("plugins", ())}))


def _model_origins(preset: Preset, model: str) -> tuple[str, ...]:
    """Return where a model comes from, if from outside.

    Raises
    ------
    ValueError
        If a plug-in has given a model a name that the preset has for another one.
    """
    if model in preset.models and "qsgd_lab.models" not in sys.modules:
        return ()  # without loading torch, as what registers a model has done already
    from qsgd_lab.models import model_origins

    origins = model_origins(model)
    if origins and model in preset.models:
        raise ValueError(f"two models are named {model!r}, from the preset and {origins[0]}; rename one")
    return origins


def _settings(
    name: str, preset: Preset, model: str, entry: DatasetEntry, overrides: dict[str, Any]
) -> dict[str, Any]:
    if model not in preset.models and not _model_origins(preset, model):
        raise ValueError(f"preset {name!r} has no model {model!r}; it has: {', '.join(preset.models)}")
    settings = preset.settings | preset.model_settings.get(model, {}) | overrides
    missing = [field for field in ("epochs", "learning_rate", "weight_decay") if field not in settings]
    if missing:
        raise ValueError(
            f"preset {name!r} has no {', '.join(missing)} for models that are not its own, such as "
            f"{model!r}; take another preset"
        )
    if settings.get("augmentation") not in entry.augmentations:
        settings["augmentation"] = None
    check_flaws(settings.get("flaws", ()))
    if "split" in settings:
        settings["split"] = check_split(settings["split"])
    if settings.get("convention") == "magnitude":  # the default has one key, however it is asked for
        settings["convention"] = None
    return settings


def _check_names(model: str, dataset: str, origins: tuple[str, ...]) -> None:
    """Refuse methods from outside that have the name of the run's model or data set.

    `RunConfig.plugins` is by name, and `RunConfig.baseline` keeps the model's and the data set's.
    """
    names = {origin.partition("=")[0] for origin in origins}
    for name, what in ((model, "model"), (dataset, "data set")):
        if name in names:
            raise ValueError(f"a plug-in's method and the run's {what} are both named {name!r}; rename one")


def _check(config: RunConfig, entry: DatasetEntry) -> None:
    if config.has_quantizer_fields:
        assert config.bits is not None
        num_levels(config.bits, config.convention or "magnitude")
    if config.batch_size > entry.sizes[0]:
        raise ValueError(
            f"{config.batch_size} images a step at {config.nodes} nodes are more than the "
            f"{entry.sizes[0]} training images of {entry.name}"
        )
    check_algorithm(config, config.epochs * (entry.sizes[0] // config.batch_size))
    check_shards(entry.sizes[0], config.nodes, config.split)


def _check_batch(nodes: Sequence[int], settings: dict[str, Any]) -> None:
    batch = settings["global_batch"]
    for count in nodes:
        if batch % count:
            divisors = ", ".join(str(d) for d in range(1, batch + 1) if batch % d == 0)
            raise ValueError(f"{count} nodes do not divide the global batch of {batch}; possible: {divisors}")
    if settings["epochs"] < 1:
        raise ValueError(f"epochs is {settings['epochs']}; at least 1 is needed")


#: Only buckets of a known size are judged here; whole tensors and models are longer than this, so that the
#: factor is higher.
_ASSUMED_LONG_BUCKET = 100_000


def theory_warnings(configs: Iterable[RunConfig]) -> Iterator[str]:
    """Yield a line for each kind of run that the theory, or a measurement, speaks against.

    Those that error feedback may drive apart, those that need it and have none, and those of which the
    algorithm warns.

    An unbiased l2 quantizer whose variance factor exceeds 1 is not a contraction, and typical gradients come
    close to its worst case: residuals then grow without bound. Under the max norm the worst case is far from
    typical, and such runs are not warned of.
    """
    configs = list(configs)
    for text in dict.fromkeys(config.compressor for config in configs if config.compressor):
        warned = stacking_warnings(COMPRESSORS.parse(text).make(), _ASSUMED_LONG_BUCKET)
        yield from (f"{text}: {line}" for line in warned)
    asked = {
        (config.algorithm, config.compressor or config.method.partition(", ")[0]): config
        for config in configs
        if config.compressor or config.algorithm != SYNCHRONOUS
    }
    for (algorithm, text), one in asked.items():
        name = text if algorithm == SYNCHRONOUS else f"{algorithm} with {text}"
        yield from (f"{name}: {line}" for line in algorithm_warnings(one))
    for config in dict.fromkeys(_l2_feedback(config) for config in configs):
        if config is None:
            continue
        bits, bucket_size = config
        length = bucket_size if isinstance(bucket_size, int) else _ASSUMED_LONG_BUCKET
        factor = QSGD(bits, bucket_size=bucket_size).variance_factor(length)
        if factor > 1:
            at_least = "" if isinstance(bucket_size, int) else "at least "
            yield (
                f"{bits} bit with error feedback, l2 norm, bucket {bucket_size}: the variance factor is "
                f"{at_least}{factor:.3g}; above 1 this is not a contraction and training can diverge "
                "(use --norm max, smaller buckets or more bits)"
            )


def _l2_feedback(config: RunConfig) -> tuple[int, int | str] | None:
    risky = config.error_feedback and config.norm == "l2" and config.rounding == "stochastic"
    if not risky or config.bits is None or config.bucket_size is None:
        return None
    return config.bits, config.bucket_size

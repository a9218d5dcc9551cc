"""From a method's text to a configuration's fields, and from a configuration to compressor and algorithm."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from qsgd_lab.compressors import COMPRESSORS, QSGD, Compressor, ErrorFeedback, FullPrecision
from qsgd_lab.compressors.stacking import missing_feedback
from qsgd_lab.compressors.wrappers.published_flaws import BiasedLevels, OverwrittenErrorFeedback
from qsgd_lab.compressors.wrappers.raw_small_tensors import RawSmallTensors
from qsgd_lab.data.registry import dataset_origins
from qsgd_lab.exchange.two_phase import check_two_phase
from qsgd_lab.levels import num_levels
from qsgd_lab.registry import Spec
from qsgd_lab.runs.config import ALL_GATHER, FULL_PRECISION_BITS, SYNCHRONOUS, TWO_PHASE, RunConfig
from qsgd_lab.training.flaws import BIASED_LEVELS, NO_OP_ERROR_FEEDBACK

#: How messages travel, as users name it.
AUTO, ALL_REDUCE = "auto", "all-reduce"
COLLECTIVES = (AUTO, ALL_GATHER, TWO_PHASE, ALL_REDUCE)

#: Options of qsgd without a field, at the values that they have where the fields say all.
_WITHOUT_FIELD = {"stream_version": 1, "layout": "auto"}

if TYPE_CHECKING:
    from qsgd_lab.algorithms.protocol import Algorithm


def compressor_fields(text: str) -> dict[str, Any]:
    """Return the fields of `RunConfig` that a compressor's text sets.

    What the shorthand options can say, such as ``ef(qsgd(bits=2))`` or ``fp32``, sets the same fields as they
    do, so that a method has one key however it is asked for. Anything else is kept as canonical text.

    Raises
    ------
    ValueError
        If the text names nothing, or something that cannot be made.
    """
    spec = COMPRESSORS.parse(text)
    spec.check()  # refuses impossible options and stacking here, before any run
    return _shorthand(spec) or {"compressor": str(spec), "plugins": spec.origins}


def _shorthand(spec: Spec) -> dict[str, Any] | None:
    """Return the fields of the chain [ef] [raw-small] qsgd, or of fp32; None for other methods.

    There is no field for the stream's version and the layout, so that others than the usual stay in the text.
    """
    if spec.method.name == "fp32":
        return {"bits": FULL_PRECISION_BITS}
    error_feedback, up_to = False, 0
    if str(spec) == f"ef({spec.inner})" and spec.inner:  # its options at their defaults
        error_feedback, spec = True, spec.inner
    if spec.method.name == "raw-small" and spec.inner and spec.options["up_to"]:
        up_to, spec = spec.options["up_to"], spec.inner
    if spec.method.name != "qsgd" or not _WITHOUT_FIELD.items() <= spec.options.items():
        return None
    options = {name: value for name, value in spec.options.items() if name not in _WITHOUT_FIELD}
    return {
        **options,
        "error_feedback": error_feedback,
        "raw_tensors_up_to": up_to,
        "convention": None,
    }


def algorithm_text(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the canonical text of an algorithm, and the origins of what is not the package's own.

    Raises
    ------
    ValueError
        If the text names no algorithm.
    """
    if text == SYNCHRONOUS:  # known without torch
        return text, ()
    from qsgd_lab.algorithms.registry import ALGORITHMS

    spec = ALGORITHMS.parse(text)
    spec.check()
    return str(spec), spec.origins


def check_algorithm(config: RunConfig, num_steps: int) -> None:
    """Refuse an algorithm that cannot exchange by the run's compressor, or in its steps, before any run.

    Raises
    ------
    ValueError
        In one line.
    """
    if config.algorithm != SYNCHRONOUS:
        algorithm = algorithm_of(config)
        try:
            algorithm.check_compressor(compressor_of(config))
        except ValueError as error:
            raise ValueError(f"{config.algorithm} with {config.method.partition(', ')[0]}: {error}") from None
        try:
            algorithm.check_steps(num_steps)
        except ValueError as error:
            raise ValueError(f"{config.algorithm}: {error}") from None


def algorithm_warnings(config: RunConfig) -> Iterator[str]:
    """Yield a line for whatever speaks against the run's algorithm and compressor together."""
    compressor = compressor_of(config)
    if config.algorithm == SYNCHRONOUS:  # known without loading torch
        yield from missing_feedback(compressor)
    else:
        yield from algorithm_of(config).warnings(compressor)


def with_collective(config: RunConfig, asked: str) -> RunConfig:
    """Return a configuration whose messages travel as asked.

    Parameters
    ----------
    config : RunConfig
    asked : {"auto", "all-gather", "two-phase", "all-reduce"}
        Auto takes two phases where they move fewer bytes, above two nodes, and where the method can. An
        all-reduce, for methods whose messages can be added up, has the results and the key of an all-gather.

    Raises
    ------
    ValueError
        If the run's method cannot travel like that.
    """
    if asked == ALL_GATHER:
        return config
    if config.is_full_precision:
        # The fp32 row of a two-phase comparison is as ever; an algorithm with messages of its own is not.
        if asked == TWO_PHASE and config.algorithm != SYNCHRONOUS:
            algorithm = algorithm_of(config)
            if algorithm.uses_server or algorithm.keeps_errors:
                raise ValueError(
                    f"{config.algorithm}: two phases requantize what the run's compressor sends, and there "
                    "is none; give one that it takes, or leave out two-phase"
                )
        return config
    compressor = compressor_of(config)
    if asked == ALL_REDUCE:
        if compressor.aggregates != "sums":
            raise ValueError(
                f"an all-reduce adds up what is sent, and {config.method} cannot be added up; take "
                "all-gather or two-phase"
            )
        return config
    try:
        check_two_phase(compressor)
        if config.algorithm != SYNCHRONOUS and algorithm_of(config).uses_server:
            raise ValueError("two-phase has no server, which the algorithm sends through")
    except ValueError as error:
        if asked == AUTO:
            return config
        raise ValueError(f"{config.method}: {error}") from None
    if asked == AUTO and config.nodes <= 2:
        return config
    return dataclasses.replace(config, collective=TWO_PHASE).canonical()


def algorithm_of(config: RunConfig) -> Algorithm:
    """Return the algorithm of a run, not begun yet."""
    from qsgd_lab.algorithms.registry import ALGORITHMS

    algorithm: Algorithm = ALGORITHMS.parse(config.algorithm).make()
    return algorithm


def check_plugins(config: RunConfig) -> None:
    """Refuse to run with other code than the key of the configuration names.

    Raises
    ------
    ValueError
        If a plug-in has changed since the run was planned.
    """
    from qsgd_lab.models import model_origins

    compressor = COMPRESSORS.parse(config.compressor).origins if config.compressor else ()
    _, algorithm = algorithm_text(config.algorithm)
    others = (*model_origins(config.model), *dataset_origins(config.dataset))
    loaded = tuple(sorted({*compressor, *algorithm, *others}))
    if loaded != config.plugins:
        raise ValueError(f"the run was planned with {config.plugins}, but {loaded} is loaded; plan it again")


def compressor_of(config: RunConfig) -> Compressor:
    """Return the compressor of a run, with the flaws that it replays."""
    if config.compressor is not None:
        made: Compressor = COMPRESSORS.parse(config.compressor).make()
        return made
    if config.is_full_precision:
        return FullPrecision()
    quantizer = _quantizer_of(config)
    if config.raw_tensors_up_to:
        quantizer = RawSmallTensors(quantizer, config.raw_tensors_up_to)
    if not config.error_feedback:
        return quantizer
    wrapper = OverwrittenErrorFeedback if NO_OP_ERROR_FEEDBACK in config.flaws else ErrorFeedback
    return wrapper(quantizer)


def _quantizer_of(config: RunConfig) -> Compressor:
    assert config.bits is not None
    assert config.norm is not None
    assert config.bucket_size is not None
    assert config.rounding is not None
    levels = num_levels(config.bits, config.convention or "magnitude")
    kind = BiasedLevels if BIASED_LEVELS in config.flaws else QSGD
    return kind(levels=levels, norm=config.norm, bucket_size=config.bucket_size, rounding=config.rounding)

"""From a configuration to the compressor it names."""

from __future__ import annotations

from qsgd_lab.compressors import QSGD, Compressor, ErrorFeedback, FullPrecision
from qsgd_lab.compressors.wrappers.published_flaws import BiasedLevels, OverwrittenErrorFeedback
from qsgd_lab.compressors.wrappers.raw_small_tensors import RawSmallTensors
from qsgd_lab.levels import num_levels
from qsgd_lab.runs.config import RunConfig
from qsgd_lab.training.flaws import BIASED_LEVELS, NO_OP_ERROR_FEEDBACK


def compressor_of(config: RunConfig) -> Compressor:
    """Return the compressor of a run, with the flaws that it replays."""
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
    assert config.norm is not None
    assert config.bucket_size is not None
    assert config.rounding is not None
    levels = num_levels(config.bits, config.convention or "magnitude")
    kind = BiasedLevels if BIASED_LEVELS in config.flaws else QSGD
    return kind(levels=levels, norm=config.norm, bucket_size=config.bucket_size, rounding=config.rounding)

"""From a configuration to the compressor it names."""

from __future__ import annotations

from qsgd_lab.compressors import QSGD, Compressor, ErrorFeedback, FullPrecision
from qsgd_lab.runs.config import RunConfig


def compressor_of(config: RunConfig) -> Compressor:
    """Return the compressor of a run."""
    if config.is_full_precision:
        return FullPrecision()
    assert config.norm is not None
    assert config.bucket_size is not None
    assert config.rounding is not None
    quantizer = QSGD(config.bits, norm=config.norm, bucket_size=config.bucket_size, rounding=config.rounding)
    return ErrorFeedback(quantizer) if config.error_feedback else quantizer

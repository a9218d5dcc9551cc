"""The quantization check over several numbers of bits, sharing one false-alarm rate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.theory.checks.distributions import draw
from qsgd_lab.theory.checks.measurement import Quantizer, QuantizerSetting, lab_quantizer
from qsgd_lab.theory.checks.quantization import (
    DEFAULT_TRIALS,
    FALSE_ALARM_RATE,
    QuantizationCheck,
    check_quantization,
)
from qsgd_lab.theory.level_positions import Norm


def sweep_bits(
    bits: Sequence[int],
    *,
    vector: NDArray[np.float32] | None = None,
    distribution: str = "normal",
    dim: int = 2**18,
    bucket_size: int | None = 512,
    norm: Norm = "l2",
    rounding: str = "stochastic",
    seed: int = 0,
    trials: int = DEFAULT_TRIALS,
    quantizer: Quantizer = lab_quantizer,
) -> list[QuantizationCheck]:
    """Check the quantizer at each number of bits; if it is right, all pass with probability above 1 - 10^-6.

    Parameters
    ----------
    bits : sequence of int
        b, each from 1 to 15.
    vector : ndarray of float32, optional
        What to quantize; if None, `dim` coordinates of `distribution` are drawn with `seed`.
    distribution : str
        One of `qsgd_lab.theory.checks.distributions.DISTRIBUTION_NAMES`.
    bucket_size : int, optional
        None is one bucket for the whole vector.
    norm, rounding, seed, trials, quantizer
        As in `check_quantization`.

    Returns
    -------
    list of QuantizationCheck
        In the order of `bits`.

    Raises
    ------
    ValueError
        As `check_quantization` and `draw`.
    """
    size = dim if vector is None else vector.size
    checks = []
    for b in bits:
        setting = QuantizerSetting(b, min(bucket_size or size, size), norm, rounding, seed)
        subject = vector
        if subject is None:
            subject = draw(
                distribution,
                dim,
                seed=seed,
                num_levels=setting.num_levels,
                norm=norm,
                bucket_size=setting.bucket_size,
            )
        rate = FALSE_ALARM_RATE / len(bits)
        checks.append(
            check_quantization(subject, setting, trials=trials, false_alarm_rate=rate, quantizer=quantizer)
        )
    return checks

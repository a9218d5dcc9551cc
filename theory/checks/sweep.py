"""The quantization check over several numbers of bits or levels, sharing one false-alarm rate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.levels import Norm
from qsgd_lab.theory.arguments import numbers, optional_whole, whole
from qsgd_lab.theory.checks.distributions import draw
from qsgd_lab.theory.checks.measurement import Quantizer, QuantizerSetting, lab_quantizer
from qsgd_lab.theory.checks.quantization import (
    DEFAULT_TRIALS,
    FALSE_ALARM_RATE,
    QuantizationCheck,
    check_quantization,
)

#: The quantizer's levels are int16 at most.
MOST_MAGNITUDE_BITS = 15


def settings_of(
    bits: Sequence[int],
    levels: Sequence[int] | None,
    size: int,
    *,
    bucket_size: int | None,
    norm: Norm = "l2",
    rounding: str = "stochastic",
    seed: int = 0,
    backend: str = "auto",
) -> list[QuantizerSetting]:
    """Return a setting for each number of bits, or, if given, for each number of levels.

    Buckets are at most as long as the vector of `size` coordinates; None is one for all.

    Raises
    ------
    ValueError
        If there is neither a number of bits nor of levels, or an argument is out of its range.
    """
    if levels is None:
        given = numbers("bits", bits, least=1, most=MOST_MAGNITUDE_BITS, is_whole=True).reshape(-1)
        pairs = [(int(b), 2 ** int(b) - 1) for b in given]
    else:
        given = numbers("levels", levels, least=1, most=2**MOST_MAGNITUDE_BITS - 1, is_whole=True).reshape(-1)
        pairs = [(int(s).bit_length(), int(s)) for s in given]
    size, seed = whole("size", size), whole("seed", seed, least=0)
    # A bucket longer than the vector would change the bounds, which are of its length.
    bucket = min(optional_whole("bucket_size", bucket_size) or size, size)
    return [QuantizerSetting(b, bucket, norm, rounding, seed, backend=backend, levels=s) for b, s in pairs]


def subject_for(
    setting: QuantizerSetting, vector: NDArray[np.float32] | None, distribution: str, dim: int
) -> NDArray[np.float32]:
    """Return `vector`, or if it is None the one that the distribution's name means under this setting.

    Raises
    ------
    ValueError
        As `draw`.
    """
    if vector is not None:
        return vector
    return draw(
        distribution,
        dim,
        seed=setting.seed,
        num_levels=setting.num_levels,
        norm=setting.norm,
        bucket_size=setting.bucket_size,
    )


def sweep_bits(
    bits: Sequence[int],
    *,
    levels: Sequence[int] | None = None,
    vector: NDArray[np.float32] | None = None,
    distribution: str = "normal",
    dim: int = 2**18,
    bucket_size: int | None = 512,
    norm: Norm = "l2",
    rounding: str = "stochastic",
    seed: int = 0,
    trials: int = DEFAULT_TRIALS,
    backend: str = "auto",
    quantizer: Quantizer = lab_quantizer,
) -> list[QuantizationCheck]:
    """Check the quantizer at each number of bits; if it is right, all pass with probability above 1 - 10^-6.

    Parameters
    ----------
    bits : sequence of int
        b, each from 1 to 15.
    levels : sequence of int, optional
        s itself, in place of `bits`.
    vector : ndarray of float32, optional
        What to quantize; if None, `dim` coordinates of `distribution` are drawn with `seed`.
    distribution : str
        One of `qsgd_lab.theory.checks.distributions.DISTRIBUTION_NAMES`.
    bucket_size : int, optional
        None is one bucket for the whole vector.
    norm, rounding, seed, trials, backend, quantizer
        As in `check_quantization`.

    Returns
    -------
    list of QuantizationCheck
        In the order of `bits` or `levels`.

    Raises
    ------
    ValueError
        As `check_quantization` and `draw`.
    """
    size = dim if vector is None else vector.size
    settings = settings_of(
        bits,
        levels,
        size,
        bucket_size=bucket_size,
        norm=norm,
        rounding=rounding,
        seed=seed,
        backend=backend,
    )
    # The rate is for the whole sweep (union bound).
    rate = FALSE_ALARM_RATE / len(settings)
    return [
        check_quantization(
            subject_for(setting, vector, distribution, dim),
            setting,
            trials=trials,
            false_alarm_rate=rate,
            quantizer=quantizer,
        )
        for setting in settings
    ]

"""The length of real messages against the formulas: measured, exact, bounds, entropy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsgd_lab.levels import Norm
from qsgd_lab.theory.arguments import choice, float32_vector, number, whole
from qsgd_lab.theory.checks.code_length_bounds import explicit_bound, least_bits, paper_bound
from qsgd_lab.theory.checks.expected_bits import ExpectedBits, expected_bits
from qsgd_lab.theory.checks.measurement import QuantizerSetting
from qsgd_lab.theory.checks.message_bits import FIXED, LAYOUTS, MessageBits, measure_messages
from qsgd_lab.theory.checks.quantization import FALSE_ALARM_RATE, OK
from qsgd_lab.theory.checks.statistics import mean_interval
from qsgd_lab.theory.checks.sweep import settings_of, subject_for
from qsgd_lab.theory.code_length import NORM_BITS
from qsgd_lab.theory.elias import CODE_NAMES, Code
from qsgd_lab.theory.entropy import entropy_bits
from qsgd_lab.theory.level_positions import bucket_kinds

DEFAULT_MESSAGE_TRIALS = 8


@dataclass(frozen=True, kw_only=True)
class CodeLengthCheck:
    """One row: bits of the whole vector, norms included, the message's header and directory not.

    Attributes
    ----------
    code : str
        ``gamma``, ``delta``, ``omega``, or ``none`` in the fixed layout.
    layout : str
        ``fixed``, ``dense``, ``dense-signed`` or ``sparse``.
    bits_measured : float
        Mean over real messages, as sent; chunks are padded to whole words.
    bits_exact : float
        Expected bits of the code words, without padding.
    bound_paper, bound_explicit : float or None
        For every vector: the paper's, with o(1) = 0, where it states one; what is proved.
    entropy : float
        Of an ideal order-0 coder, norms included.
    lower_bound : float or None
        What any compressor of this worst-case error needs; None where there is no error.
    bits_padding : float
        Mean padding in `bits_measured`.
    ci_low, ci_high : float
        95 % interval for the mean without padding, from the messages alone.
    z : float or None
        Deviation from `bits_exact`: dense, in exact standard deviations; sparse, in estimated ones.
    verdict : str
        ``ok``, or what failed, in capitals.
    """

    bits: int
    levels: int
    dim: int
    bucket_size: int
    norm: str
    code: str
    layout: str
    bits_measured: float
    bits_exact: float
    bound_paper: float | None
    bound_explicit: float
    entropy: float
    lower_bound: float | None
    bits_padding: float
    ci_low: float
    ci_high: float
    z: float | None
    verdict: str
    rounding: str
    trials: int
    seed: int

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return self.verdict == OK


def check_code_length(
    gradient: ArrayLike,
    setting: QuantizerSetting,
    code: Code,
    layout: str,
    *,
    trials: int = DEFAULT_MESSAGE_TRIALS,
    false_alarm_rate: float = FALSE_ALARM_RATE,
) -> CodeLengthCheck:
    """Measure the messages of one vector and hold them against the formulas.

    Parameters
    ----------
    gradient : array_like
        Read as one float32 vector of n >= 1 finite coordinates.
    setting : QuantizerSetting
    code : {"gamma", "delta", "omega"}
    layout : {"fixed", "dense", "dense-signed", "sparse"}
    trials : int
        T >= 2 messages (one is enough, and taken, for nearest rounding).
    false_alarm_rate : float
        The probability, at most, that a correct coder fails this check.

    Raises
    ------
    ValueError
        If the vector is empty or not finite, `trials` is below 2, or a name is unknown.
    """
    vector = float32_vector("gradient", gradient)
    choice("code", code, CODE_NAMES)
    choice("layout", layout, LAYOUTS)
    number("false_alarm_rate", false_alarm_rate, above=0, most=1)
    if whole("trials", trials) < 2 and setting.rounding != "nearest":
        raise ValueError(f"trials is {trials}; a confidence interval needs at least 2")
    expected = expected_bits(vector, setting, code, layout)
    measured = measure_messages(vector, setting, code, layout, 1 if setting.rounding == "nearest" else trials)
    return _judge(vector, setting, code, layout, expected, measured, false_alarm_rate)


def _judge(
    vector: NDArray[np.float32],
    setting: QuantizerSetting,
    code: Code,
    layout: str,
    expected: ExpectedBits,
    measured: MessageBits,
    false_alarm_rate: float,
) -> CodeLengthCheck:
    # The expectation is of code words, which know nothing of whole words of 32 bits.
    words = measured.sent - measured.padding
    test = expected.test_of(float(words.sum()), words.size)
    explicit = explicit_bound(vector.size, setting, code, layout)
    slack = test.threshold(false_alarm_rate) / words.size
    # A wrong chunk is caught without statistics; the mean length needs a test.
    failures = {
        "WRONG MESSAGE": measured.wrong_chunks > 0,
        "WRONG LENGTH": test.alarms(false_alarm_rate),
        # The bound is on the expectation, so the mean may pass it by chance, up to the slack.
        "EXCEEDS BOUND": bool(words.mean() > explicit + slack),
    }
    low, high = mean_interval(words) if words.size > 1 else (float(words[0]), float(words[0]))
    shares = expected.level_counts / expected.level_counts.sum()
    norms = NORM_BITS * float(bucket_kinds(vector.size, setting.bucket_size)[1].sum())
    return CodeLengthCheck(
        **_conditions(vector.size, setting, code, layout, words.size),
        bits_measured=float(measured.sent.mean()),
        bits_exact=expected.exact,
        bound_paper=paper_bound(vector.size, setting, code, layout),
        bound_explicit=explicit,
        entropy=norms + vector.size * entropy_bits(shares),
        lower_bound=least_bits(vector.size, setting),
        bits_padding=float(measured.padding.mean()),
        ci_low=low,
        ci_high=high,
        z=test.z_score if expected.has_exact_variance else _estimated_z(words, expected.exact),
        verdict=", ".join(word for word, failed in failures.items() if failed) or OK,
    )


def _estimated_z(samples: NDArray[np.float64], expectation: float) -> float:
    # Equal samples have no spread to divide by.
    if samples.size < 2 or np.ptp(samples) == 0:
        return 0.0
    deviation = samples.std(ddof=1) / np.sqrt(samples.size)
    return float((samples.mean() - expectation) / deviation)


def _conditions(n: int, setting: QuantizerSetting, code: str, layout: str, trials: int) -> dict[str, Any]:
    return {
        "bits": setting.bits,
        "levels": setting.num_levels,
        "dim": n,
        "bucket_size": min(setting.bucket_size, n),
        "norm": setting.norm,
        "code": "none" if layout == FIXED else code,
        "layout": layout,
        "rounding": setting.rounding,
        "trials": trials,
        "seed": setting.seed,
    }


def sweep_code_length(
    bits: Sequence[int],
    code: Code,
    layout: str,
    *,
    levels: Sequence[int] | None = None,
    vector: NDArray[np.float32] | None = None,
    distribution: str = "normal",
    dim: int = 2**18,
    bucket_size: int | None = 512,
    norm: Norm = "l2",
    rounding: str = "stochastic",
    seed: int = 0,
    trials: int = DEFAULT_MESSAGE_TRIALS,
    backend: str = "auto",
) -> list[CodeLengthCheck]:
    """Check each number of bits or levels; if all is right, all pass with probability above 1 - 10^-6.

    Parameters
    ----------
    bits, levels, vector, distribution, dim, bucket_size, norm, rounding, seed, backend
        As in `qsgd_lab.theory.checks.sweep.sweep_bits`.
    code, layout, trials
        As in `check_code_length`.

    Raises
    ------
    ValueError
        As `check_code_length`.
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
        check_code_length(
            subject_for(setting, vector, distribution, dim),
            setting,
            code,
            layout,
            trials=trials,
            false_alarm_rate=rate,
        )
        for setting in settings
    ]

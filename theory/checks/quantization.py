"""Is the real quantizer what the formulas say? Unbiased, with the exact variance and number of non-zeros.

One vector is quantized T times with independent words and five sums are tested (`quantizer_tests`), at a
total false-alarm rate that is a theorem. Rounding to nearest is deterministic and biased by design: one
quantization is compared with its exact error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qsgd_lab.theory.checks.measurement import (
    Measurement,
    Quantizer,
    QuantizerSetting,
    lab_quantizer,
    measure,
)
from qsgd_lab.theory.checks.quantizer_tests import (
    BIAS_TESTS,
    resolution,
    squared_error_tolerance,
    stochastic_tests,
)
from qsgd_lab.theory.checks.statistics import mean_interval
from qsgd_lab.theory.level_positions import LevelPositions, level_positions
from qsgd_lab.theory.nearest import (
    nearest_error,
    nearest_nonzeros,
    worst_case_nearest_error,
    worst_case_nearest_nonzeros,
)
from qsgd_lab.theory.sparsity import paper_nonzeros_bound, worst_case_nonzeros
from qsgd_lab.theory.variance import paper_variance_bound, squared_norm, worst_case_variance

FALSE_ALARM_RATE = 1e-6
DEFAULT_TRIALS = 32

OK = "ok"
BIASED_BY_DESIGN = "biased by design"


@dataclass(frozen=True, kw_only=True)
class QuantizationCheck:
    """One row: measured, exact, bounds, z-scores and verdict.

    Attributes
    ----------
    relative_variance, ci_low, ci_high : float
        Measured E||Q(v) - v||^2 / ||v||^2 and its 95 % interval, from the measurements alone.
    exact, bound_paper, bound_tight : float
        For this vector; the paper's for every vector (None where it states none); the least for every vector.
    bias_z, sign_bias_z, pattern_bias_z, variance_z, nonzeros_z : float or None
        Deviations in exact standard deviations; None for deterministic rounding.
    nonzeros, nonzeros_exact, nonzeros_bound_paper, nonzeros_bound_tight : float
        Counts over the whole vector: measured mean, exact expectation, bounds.
    verdict : str
        ``ok``, ``biased by design``, or what failed, in capitals.
    """

    bits: int
    levels: int
    dim: int
    bucket_size: int
    norm: str
    relative_variance: float
    ci_low: float
    ci_high: float
    exact: float
    bound_paper: float | None
    bound_tight: float
    bias_z: float | None = None
    nonzeros: float
    nonzeros_exact: float
    nonzeros_bound_paper: float | None
    nonzeros_bound_tight: float
    verdict: str
    rounding: str
    trials: int
    seed: int
    sign_bias_z: float | None = None
    pattern_bias_z: float | None = None
    variance_z: float | None = None
    nonzeros_z: float | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return self.verdict in (OK, BIASED_BY_DESIGN)


def check_quantization(
    gradient: ArrayLike,
    setting: QuantizerSetting,
    *,
    trials: int = DEFAULT_TRIALS,
    false_alarm_rate: float = FALSE_ALARM_RATE,
    quantizer: Quantizer = lab_quantizer,
) -> QuantizationCheck:
    """Measure a quantizer on one vector and hold it against the exact formulas and the bounds.

    Parameters
    ----------
    gradient : array_like
        Read as one float32 vector of n >= 1 coordinates, finite and not all zero.
    setting : QuantizerSetting
    trials : int
        T >= 2 independent quantizations (one is enough, and taken, for nearest rounding).
    false_alarm_rate : float
        The probability, at most, that a correct quantizer fails this check.
    quantizer : callable
        What is checked, by default the lab's own.

    Raises
    ------
    ValueError
        If the vector is zero, empty or not finite, or `trials` is below 2.
    """
    vector = np.ascontiguousarray(np.asarray(gradient, dtype=np.float32).reshape(-1))
    at = level_positions(vector, setting.num_levels, norm=setting.norm, bucket_size=setting.bucket_size)
    if not vector.any():
        raise ValueError("the vector is zero: nothing to measure; give one with a non-zero coordinate")
    if setting.rounding == "nearest":
        return _judge_nearest(vector, at, setting, measure(vector, setting, 1, quantizer))
    if trials < 2:
        raise ValueError(f"trials is {trials}; a confidence interval needs at least 2")
    return _judge_stochastic(
        vector, at, setting, measure(vector, setting, trials, quantizer), false_alarm_rate
    )


def _judge_stochastic(
    vector: NDArray[np.float32],
    at: LevelPositions,
    setting: QuantizerSetting,
    measurement: Measurement,
    false_alarm_rate: float,
) -> QuantizationCheck:
    tests = stochastic_tests(vector, at, measurement)
    rate = false_alarm_rate / len(tests)
    total = squared_norm(vector)
    relative = measurement.squared_errors / total
    bound = float(worst_case_variance(at.bucket_size, at.num_levels, norm=setting.norm))
    slack = tests["variance"].threshold(rate) / (measurement.trials * total)
    failures = {name for name, test in tests.items() if test.alarms(rate)}
    z_scores: dict[str, Any] = {f"{name}_z": test.z_score for name, test in tests.items()}
    low, high = mean_interval(relative)
    return QuantizationCheck(
        **_conditions(at, setting, measurement),
        **_stochastic_bounds(at, setting),
        relative_variance=float(relative.mean()),
        ci_low=low,
        ci_high=high,
        exact=float(at.steps**2 @ at.bernoulli_variances) / total,
        bound_tight=bound,
        nonzeros_exact=float(at.nonzero_probabilities.sum()),
        verdict=_verdict(failures, exceeds_bound=bool(relative.mean() > bound + slack)),
        **z_scores,
    )


def _verdict(failures: set[str], *, exceeds_bound: bool) -> str:
    words = []
    if failures.intersection(BIAS_TESTS):
        words.append("BIASED")
    if exceeds_bound:
        words.append("EXCEEDS BOUND")
    elif "variance" in failures:
        words.append("WRONG VARIANCE")
    if "nonzeros" in failures:
        words.append("WRONG NON-ZEROS")
    return ", ".join(words) or OK


def _judge_nearest(
    vector: NDArray[np.float32], at: LevelPositions, setting: QuantizerSetting, measurement: Measurement
) -> QuantizationCheck:
    """Compare one deterministic quantization with the exact one, up to coordinates on the edge of a tie."""
    total = squared_norm(vector)
    error, count = float(measurement.squared_errors[0]), float(measurement.nonzeros[0])
    exact = nearest_error(vector, at.num_levels, norm=setting.norm, bucket_size=at.bucket_size)
    exact_count = nearest_nonzeros(vector, at.num_levels, norm=setting.norm, bucket_size=at.bucket_size)
    ties = int((np.abs(at.positions - 0.5) <= resolution(at)).sum())
    words = [] if abs(error - exact) <= squared_error_tolerance(at) else ["WRONG ERROR"]
    words += [] if abs(count - exact_count) <= ties else ["WRONG NON-ZEROS"]
    return QuantizationCheck(
        **_conditions(at, setting, measurement),
        relative_variance=error / total,
        ci_low=error / total,
        ci_high=error / total,
        exact=exact / total,
        bound_paper=None,
        bound_tight=float(worst_case_nearest_error(at.bucket_size, at.num_levels, norm=setting.norm)),
        nonzeros_exact=float(exact_count),
        nonzeros_bound_paper=None,
        nonzeros_bound_tight=worst_case_nearest_nonzeros(
            vector.size, at.num_levels, norm=setting.norm, bucket_size=at.bucket_size
        ),
        verdict=", ".join(words) or BIASED_BY_DESIGN,
    )


def _conditions(at: LevelPositions, setting: QuantizerSetting, measurement: Measurement) -> dict[str, Any]:
    return {
        "bits": setting.bits,
        "levels": at.num_levels,
        "dim": at.positions.size,
        "bucket_size": at.bucket_size,
        "norm": setting.norm,
        "rounding": setting.rounding,
        "trials": measurement.trials,
        "seed": setting.seed,
        "nonzeros": float(measurement.nonzeros.mean()),
    }


def _stochastic_bounds(at: LevelPositions, setting: QuantizerSetting) -> dict[str, Any]:
    """Return the bounds that hold for every vector; the paper states them for the l2 norm alone."""
    n, s, d = at.positions.size, at.num_levels, at.bucket_size
    stated = setting.norm == "l2"
    return {
        "bound_paper": float(paper_variance_bound(d, s)) if stated else None,
        "nonzeros_bound_paper": paper_nonzeros_bound(n, s, bucket_size=d) if stated else None,
        "nonzeros_bound_tight": worst_case_nonzeros(n, s, bucket_size=d, norm=setting.norm),
    }

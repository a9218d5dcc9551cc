"""The real quantizer against the formulas: unbiased, with the exact variance and number of non-zeros.

One vector is quantized T times with independent words and five sums are tested (`quantizer_tests`), at a
total false-alarm rate that is a theorem. Rounding to nearest is deterministic and biased by design: one
quantization is compared with its exact error. A long vector is measured in blocks, whose sums add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from qsgd_lab.theory.arguments import float32_vector, number, whole
from qsgd_lab.theory.checks.block_sums import BlockSums, add_blocks, measure_block
from qsgd_lab.theory.checks.blocks import blocks_of
from qsgd_lab.theory.checks.measurement import Quantizer, QuantizerSetting, lab_quantizer
from qsgd_lab.theory.checks.quantizer_tests import BIAS_TESTS
from qsgd_lab.theory.checks.statistics import mean_interval
from qsgd_lab.theory.nearest import worst_case_nearest_error, worst_case_nearest_nonzeros
from qsgd_lab.theory.sparsity import paper_nonzeros_bound, worst_case_nonzeros
from qsgd_lab.theory.variance import paper_variance_bound, worst_case_variance

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
        For this vector; the paper's for every vector (None where it states none); the supremum over vectors.
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
    vector = float32_vector("gradient", gradient)
    number("false_alarm_rate", false_alarm_rate, above=0, most=1)
    if whole("trials", trials) < 2 and setting.rounding != "nearest":
        raise ValueError(f"trials is {trials}; a confidence interval needs at least 2")
    # Nearest rounding gives the same every time.
    trials = 1 if setting.rounding == "nearest" else whole("trials", trials)
    blocks = blocks_of(vector, min(setting.bucket_size, vector.size))
    sums = add_blocks(measure_block(block, i, setting, trials, quantizer) for i, block in enumerate(blocks))
    if sums.squared_norm == 0:
        raise ValueError("the vector is zero: nothing to measure; give one with a non-zero coordinate")
    judge = _judge_nearest if setting.rounding == "nearest" else _judge_stochastic
    return judge(vector.size, sums, setting, false_alarm_rate)


def _judge_stochastic(
    n: int, sums: BlockSums, setting: QuantizerSetting, false_alarm_rate: float
) -> QuantizationCheck:
    tests, s, d = sums.tests, setting.num_levels, min(setting.bucket_size, n)
    # Each test gets its share, so that the total is at most the rate (union bound).
    rate = false_alarm_rate / len(tests)
    relative = sums.squared_errors / sums.squared_norm
    bound = float(worst_case_variance(d, s, norm=setting.norm))
    # How far the mean may pass the bound by chance.
    slack = tests["variance"].threshold(rate) / (relative.size * sums.squared_norm)
    failures = {name for name, test in tests.items() if test.alarms(rate)}
    z_scores: dict[str, Any] = {f"{name}_z": test.z_score for name, test in tests.items()}
    # From the measurements alone, so that the reader can distrust the formulas.
    low, high = mean_interval(relative)
    stated = setting.norm == "l2"  # the paper states bounds for the l2 norm alone
    return QuantizationCheck(
        **_common(n, sums, setting),
        relative_variance=float(relative.mean()),
        ci_low=low,
        ci_high=high,
        bound_paper=float(paper_variance_bound(d, s)) if stated else None,
        bound_tight=bound,
        nonzeros_bound_paper=paper_nonzeros_bound(n, s, bucket_size=d) if stated else None,
        nonzeros_bound_tight=worst_case_nonzeros(n, s, bucket_size=d, norm=setting.norm),
        verdict=_verdict(failures, exceeds_bound=bool(relative.mean() > bound + slack)),
        **z_scores,
    )


def _verdict(failures: set[str], *, exceeds_bound: bool) -> str:
    words = []
    if failures.intersection(BIAS_TESTS):
        words.append("BIASED")
    # Above the bound implies a wrong variance; the stronger word is enough.
    if exceeds_bound:
        words.append("EXCEEDS BOUND")
    elif "variance" in failures:
        words.append("WRONG VARIANCE")
    if "nonzeros" in failures:
        words.append("WRONG NON-ZEROS")
    return ", ".join(words) or OK


def _judge_nearest(
    n: int, sums: BlockSums, setting: QuantizerSetting, false_alarm_rate: float
) -> QuantizationCheck:
    """Compare one deterministic quantization with the exact one, up to coordinates on the edge of a tie."""
    s, d = setting.num_levels, min(setting.bucket_size, n)
    error = float(sums.squared_errors[0]) / sums.squared_norm
    # Nothing is left to chance: any deviation beyond arithmetic is wrong.
    words = [f"WRONG {name}" for name in ("ERROR", "NON-ZEROS") if _alarms(sums, name, false_alarm_rate)]
    return QuantizationCheck(
        **_common(n, sums, setting),
        relative_variance=error,
        ci_low=error,
        ci_high=error,
        bound_paper=None,
        bound_tight=float(worst_case_nearest_error(d, s, norm=setting.norm)),
        nonzeros_bound_paper=None,
        nonzeros_bound_tight=worst_case_nearest_nonzeros(n, s, bucket_size=d, norm=setting.norm),
        verdict=", ".join(words) or BIASED_BY_DESIGN,
    )


def _alarms(sums: BlockSums, name: str, rate: float) -> bool:
    return sums.tests[name.lower().replace("-", "")].alarms(rate)


def _common(n: int, sums: BlockSums, setting: QuantizerSetting) -> dict[str, Any]:
    return {
        "bits": setting.bits,
        "levels": setting.num_levels,
        "dim": n,
        "bucket_size": min(setting.bucket_size, n),
        "norm": setting.norm,
        "rounding": setting.rounding,
        "trials": sums.nonzeros.size,
        "seed": setting.seed,
        "exact": sums.exact / sums.squared_norm,
        "nonzeros": float(sums.nonzeros.mean()),
        "nonzeros_exact": sums.nonzeros_exact,
    }

"""The checks: a right quantizer passes, wrong ones are caught, and the false-alarm rate is what it says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from qsgd_lab.theory.checks.blocks import BLOCK_COORDINATES, blocks_of
from qsgd_lab.theory.checks.distributions import DISTRIBUTION_NAMES, draw
from qsgd_lab.theory.checks.measurement import QuantizerSetting, lab_quantizer
from qsgd_lab.theory.checks.quantization import BIASED_BY_DESIGN, OK, check_quantization
from qsgd_lab.theory.checks.statistics import BernsteinTest, mean_interval
from qsgd_lab.theory.checks.sweep import sweep_bits
from qsgd_lab.theory.sparsity import exact_nonzeros
from qsgd_lab.theory.variance import relative_variance

NORMS = ("l2", "max")


def normal_vector(n: int = 2**14) -> np.ndarray:
    """Return the same normal vector to every test."""
    return draw("normal", n, seed=5, num_levels=1, norm="l2", bucket_size=512)


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("distribution", DISTRIBUTION_NAMES)
def test_the_labs_quantizer_passes(distribution, norm, rounding):
    """All is well on every distribution, norm and rounding, from 1 to 15 bits, with a short last bucket."""
    checks = sweep_bits(
        (1, 2, 4, 7, 8, 15), distribution=distribution, dim=5000, norm=norm, rounding=rounding, trials=12
    )

    assert {check.verdict for check in checks} == {OK if rounding == "stochastic" else BIASED_BY_DESIGN}


def test_z_scores_of_a_right_quantizer_are_standard():
    """Over 150 seeds the squares of each z-score add up as a chi-squared law says."""
    vector = normal_vector(4096)
    checks = [
        check_quantization(vector, QuantizerSetting(3, 256, seed=seed), trials=2) for seed in range(150)
    ]

    for name in ("bias_z", "sign_bias_z", "pattern_bias_z", "variance_z", "nonzeros_z"):
        squares = sum(getattr(check, name) ** 2 for check in checks)
        assert 1e-5 < stats.chi2.cdf(squares, len(checks)) < 1 - 1e-5, name


def test_the_interval_covers_the_exact_value_as_often_as_it_says():
    """Of 200 intervals at 95 %, between 180 and 199 hold the exact value (binomial, 99.9 %)."""
    vector = normal_vector(2048)
    checks = [
        check_quantization(vector, QuantizerSetting(2, 128, seed=seed), trials=8) for seed in range(200)
    ]

    assert 180 <= sum(check.ci_low <= check.exact <= check.ci_high for check in checks) <= 199


def test_a_scale_wrong_by_one_percent_is_caught_at_four_bits():
    """With the command's default dimension and trials, Q(v) times 1.01 is called biased."""

    def inflated(vector, setting, trial):
        return lab_quantizer(vector, setting, trial) * np.float32(1.01)

    (check,) = sweep_bits((4,), quantizer=inflated)

    assert "BIASED" in check.verdict
    assert not check.passed


def truncating(vector, setting, trial):
    """Round towards zero in place of at random: the larger levels shrink."""
    decoded = lab_quantizer(vector, setting, trial)
    return np.where(np.abs(decoded) > np.abs(vector), 0, decoded).astype(np.float32)


def repeating(vector, setting, trial):
    """Use the same random words in every trial."""
    return lab_quantizer(vector, setting, 0)


def coarser(vector, setting, trial):
    """Use two bits fewer than asked for."""
    return lab_quantizer(vector, dataclasses.replace(setting, bits=setting.bits - 2), trial)


def noisy(vector, setting, trial):
    """Add noise of a third of the smallest step, keeping the mean and zeros."""
    decoded = lab_quantizer(vector, setting, trial)
    noise = (
        np.random.default_rng(trial).choice([-1, 1], decoded.size) * np.abs(decoded[decoded != 0]).min() / 3
    )
    return (decoded + np.where(decoded != 0, noise, 0)).astype(np.float32)


def dying(vector, setting, trial):
    """Return NaN somewhere."""
    decoded = lab_quantizer(vector, setting, trial)
    decoded[7] = np.nan
    return decoded


@pytest.mark.parametrize(
    ("quantizer", "words"),
    [
        (truncating, "BIASED"),
        (repeating, "BIASED"),
        (coarser, "EXCEEDS BOUND"),
        (coarser, "WRONG NON-ZEROS"),
        (noisy, "WRONG VARIANCE"),
        (dying, "BIASED"),
    ],
)
def test_wrong_quantizers_are_caught(quantizer, words):
    """Each fault is named by the verdict."""
    check = check_quantization(normal_vector(), QuantizerSetting(4), trials=8, quantizer=quantizer)

    assert words in check.verdict
    assert not check.passed


def test_stochastic_rounding_in_place_of_nearest_is_caught():
    """Nearest rounding is held against its exact error, not against a bound alone."""

    def dithered(vector, setting, trial):
        return lab_quantizer(vector, dataclasses.replace(setting, rounding="stochastic"), trial)

    check = check_quantization(
        normal_vector(), QuantizerSetting(4, rounding="nearest"), trials=8, quantizer=dithered
    )

    assert check.verdict == "WRONG ERROR, WRONG NON-ZEROS"


@pytest.mark.parametrize("rate", [1e-3, 1e-8])
@pytest.mark.parametrize(("n", "p"), [(10, 0.5), (1000, 0.001), (100_000, 0.3)])
def test_the_false_alarm_rate_is_a_bound(n, p, rate):
    """Bernstein's threshold is exceeded by a binomial deviation with at most the stated probability."""
    test = BernsteinTest(deviation=0.0, variance=n * p * (1 - p), largest_term=max(p, 1 - p))
    threshold = test.threshold(rate)
    law = stats.binom(n, p)

    assert law.sf(np.ceil(n * p + threshold) - 1) + law.cdf(np.floor(n * p - threshold)) <= rate


def test_the_threshold_costs_little_power():
    """Where no term dominates it is within a fifth of the normal quantile."""
    test = BernsteinTest(deviation=0.0, variance=1e6, largest_term=1.0)

    assert test.threshold(1e-8) / 1e3 < 1.2 * stats.norm.isf(0.5e-8)


def test_mean_interval_is_students():
    """The interval for a mean is SciPy's t interval; a single sample has none."""
    samples = np.array([1.0, 2.0, 4.0, 8.0])
    expected = stats.t.interval(0.95, 3, samples.mean(), stats.sem(samples))

    assert mean_interval(samples) == pytest.approx(expected)
    with pytest.raises(ValueError, match="at least 2"):
        mean_interval(samples[:1])


def test_a_check_is_a_function_of_its_seed():
    """The same seed gives the same row, another seed another."""
    rows = [
        check_quantization(normal_vector(), QuantizerSetting(2, seed=seed), trials=4) for seed in (1, 1, 2)
    ]

    assert rows[0] == rows[1]
    assert rows[0].relative_variance != rows[2].relative_variance


def test_what_cannot_be_measured_is_refused():
    """A zero vector, a single trial and an unknown distribution are refused by name."""
    with pytest.raises(ValueError, match="the vector is zero"):
        check_quantization(np.zeros(4), QuantizerSetting(2))
    with pytest.raises(ValueError, match="trials is 1"):
        check_quantization(np.ones(4), QuantizerSetting(2), trials=1)
    with pytest.raises(ValueError, match="worst-case"):
        draw("gauss", 4, seed=0, num_levels=1, norm="l2", bucket_size=4)


@given(st.integers(1, 60_000), st.integers(1, 20_000), st.sampled_from((1, 4096)))
def test_blocks_are_the_vector_in_whole_buckets(n, bucket_size, multiple):
    """Blocks side by side are the vector; each begins at a bucket and at a multiple of what is asked."""
    vector = np.arange(n, dtype=np.float32)
    blocks = blocks_of(vector, bucket_size, multiple_of=multiple)

    np.testing.assert_array_equal(np.concatenate(blocks), vector)
    assert all(block[0] % bucket_size == 0 and block[0] % multiple == 0 for block in blocks)


def test_a_long_vector_is_checked_as_a_whole():
    """The exact figures of a vector in blocks are those of the formulas for the whole vector."""
    vector = normal_vector(3 * BLOCK_COORDINATES + 700)
    check = check_quantization(vector, QuantizerSetting(3, 300), trials=2)

    assert check.exact == pytest.approx(relative_variance(vector, 7, bucket_size=300))
    assert check.nonzeros_exact == pytest.approx(exact_nonzeros(vector, 7, bucket_size=300))
    assert check.verdict == OK


def test_blocks_draw_words_of_their_own():
    """Two equal blocks are not rounded alike: each is a tensor of its own."""
    block = normal_vector(BLOCK_COORDINATES)
    settings = [QuantizerSetting(1, tensor=tensor) for tensor in (0, 1)]
    decoded = [lab_quantizer(block, setting, trial=0) for setting in settings]

    assert not np.array_equal(*decoded)


def test_tests_of_independent_sums_add_up():
    """Deviations, variances and tolerances add up; the largest term is the larger one."""
    total = BernsteinTest(1.0, 2.0, 3.0, 0.5) + BernsteinTest(-4.0, 1.0, 0.5, 0.25)

    assert total == BernsteinTest(-3.0, 3.0, 3.0, 0.75)

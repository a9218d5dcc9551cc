"""Exact values against the real kernels in over 200 cells (n, s, v): z-scores follow their law."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from qsgd_lab.theory.checks.code_length import check_code_length
from qsgd_lab.theory.checks.distributions import draw
from qsgd_lab.theory.checks.measurement import QuantizerSetting
from qsgd_lab.theory.checks.quantization import BIASED_BY_DESIGN, OK, check_quantization

SIZES = (1000, 2500, 6000)
LEVELS = (1, 2, 3, 6, 11, 40)
#: No coordinate dominates these, so that sums are nearly normal.
SHAPES = ("normal", "laplace")
QUANTIZER_CELLS = list(product(SIZES, LEVELS, SHAPES, ("l2", "max"), (64, 512, 10_000)))
CODE_CELLS = list(product((1500, 6000), (1, 3, 6, 40), ("l2", "max"), ("gamma", "delta", "omega")))


def setting_of(seed: int, s: int, norm: str, bucket_size: int, n: int, **options) -> QuantizerSetting:
    """Return a setting with s levels and a seed of its own."""
    return QuantizerSetting(s.bit_length(), min(bucket_size, n), norm, seed=seed, levels=s, **options)


def vector_of(seed: int, shape: str, n: int) -> np.ndarray:
    """Return another vector for every seed."""
    return draw(shape, n, seed=seed, num_levels=1, norm="l2", bucket_size=n)


def assert_standard(z_scores) -> None:
    """Kolmogorov and Smirnov, and the sum of squares, both at 1e-4."""
    scores = np.array(z_scores)

    assert stats.kstest(scores, "norm").pvalue > 1e-4
    assert 1e-4 < stats.chi2.cdf((scores**2).sum(), scores.size) < 1 - 1e-4


@pytest.fixture(scope="module")
def quantizer_checks():
    """Return the checks of all 216 cells."""
    return [
        check_quantization(vector_of(seed, shape, n), setting_of(seed, s, norm, bucket_size, n), trials=8)
        for seed, (n, s, shape, norm, bucket_size) in enumerate(QUANTIZER_CELLS)
    ]


@pytest.mark.parametrize("name", ["bias_z", "sign_bias_z", "pattern_bias_z", "variance_z", "nonzeros_z"])
def test_z_scores_of_the_quantizer_are_standard(quantizer_checks, name):
    """Over 216 cells each z-score is distributed as a standard normal."""
    assert len(quantizer_checks) >= 200
    assert {check.verdict for check in quantizer_checks} == {OK}
    assert_standard([getattr(check, name) for check in quantizer_checks])


def test_nearest_rounding_is_exact_in_every_cell():
    """Over 216 cells rounding to nearest has exactly the error and the non-zeros of the formulas."""
    checks = [
        check_quantization(
            vector_of(seed, shape, n), setting_of(seed, s, norm, bucket_size, n, rounding="nearest")
        )
        for seed, (n, s, shape, norm, bucket_size) in enumerate(QUANTIZER_CELLS)
    ]

    assert {check.verdict for check in checks} == {BIASED_BY_DESIGN}
    np.testing.assert_allclose(
        [check.relative_variance for check in checks], [check.exact for check in checks], rtol=1e-4
    )


@pytest.mark.parametrize("layout", ["dense", "dense-signed"])
def test_z_scores_of_dense_messages_are_standard(layout):
    """Over 48 cells, deviations of real dense messages in exact standard deviations are standard normal."""
    checks = [
        check_code_length(
            vector_of(seed, "normal", n), setting_of(seed, s, norm, 256, n), code, layout, trials=8
        )
        for seed, (n, s, norm, code) in enumerate(CODE_CELLS)
    ]

    assert {check.verdict for check in checks} == {OK}
    assert_standard([check.z for check in checks])


def test_deviations_of_sparse_messages_follow_students_law():
    """Over 48 cells, deviations of real sparse messages in estimated deviations follow Student's law."""
    trials = 12
    checks = [
        check_code_length(
            vector_of(seed, "normal", n), setting_of(seed, s, norm, 256, n), code, "sparse", trials=trials
        )
        for seed, (n, s, norm, code) in enumerate(CODE_CELLS)
    ]

    assert {check.verdict for check in checks} == {OK}
    assert_standard(stats.norm.ppf(stats.t.cdf([check.z for check in checks], trials - 1)))

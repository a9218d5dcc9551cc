"""Unbiasedness, variance and independence, measured; seeds are fixed, tolerances are standard errors."""

from __future__ import annotations

import numpy as np
import pytest

from qsgd_lab import dequantize, quantize

TRIALS = 2000
N = 512
Z_MAX = 4.5  # about 10^-5 for one z-score
SCHEMES = [(1, "l2"), (1, "max"), (7, "l2"), (7, "max"), (255, "l2"), (1023, "max")]


def gradient(seed=0):
    """Return a float32 gradient with small, large, negative and zero coordinates."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=N) * (np.arange(N) % 7)).astype(np.float32)


def exact_law(x, s, norm):
    """Return (step, p): the distance of values, and each coordinate's chance of its upper level, float64."""
    wide = np.abs(x.astype(np.float64))
    step = (wide.max() if norm == "max" else np.sqrt(wide @ wide)) / s
    return step, np.modf(wide / step)[0]


def errors(x, trials=TRIALS, **scheme):
    """Return Q(x) - x of many seeds, float64, shape (trials, n)."""
    values = [dequantize(quantize(x, bucket_size=N, seed=seed, **scheme)) for seed in range(trials)]
    return np.array(values, np.float64) - x


def z_score(samples, expected):
    """Return how many standard errors the mean of samples lies from the expected value."""
    return (samples.mean() - expected) / (samples.std(ddof=1) / np.sqrt(samples.size))


@pytest.mark.parametrize(("s", "norm"), SCHEMES)
def test_the_quantizer_is_unbiased(s, norm):
    """E[Q(v)] = v (QSGD, Lemma 3.1 i): along v, along its signs, and coordinate by coordinate."""
    x = gradient()
    step, p = exact_law(x, s, norm)
    mean, variance = errors(x, levels=s, norm=norm).mean(axis=0), step**2 * p * (1 - p) / TRIALS
    for direction in (x.astype(np.float64), np.sign(x)):
        assert abs(direction @ mean) < Z_MAX * np.sqrt(direction**2 @ variance)
    often = TRIALS * p * (1 - p) > 10  # the mean of a rare event is far from normal
    assert often.sum() > 10
    assert (np.abs(mean[often]) < 5.5 * np.sqrt(variance[often])).all()


@pytest.mark.parametrize(("s", "norm"), SCHEMES)
def test_the_variance_is_the_exact_one(s, norm):
    """E||Q(v) - v||^2 = (norm / s)^2 sum p (1 - p), with p the fraction of s |v_i| / norm."""
    x = gradient()
    step, p = exact_law(x, s, norm)
    expected = step**2 * (p * (1 - p)).sum()
    spread = step**4 * (p * (1 - p) * (1 - 2 * p) ** 2).sum()
    measured = (errors(x, levels=s, norm=norm) ** 2).sum(axis=1).mean()

    assert abs(measured - expected) < Z_MAX * np.sqrt(spread / TRIALS)


@pytest.mark.parametrize("s", [1, 3, 15])
def test_the_number_of_non_zeros_is_the_expected_one(s):
    """E||Q(v)||_0 = sum min(1, s |v_i| / norm), at most s (s + sqrt n) (QSGD, Lemma 3.1 iii)."""
    x = gradient()
    step, _ = exact_law(x, s, "l2")
    q = np.minimum(1, np.abs(x) / step)
    counts = [np.count_nonzero(quantize(x, levels=s, seed=seed).levels) for seed in range(TRIALS)]

    assert abs(np.mean(counts) - q.sum()) < Z_MAX * np.sqrt((q * (1 - q)).sum() / TRIALS)
    assert np.mean(counts) < s * (s + np.sqrt(N))


def test_nearest_rounding_is_biased():
    """What is_unbiased denies shows: small coordinates vanish in every trial."""
    x = np.full(N, 0.01, np.float32)
    x[0] = 1

    assert (errors(x, 3, levels=7, norm="max", rounding="nearest")[:, 1:] == -x[1:]).all()


@pytest.mark.parametrize("field", ["node", "step", "tensor", "seed"])
def test_the_variance_of_a_mean_falls_with_the_number_of_streams(field):
    """Over N streams that differ in one field, the mean of Q(v) has an N-th of the variance of one."""
    x, streams, repeats = gradient(), 8, 300
    step, p = exact_law(x, 3, "l2")
    alone = step**2 * (p * (1 - p)).sum()
    other = "seed" if field != "seed" else "node"

    def error_of_mean(repeat):
        keys = [{field: stream, other: repeat} for stream in range(streams)]
        values = [dequantize(quantize(x, levels=3, bucket_size=N, **key)) for key in keys]
        return np.mean(values, axis=0, dtype=np.float64) - x

    squares = np.array([(error_of_mean(repeat) ** 2).sum() for repeat in range(repeats)])

    assert abs(z_score(squares, alone / streams)) < Z_MAX
    assert abs(z_score(squares, alone)) > 50  # as it would be if the streams were one


def test_errors_of_coordinates_are_uncorrelated():
    """Rounding one coordinate says nothing about its neighbours: the variance of a sum is the sum's."""
    x = gradient()
    step, p = exact_law(x, 1, "l2")
    expected = step**2 * (p * (1 - p)).sum()
    sums = errors(x, levels=1).sum(axis=1)

    assert abs(z_score(sums**2, expected)) < Z_MAX

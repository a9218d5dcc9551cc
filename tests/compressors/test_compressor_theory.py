"""What compressors claim to know of themselves, measured."""

from __future__ import annotations

import math

import numpy as np
import pytest
from compressor_cases import CASES

from qsgd_lab.compressors import QSGD, Damped, ErrorFeedback, FullPrecision
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.ledger import Ledger
from qsgd_lab.stream import Stream

N = 256
TRIALS = 400
Z_MAX = 4.5
#: Schemes whose worst case is known exactly.
SCHEMES = [
    QSGD(levels=s, norm=norm, bucket_size=size)
    for s in (1, 3, 8)
    for norm in ("l2", "max")
    for size in (N, 64)
]


def label(compressor):
    """Return a test's name for a QSGD scheme."""
    return f"{compressor.norm}-s{compressor.levels}-bucket{compressor.bucket_size}"


def decoded(compressor, x, trials=TRIALS):
    """Return what a receiver decodes in each trial, float64, shape (trials, n)."""
    state = compressor.init(Layout.of(x.size))
    messages = (compressor.compress(x, state, Stream(seed=trial))[0] for trial in range(trials))
    return np.array([compressor.decompress(message) for message in messages], np.float64)


def worst_case_max(d, s):
    """Return one largest coordinate and d - 1 equal ones, where the max norm's variance is largest."""
    k = (d - 1) / s**2
    x = np.full(d, (math.sqrt(1 + k) - 1) / k / s)
    x[0] = 1
    return x


def adversaries(d, s):
    """Return float32 vectors of N coordinates that are hard for buckets of d."""
    rng = np.random.default_rng(0)
    one_hot = np.zeros(N)
    one_hot[3] = -2
    vectors = {
        "constant": np.ones(N),
        "worst for max": np.tile(worst_case_max(d, s), N // d),
        "one-hot": one_hot,
        "gaussian": rng.normal(size=N),
        "heavy-tailed": rng.standard_cauchy(N),
        "geometric": (-0.9) ** np.arange(N),
    }
    return {name: vector.astype(np.float32) for name, vector in vectors.items()}


def relative_error(compressor, x):
    """Return (mean, standard error) of ||Q(x) - x||^2 / ||x||^2."""
    wide = x.astype(np.float64)
    ratios = ((decoded(compressor, x) - wide) ** 2).sum(axis=1) / (wide @ wide)
    return ratios.mean(), ratios.std(ddof=1) / math.sqrt(TRIALS)


@pytest.mark.parametrize("compressor", SCHEMES, ids=label)
def test_no_vector_exceeds_the_variance_factor(compressor):
    """E||Q(v) - v||^2 <= w ||v||^2 for the vectors that are hard."""
    w = compressor.variance_factor(N)
    for name, x in adversaries(min(N, compressor.bucket_size), compressor.levels).items():
        mean, standard_error = relative_error(compressor, x)
        assert mean <= w + Z_MAX * standard_error + 1e-6, name


@pytest.mark.parametrize("compressor", SCHEMES, ids=label)
def test_the_variance_factor_is_attained(compressor):
    """The constant vector attains the l2 factor while s <= sqrt(d) / 2, the T3 vector the max factor."""
    d, s = compressor.bucket_size, compressor.levels
    if compressor.norm == "l2" and s > math.sqrt(d) / 2:
        x = np.full(d, 1.5)  # positions 3/2 and 1/2 in levels, as many of each as their squares allow
        x[: round((2.25 * d - s * s) / 2)] = 0.5
        x = np.tile(x, N // d).astype(np.float32)
    else:
        x = adversaries(d, s)["constant" if compressor.norm == "l2" else "worst for max"]
    mean, standard_error = relative_error(compressor, x)

    assert abs(mean - compressor.variance_factor(N)) < Z_MAX * standard_error + 0.005


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("s", [1, 3, 8])
def test_nearest_rounding_keeps_to_its_factor(norm, s):
    """||Q(v) - v||^2 <= min(1, d / 4s^2) ||v||^2 surely; nearest is a contraction at worst idle."""
    compressor = QSGD(levels=s, norm=norm, bucket_size=64, rounding="nearest")
    for x in adversaries(64, s).values():
        wide = x.astype(np.float64)
        error = decoded(compressor, x, 1)[0] - wide
        assert error @ error <= compressor.variance_factor(N) * (wide @ wide) * (1 + 1e-6)


@pytest.mark.parametrize("compressor", SCHEMES, ids=label)
def test_damping_makes_a_contraction(compressor):
    """E||Q(v) / (1 + w) - v||^2 <= (1 - 1 / (1 + w)) ||v||^2 < ||v||^2, however large w is."""
    damped = Damped(compressor)
    factor = damped.variance_factor(N)
    assert factor < 1
    assert not damped.is_unbiased
    for name, x in adversaries(min(N, compressor.bucket_size), compressor.levels).items():
        mean, standard_error = relative_error(damped, x)
        assert mean <= factor + Z_MAX * standard_error + 1e-6, name


def test_damping_divides_by_one_plus_the_variance_factor():
    """Q(v) / (1 + w) has the mean v / (1 + w) and is sent at the price of Q(v)."""
    inner, x, tallies = QSGD(bits=1, bucket_size="model"), np.ones(N, np.float32), [Ledger(), Ledger()]
    damped, w = Damped(inner), inner.variance_factor(N)
    messages = [one.compress(x, one.init(Layout.of(N)), Stream())[0] for one in (inner, damped)]
    for one, message, tally in zip((inner, damped), messages, tallies, strict=True):
        tally.add(one.wire.size(message))

    assert w == math.sqrt(N) - 1
    assert damped.decompress(messages[1]) == pytest.approx(inner.decompress(messages[0]) / (1 + w))
    assert tallies[0].to_dict() == tallies[1].to_dict()


def run_error_feedback(inner, steps=60):
    """Return (sum of gradients, sum of what was sent, residual norms, gradients' norms)."""
    compressor, rng = ErrorFeedback(inner), np.random.default_rng(0)
    states, ledger = compressor.init_nodes(1, Layout.of(N)), Ledger()
    given, sent, norms = np.zeros(N), np.zeros(N), []
    for step in range(steps):
        x, total = rng.normal(size=N).astype(np.float32), np.zeros(N, np.float32)
        states = compressor.mean(NodeRows(x[None]), states, Stream(step=step), total, ledger)
        given, sent = given + x, sent + total
        norms.append(float(np.linalg.norm(states.residual.astype(np.float64))))
    return given, sent, states.residual[0], norms


@pytest.mark.parametrize("name", sorted(CASES))
def test_error_feedback_loses_nothing(name):
    """What was sent and the residual sum up to all gradients, step after step, for every compressor."""
    given, sent, residual, norms = run_error_feedback(CASES[name]())
    lossless = name == "fp32"

    assert (norms[0] > 0) != lossless
    assert np.abs(sent + residual - given).max() < 1e-6 * 60 * max(1, *norms)


def test_error_feedback_is_bounded_by_a_contraction_and_not_by_a_large_variance():
    """Residuals of the damped quantizer stay bounded; those of the bare one, w = 15, explode."""
    inner = QSGD(bits=1, bucket_size="model")
    bare, damped = run_error_feedback(inner)[-1], run_error_feedback(Damped(inner))[-1]
    delta = 1 - Damped(inner).variance_factor(N)
    largest_gradient = 1.5 * math.sqrt(N)

    assert inner.variance_factor(N) == 15
    assert max(damped) < 2 * math.sqrt(1 - delta) / delta * largest_gradient  # Karimireddy et al., Lemma 3
    assert bare[-1] > 1e4 * bare[0]


def test_error_feedback_of_full_precision_keeps_nothing():
    """Nothing is lost, so nothing is kept: the total is the gradient."""
    given, sent, residual, norms = run_error_feedback(FullPrecision())

    assert not residual.any()
    assert max(norms) == 0
    assert sent == pytest.approx(given)

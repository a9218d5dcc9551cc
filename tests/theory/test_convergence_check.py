"""Convergence on problems with a known optimum: the bounds hold, and the printed step misses its own."""

from __future__ import annotations

import numpy as np
import pytest

from qsgd_lab.theory.checks.convergence import (
    MISPRINT_EXCEEDS,
    OK,
    check_qsvrg,
    check_sgd,
    sweep_convergence,
)
from qsgd_lab.theory.checks.problems import PROBLEMS
from qsgd_lab.theory.qsvrg import SECOND_MOMENT_GROWTH, qsvrg_contraction, qsvrg_schedule


@pytest.fixture(scope="module", params=list(PROBLEMS))
def problem(request):
    """Return each problem in turn."""
    return PROBLEMS[request.param]()


@pytest.fixture(scope="module")
def ridge():
    """Return the strongly convex least squares."""
    return PROBLEMS["ridge"]()


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("levels", [None, 1, 6, 100])
def test_the_gap_keeps_below_the_bound(problem, levels, workers):
    """Theorem 3.4 with its constants: the mean iterate's gap is below the bound, and positive."""
    check = check_sgd(problem, levels=levels, workers=workers, steps=200, trials=4)

    assert check.verdict == OK
    assert 0 < check.gap < check.bound
    assert check.ci_low <= check.gap <= check.ci_high


def test_more_workers_help_as_the_bound_says(ridge):
    """Sixteen workers cut gap and bound to less than a half."""
    alone, together = (check_sgd(ridge, levels=2, workers=k, steps=300) for k in (1, 16))

    assert together.gap < alone.gap / 2
    assert together.bound < alone.bound / 2


def test_the_printed_step_misses_the_bound(problem):
    """1 / (L + sqrt(K) / gamma) ends above the theorem's bound at K = 16; the corrected step does not."""
    printed, corrected = (
        check_sgd(problem, levels=None, workers=16, steps=1000, printed_step=flag) for flag in (True, False)
    )

    assert printed.verdict == MISPRINT_EXCEEDS
    assert printed.ci_low > printed.bound == corrected.bound
    assert printed.passed
    assert corrected.verdict == OK
    assert printed.gap > 25 * corrected.gap


def test_a_step_too_long_exceeds_the_bound(ridge, monkeypatch):
    """A method that does not do what the theorem asks is called out."""
    from qsgd_lab.theory.checks import convergence

    monkeypatch.setattr(convergence, "convex_step", lambda *_: 0.0)
    check = check_sgd(ridge, levels=None, workers=1024, steps=1000, trials=2)

    assert check.verdict == "EXCEEDS BOUND"
    assert not check.passed


def test_bits_lie_between_a_bit_and_the_worst_case(ridge):
    """A ternary message takes at least a bit a coordinate and a norm; the finest at most float32."""
    for levels in (1, 6):
        check = check_sgd(ridge, levels=levels, workers=2, steps=50, trials=2)
        assert 1 + 32 / 36 < check.bits_per_coordinate <= 4 + 32 / 36
        assert check.bits == pytest.approx(check.bits_per_coordinate * 36 * 50)
    assert check_sgd(ridge, levels=None, workers=2, steps=50, trials=2).bits == 32 * 36 * 50


@pytest.mark.parametrize("name", ["ridge", "logistic"])
def test_qsvrg_keeps_its_rate_and_its_bits(name):
    """Theorem 3.6: every epoch is below rho^p; an epoch's bits are below those of 4 n + 32 a vector."""
    problem = PROBLEMS[name]()
    checks = check_qsvrg(problem, workers=2, epochs=4, trials=3)
    gaps = np.array([problem.gap(np.zeros(36)), *(check.gap for check in checks)])

    assert [check.verdict for check in checks] == [OK] * 4
    assert (gaps[1:] / gaps[:-1] < 0.2).all()
    assert all(check.bits < check.bits_bound for check in checks)


def test_the_papers_bits_of_an_epoch_are_exceeded(ridge):
    """(F + 2.8 n)(T + 1) + F n is less than what an epoch's real code words take."""
    (check,) = check_qsvrg(ridge, workers=1, epochs=1, trials=2)

    assert check.bits > check.bits_bound_paper


def test_the_schedule_uses_the_growth_of_sqrt_n(ridge):
    """At n = 36 and s = 6 the growth is 5/4, as for every square n."""
    (check,) = check_qsvrg(ridge, workers=1, epochs=1, trials=2)
    step, inner = qsvrg_schedule(ridge.term_smoothness, ridge.strong_convexity)
    rate = qsvrg_contraction(
        ridge.term_smoothness, ridge.strong_convexity, step, inner, growth=SECOND_MOMENT_GROWTH
    )

    assert (check.levels, check.steps) == (6, inner)
    assert check.bound == pytest.approx(rate * ridge.gap(np.zeros(36)))


def test_qsvrg_needs_strong_convexity():
    """Without a ridge there is no rate to check."""
    with pytest.raises(ValueError, match="not strongly convex"):
        check_qsvrg(PROBLEMS["least-squares"](), workers=1, epochs=1)


def test_a_sweep_has_every_row(ridge):
    """Methods times workers times steps, the printed step only where it differs, and QSVRG's epochs."""
    rows = sweep_convergence(ridge, levels=(1,), workers=(1, 2), steps=(5, 9), epochs=2, trials=2)

    assert [row.method for row in rows].count("SGD") == 4
    assert [row.method for row in rows].count("SGD, printed step") == 2
    assert [row.method for row in rows].count("QSGD") == 4
    assert [(row.workers, row.epoch) for row in rows if row.method == "QSVRG"] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
    assert rows == sweep_convergence(ridge, levels=(1,), workers=(1, 2), steps=(5, 9), epochs=2, trials=2)


def test_the_reference_backend_gives_the_same_runs(ridge):
    """What quantizes does not matter: SGD and QSVRG end at the same gaps, with the same bits."""
    options = {"levels": [2], "workers": [2], "steps": [20], "epochs": 1, "trials": 2}
    assert sweep_convergence(ridge, **options, backend="reference") == sweep_convergence(ridge, **options)

"""Problems and their simulation: optima, noise that methods share, and repetitions that do not touch."""

from __future__ import annotations

import numpy as np
import pytest

from qsgd_lab.algorithms.local_sgd import LocalSGD
from qsgd_lab.algorithms.registry import ALGORITHMS
from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.problems.quadratics import UnlikeCurvatures
from qsgd_lab.problems.registry import PROBLEMS, problem_entry
from qsgd_lab.problems.simulate import simulate


def run(problem, algorithm="synchronous", compressor="fp32", nodes=4, steps=40, repeats=range(6), **more):
    """Return the trace of a small simulation."""
    made = problem_entry(problem).make(nodes, "iid", 0) if isinstance(problem, str) else problem
    return simulate(
        made,
        ALGORITHMS.parse(algorithm),
        COMPRESSORS.parse(compressor),
        nodes=nodes,
        num_steps=steps,
        repeats=repeats,
        **more,
    )


def optimum(problem):
    """Return x*, shape (1, n)."""
    if hasattr(problem, "model"):
        return problem.model.optimum[None]
    return getattr(problem, "optimum", np.zeros(problem.num_coordinates))[None]


#: Those of the benchmark have thousands of coordinates, and tests of their own in tests/suite.
SMALL = [name for name in PROBLEMS if name not in ("curved", "many-kinks", "softmax")]


@pytest.mark.parametrize("name", SMALL)
def test_the_optimum_is_where_the_mean_gradient_vanishes(name):
    """The mean gradient at x* vanishes within 5 standard errors; the error is zero there alone."""
    problem = problem_entry(name).make(8, "iid", 0)
    point = optimum(problem)
    draws = 4000
    points = np.broadcast_to(point, (8, draws, point.size))
    gradients = problem.gradients(points, np.random.default_rng(0)).mean(axis=0)
    error = gradients.std(axis=0) / np.sqrt(draws)

    assert (np.abs(gradients.mean(axis=0)) < 5 * error + 1e-12).all()
    assert problem.error(point) == pytest.approx(0, abs=1e-14)
    assert problem.error(point + 0.1).min() > 0


def test_the_error_is_the_integral_of_the_slope():
    """For the published problem f' = 2 x | x and f = x^2 | x^2 / 2; for unlike curvatures f is their mean."""
    problem = problem_entry("published-local-sgd").make(1, "iid", 0)
    problem.noise = 0.0
    x = np.array([[-1.5], [0.5], [2.0]])
    h = 1e-6
    slope = (problem.error(x + h) - problem.error(x - h)) / (2 * h)
    assert slope == pytest.approx(problem.gradients(x[None], np.random.default_rng(0))[0, :, 0], rel=1e-6)

    unlike = UnlikeCurvatures(3, dimension=2, noise=0.0)
    points = np.array([[0.3, -0.7]])
    values = (unlike.curvatures * (points - unlike.centres) ** 2).sum(axis=2).mean() / 2
    least = (unlike.curvatures * (unlike.optimum - unlike.centres) ** 2).sum(axis=2).mean() / 2
    assert unlike.error(points)[0] == pytest.approx(values - least, rel=1e-12)


@pytest.mark.parametrize("compressor", ["fp32", "ef(top-k(fraction=0.1))"])
def test_repetitions_side_by_side_are_those_one_by_one(compressor, monkeypatch):
    """An algorithm in long vectors gives each repetition the bits that an object of its own gives it."""
    arguments = ("unlike-curvatures", "local-sgd(interval=4)", compressor)
    together = run(*arguments)
    monkeypatch.setattr(LocalSGD, "is_elementwise", False)
    apart = run(*arguments)

    assert together.errors.tobytes() == apart.errors.tobytes()
    assert together.sent_bits.tolist() == apart.sent_bits.tolist()
    assert together.rounds.tolist() == apart.rounds.tolist()


def test_methods_meet_the_same_noise():
    """N = 1: local SGD of any schedule and synchronous SGD are the same runs, repetition by repetition."""
    one, two = run("ridge", nodes=1), run("ridge", "local-sgd(interval=3)", nodes=1)

    assert one.errors == pytest.approx(two.errors, rel=1e-5)
    assert len(set(one.errors[-1])) == 6
    assert (run("ridge", nodes=1, seed=1).errors[-1] != one.errors[-1]).all()


def test_traffic_up_and_down():
    """fp32 is a sum: 32 n each way; top-k gathers: a message up, and those of the N - 1 others down."""
    sums = run("unlike-curvatures", "local-sgd(interval=10)")
    assert (sums.rounds[-1], sums.sent_bits[-1], sums.received_bits[-1]) == (4, 4 * 32 * 64, 4 * 32 * 64)
    assert run("unlike-curvatures", nodes=1).received_bits[-1] == 0
    gathers = run("unlike-curvatures", compressor="ef(top-k(fraction=0.1))", steps=3)
    assert gathers.received_bits == pytest.approx(3 * gathers.sent_bits)
    assert 3 * 6 * 32 < gathers.sent_bits[-1] < 3 * 64 * 32


def test_messages_in_float32_bound_what_they_carry():
    """Messages that vanish at the optimum lead far below what float32 models could hold, others do not."""
    alone, unlike = UnlikeCurvatures(1, noise=0.0), UnlikeCurvatures(8, noise=0.0)
    errors = [
        run(problem, nodes=nodes, steps=800, repeats=range(1), rate_scale=10).errors[-1, 0]
        for problem, nodes in ((alone, 1), (unlike, 8))
    ]

    assert errors[0] < 1e-24
    assert 1e-18 < errors[1] < 1e-13  # the nodes' gradients cancel, their rounding errors do not


def test_a_diverging_run_is_a_result():
    """A rate far too large ends in errors that are not finite, without a warning."""
    assert not np.isfinite(run("unlike-curvatures", steps=2000, rate_scale=1e3).errors[-1]).any()

"""The test problems: gradients, optimum and the constants that the bounds ask for."""

from __future__ import annotations

import numpy as np
import pytest

from qsgd_lab.cli.measure.convergence import PROBLEM_NAMES
from qsgd_lab.theory.checks.problems import NUM_COORDINATES, PROBLEMS


@pytest.fixture(scope="module", params=list(PROBLEMS))
def problem(request):
    """Return each problem in turn."""
    return PROBLEMS[request.param]()


def points(problem, radius: float, count: int = 40) -> np.ndarray:
    """Return points of the ball, half of them on its surface, shape (count, n)."""
    generator = np.random.default_rng(0)
    directions = generator.standard_normal((count, problem.num_coordinates))
    directions *= radius / np.linalg.norm(directions, axis=1, keepdims=True)
    directions[::2] *= generator.random((count // 2, 1))
    return directions


def test_the_command_names_every_problem():
    """The command's choices are the table's rows, in order."""
    assert tuple(PROBLEMS) == PROBLEM_NAMES


def test_gradients_are_finite_differences(problem):
    """The gradient is the derivative of the value in every direction."""
    (point,) = points(problem, 1.0, 2)[:1]
    h = 1e-6
    numeric = [
        (problem.value(point + h * e) - problem.value(point - h * e)) / (2 * h) for e in np.eye(point.size)
    ]

    np.testing.assert_allclose(problem.gradient(point), numeric, atol=1e-8)


def test_terms_average_to_the_whole(problem):
    """The mean of all terms' gradients is the gradient; many points at once are each point by itself."""
    x = points(problem, 2.0, 4)
    terms = np.array([[0, 5], [7, 7], [1, 2], [3, 1796]])
    each = problem.term_gradients(x[0], np.arange(problem.num_terms))

    np.testing.assert_allclose(each.mean(axis=0), problem.gradient(x[0]), atol=1e-12)
    together = problem.term_gradients(x, terms)
    assert together.shape == (4, 2, NUM_COORDINATES)
    for row, point, chosen in zip(together, x, terms, strict=True):
        np.testing.assert_allclose(row, problem.term_gradients(point, chosen), atol=1e-12)


def test_the_optimum_is_one(problem):
    """Its gradient is zero, and no point of a ball is better."""
    assert np.linalg.norm(problem.gradient(problem.optimum)) < 1e-14
    assert problem.gap(problem.optimum) == 0
    assert min(problem.gap(problem.optimum + step) for step in points(problem, 0.1)) > 0


def test_smoothness_and_strong_convexity_bound_the_hessian(problem):
    """Everywhere the Hessian is between l and L, and every term is as smooth as stated."""
    for point in points(problem, 5.0, 6):
        eigenvalues = np.linalg.eigvalsh(problem.hessian(point))
        assert problem.strong_convexity - 1e-12 <= eigenvalues[0]
        assert eigenvalues[-1] <= problem.smoothness * (1 + 1e-12)
    x, y = points(problem, 3.0, 2)
    terms = np.arange(problem.num_terms)
    changes = np.linalg.norm(problem.term_gradients(x, terms) - problem.term_gradients(y, terms), axis=1)
    assert changes.max() <= problem.term_smoothness * np.linalg.norm(x - y) * (1 + 1e-12)


def test_moments_hold_in_the_whole_ball(problem):
    """sigma^2 and B are above the variance and the second moment of the terms' gradients at every point."""
    radius = float(np.linalg.norm(problem.optimum))
    for point in [*points(problem, radius), problem.optimum]:
        each = problem.term_gradients(point, np.arange(problem.num_terms))
        spread = ((each - each.mean(axis=0)) ** 2).sum(axis=1).mean()
        assert spread <= problem.variance_in(radius)
        assert (each**2).sum(axis=1).mean() <= problem.second_moment_in(radius)

"""Problems by name; a plug-in registers its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qsgd_lab.origins import Origins
from qsgd_lab.problems.linear import LinearProblem
from qsgd_lab.problems.problem import Problem
from qsgd_lab.problems.quadratics import UnlikeCurvatures
from qsgd_lab.problems.scalar import Kinked, PublishedLocalSGD, Smooth
from qsgd_lab.theory.checks.problems import least_squares, logistic_regression, ridge_regression


@dataclass(frozen=True)
class ProblemEntry:
    """A problem that can be named.

    Attributes
    ----------
    name, summary : str
    error : str
        What its error is, in a few words.
    make : callable
        (nodes, split, seed) -> Problem.
    has_examples : bool
        Whether it has examples that a split deals to nodes.
    has_speed_up : bool
        Whether one node alone meets the same problem, so that a speed-up over it means something.
    """

    name: str
    summary: str
    error: str
    make: Callable[[int, str, int], Problem]
    has_examples: bool = False
    has_speed_up: bool = False


_GAP = "f(x) - f*"

#: Name -> problem.
PROBLEMS: dict[str, ProblemEntry] = {
    entry.name: entry
    for entry in (
        ProblemEntry(
            "kinked",
            "f' = x below 0, 4 x above: its derivative has a kink at the optimum",
            "x^2",
            lambda *_: Kinked(),
            has_speed_up=True,
        ),
        ProblemEntry(
            "smooth",
            "one variable, twice differentiable",
            "x^2",
            lambda *_: Smooth(),
            has_speed_up=True,
        ),
        ProblemEntry(
            "published-local-sgd",
            "the local SGD paper's own: f = x^2 above 0, x^2 / 2 below",
            _GAP,
            lambda *_: PublishedLocalSGD(),
            has_speed_up=True,
        ),
        ProblemEntry(
            "unlike-curvatures",
            "quadratics of 64 coordinates, each node with its own curvatures and optimum",
            _GAP,
            lambda nodes, *_: UnlikeCurvatures(nodes),
        ),
        ProblemEntry(
            "least-squares",
            "least squares on the digits, 36 coordinates",
            _GAP,
            lambda *given: LinearProblem(least_squares(), *given),
            has_examples=True,
        ),
        ProblemEntry(
            "ridge",
            "least squares with a ridge on the digits, 36 coordinates",
            _GAP,
            lambda *given: LinearProblem(ridge_regression(), *given),
            has_examples=True,
        ),
        ProblemEntry(
            "logistic",
            "logistic regression with a ridge on the digits, 36 coordinates",
            _GAP,
            lambda *given: LinearProblem(logistic_regression(), *given),
            has_examples=True,
        ),
    )
}
_origins = Origins("problem")


def register_problem(entry: ProblemEntry, origin: str | None = None) -> ProblemEntry:
    """Add a problem from outside the package, and return it.

    Raises
    ------
    ValueError
        If the name is malformed, or taken by the package or by other code.
    """
    _origins.claim(entry.name, PROBLEMS, origin)
    PROBLEMS[entry.name] = entry
    return entry


def problem_entry(name: str) -> ProblemEntry:
    """Return a problem by name.

    Raises
    ------
    ValueError
        If it is unknown.
    """
    if name not in PROBLEMS:
        raise ValueError(f"unknown problem {name!r}; known: {', '.join(PROBLEMS)}")
    return PROBLEMS[name]


def problem_origins(name: str) -> tuple[str, ...]:
    """Return where a problem comes from, if from outside."""
    return _origins.of(name)

"""Problems with a known optimum, on which algorithms are compared in thousands of repetitions at once."""

from __future__ import annotations

from qsgd_lab.problems.problem import Problem
from qsgd_lab.problems.registry import PROBLEMS, ProblemEntry, register_problem

__all__ = ["PROBLEMS", "Problem", "ProblemEntry", "register_problem"]

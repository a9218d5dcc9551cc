"""Functions of one variable whose second derivative jumps at the optimum, and one where it does not.

There one-shot averaging fails: each node's mean is displaced towards the flatter side, and averaging N of
them does not take that away.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.problems.problem import Floats, Problem


class Kinked(Problem):
    """f' = x below 0 and 4 x above; noise of variance 1, x_0 = 1, steps 2 / (t + 32).

    The error is x^2. mu = 1, L = 4, and beta = 32 = 8 L / mu is the least that the bound of
    `qsgd_lab.theory.local_sgd` allows.
    """

    num_steps = 2000
    beta = 32

    def __init__(self) -> None:
        self.start = np.array([1.0])

    def rate(self, step: int) -> float:
        """Return 2 / (t + 32)."""
        return 2 / (step + self.beta)

    def gradients(self, points: Floats, generator: np.random.Generator) -> Floats:
        """Return f' and normal noise."""
        return self.full_gradients(points) + generator.standard_normal(points.shape)

    def error(self, points: Floats) -> Floats:
        """Return x^2."""
        return np.asarray(points[:, 0] ** 2)

    def full_gradients(self, points: Floats) -> Floats:
        """Return f'."""
        return np.where(points < 0, points, 4 * points)


class Smooth(Kinked):
    """f' = x + 1.5 tanh x + x^2 / (2 (1 + x^2)): one-shot averaging is as good as any schedule."""

    def full_gradients(self, points: Floats) -> Floats:
        """Return f'."""
        squares = points**2
        return points + 1.5 * np.tanh(points) + squares / (2 * (1 + squares))


class PublishedLocalSGD(Problem):
    """The problem of the local SGD paper's notebook: f = x^2 above 0, x^2 / 2 below, noise N(0, 8^2).

    x_0 = 2, T = 1000, steps min(2 / (t + 1), 1 / 2), the error is f.

    References
    ----------
    Spiridonoff, Olshevsky, Paschalidis: Communication-efficient SGD: from local SGD to one-shot averaging.
    NeurIPS 2021; its published notebook.
    """

    num_steps = 1000
    noise = 8.0

    def __init__(self) -> None:
        self.start = np.array([2.0])

    def rate(self, step: int) -> float:
        """Return min(2 / (mu (t + 1)), 1 / L), mu = 1 and L = 2."""
        return min(2 / (step + 1), 0.5)

    def gradients(self, points: Floats, generator: np.random.Generator) -> Floats:
        """Return f' and normal noise."""
        return self.full_gradients(points) + self.noise * generator.standard_normal(points.shape)

    def full_gradients(self, points: Floats) -> Floats:
        """Return f'."""
        return np.where(points < 0, points, 2 * points)

    def error(self, points: Floats) -> Floats:
        """Return f(x) - f* = f(x)."""
        x = points[:, 0]
        return np.where(x < 0, x**2 / 2, x**2)

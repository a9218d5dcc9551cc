"""Nodes with curvatures and optima of their own: where local steps drift, and methods part."""

from __future__ import annotations

import numpy as np

from qsgd_lab.problems.problem import Floats, Problem
from qsgd_lab.stream import Purpose, generator


class UnlikeCurvatures(Problem):
    """Node i has f_i = sum h_ij (x_j - c_ij)^2 / 2; gradients with noise of deviation 0.3 a coordinate.

    h_ij is log-uniform in [0.1, 1] and c_ij standard normal, the same for every seed of a run, so that f's
    optimum is sum h_i c_i / sum h_i. Constant steps: those of a tuning grid about 0.1.

    Parameters
    ----------
    nodes : int
    dimension : int
    noise : float
        Standard deviation.
    """

    num_steps = 800

    def __init__(self, nodes: int, dimension: int = 64, noise: float = 0.3) -> None:
        words = generator(0, Purpose.NODE_SPLIT, nodes)
        self.curvatures = 10 ** (words.random((nodes, 1, dimension)) - 1)
        self.centres = words.standard_normal((nodes, 1, dimension))
        self.noise, self.start = noise, np.zeros(dimension)
        total = self.curvatures.sum(axis=(0, 1))
        self.optimum = (self.curvatures * self.centres).sum(axis=(0, 1)) / total
        self._mean_curvature = total / nodes

    def rate(self, step: int) -> float:
        """Return 0.1."""
        return 0.1

    def gradients(self, points: Floats, generator: np.random.Generator) -> Floats:
        """Return each node's own gradient and normal noise."""
        noise = self.noise * generator.standard_normal(points.shape) if self.noise else 0.0
        return self.full_gradients(points) + noise

    def full_gradients(self, points: Floats) -> Floats:
        """Return h (x - c)."""
        return np.asarray(self.curvatures * (points - self.centres))

    def error(self, points: Floats) -> Floats:
        """Return f(x) - f*, without the loss of digits of a difference."""
        return np.asarray((self._mean_curvature * (points - self.optimum) ** 2).sum(axis=1) / 2)

"""Least squares and logistic regression on the embedded digits, a term a step and node, without copies."""

from __future__ import annotations

import dataclasses

import numpy as np

from qsgd_lab.data.node_split import node_split
from qsgd_lab.problems.problem import Floats, Problem
from qsgd_lab.theory.checks.problems import LinearModel


class LinearProblem(Problem):
    """A linear model whose examples are dealt to N nodes in equal shares; what is left over is left out.

    Each step a node draws one of its own examples in each repetition. The rate is 1 / (2 L) of a term,
    divided by sqrt(1 + t / 50).

    Parameters
    ----------
    model : LinearModel
    nodes : int
    split : str
        As `qsgd_lab.data.node_split.node_split`; classes are the targets -1 and 1.
    seed : int
        Of the split.
    """

    num_steps = 1000

    def __init__(self, model: LinearModel, nodes: int, split: str = "iid", seed: int = 0) -> None:
        self._examples = node_split(model.targets, nodes, split, seed)
        used = np.sort(self._examples.reshape(-1))
        self.model = dataclasses.replace(model, features=model.features[used], targets=model.targets[used])
        self._examples = np.searchsorted(used, self._examples)
        self.start = np.zeros(model.num_coordinates)
        self._peak = 0.5 / model.term_smoothness

    def rate(self, step: int) -> float:
        """Return 1 / (2 L sqrt(1 + t / 50))."""
        return float(self._peak / np.sqrt(1 + step / 50))

    def gradients(self, points: Floats, generator: np.random.Generator) -> Floats:
        """Return the gradient of one term at each node, drawn from its own examples."""
        nodes, repeats, _ = points.shape
        drawn = generator.integers(self._examples.shape[1], size=(nodes, repeats))
        terms = np.take_along_axis(self._examples, drawn, axis=1)
        return self.model.term_gradients(points, terms[..., None])[..., 0, :]

    def full_gradients(self, points: Floats) -> Floats:
        """Return the mean over each node's own examples."""
        return self.model.term_gradients(points, self._examples[:, None]).mean(axis=-2)

    def error(self, points: Floats) -> Floats:
        """Return f(x) - f*."""
        return np.array([self.model.gap(point) for point in points])

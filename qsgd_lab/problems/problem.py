"""The interface of a problem: noisy gradients of N nodes in R repetitions at once, and the true error."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Problem(ABC):
    """min f, f the mean of the nodes' functions, whose optimum is known.

    Attributes
    ----------
    start : ndarray of float64, shape (n,)
        Where all nodes begin.
    num_steps : int
        T, if the user names none.
    keeps_noise : bool
        Whether `gradients` makes one call of the generator, whose arguments follow from the class and the
        shape of the points. Its noise is then kept in memory for the next run.
    """

    start: Floats
    num_steps: int
    keeps_noise = False

    @property
    def num_coordinates(self) -> int:
        """The number of coordinates, n."""
        return int(self.start.size)

    @abstractmethod
    def rate(self, step: int) -> float:
        """Return the learning rate of a step, which counts from 0."""

    @abstractmethod
    def gradients(self, points: Floats, generator: np.random.Generator) -> Floats:
        """Return stochastic gradients.

        Parameters
        ----------
        points : ndarray of float64, shape (N, R, n)
            Where each node takes its gradient, in each repetition.
        generator : numpy.random.Generator
            What it draws must not depend on `points`: methods of one seed then meet the same noise.

        Returns
        -------
        ndarray of float64, shape (N, R, n)
        """

    def full_gradients(self, points: Floats) -> Floats:
        """Return the gradients of the nodes' own functions, without noise; points and shape as `gradients`.

        Raises
        ------
        ValueError
            If the problem has none: those of a plug-in need none but for variance-reduced methods.
        """
        raise ValueError(f"{type(self).__name__} has no full gradients, which the algorithm needs")

    @abstractmethod
    def error(self, points: Floats) -> Floats:
        """Return how far points, shape (R, n), are from the optimum, shape (R,); 0 there, never negative."""

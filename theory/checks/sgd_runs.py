"""Projected SGD with quantized gradients, many runs side by side: one call of the real quantizer a step."""

from __future__ import annotations

import numpy as np

from qsgd_lab.theory.arrays import Floats
from qsgd_lab.theory.checks.problems import LinearModel
from qsgd_lab.theory.code_length import NORM_BITS
from qsgd_lab.theory.dense_code_length import dense_level_bits


class SGDRuns:
    """R independent runs of K workers, from the start 0.

    Parameters
    ----------
    problem : LinearModel
    levels : int or None
        s, one bucket a gradient, l2 norm; None sends float64 as it is.
    workers, trials : int
        K and R.
    seed : int
        Of the examples and of the quantizer's random words.
    backend : str
        Of the quantizer.

    Attributes
    ----------
    bits_sent : float
        By all workers of all runs so far, in the dense omega code, norms included; 0 without a quantizer.
    """

    def __init__(
        self,
        problem: LinearModel,
        levels: int | None,
        workers: int,
        trials: int,
        seed: int,
        backend: str = "auto",
    ) -> None:
        self.problem, self.levels, self.seed, self.backend = problem, levels, seed, backend
        self.shape = (trials, workers, problem.num_coordinates)
        self.bits_sent = 0.0
        self._level_bits = dense_level_bits(levels) if levels is not None else None

    def mean_iterates(self, step: float, radius: float, num_steps: int) -> Floats:
        """Take T steps and return the means of the points after them, shape (R, n).

        Parameters
        ----------
        step : float
        radius : float
            Points are projected on the ball of this radius about 0.
        num_steps : int
            T.
        """
        generator = np.random.default_rng(self.seed)
        trials, workers, n = self.shape
        points, sums = np.zeros((trials, n)), np.zeros((trials, n))
        for number in range(num_steps):
            # The same examples for every quantizer at one seed, so that methods differ by quantization alone.
            terms = generator.integers(self.problem.num_terms, size=(trials, workers))
            received = self._send(self.problem.term_gradients(points, terms), number)
            points = _project(points - step * received.mean(axis=1), radius)
            sums += points
        return sums / num_steps

    def _send(self, gradients: Floats, number: int) -> Floats:
        if self.levels is None or self._level_bits is None:
            return gradients
        from qsgd_lab.quantization import dequantize, quantize

        trials, workers, n = self.shape
        # All runs in one call: each gradient is a tensor of its own, with words of its own.
        quantized = quantize(
            gradients.astype(np.float32).reshape(-1),
            levels=self.levels,
            bucket_size="tensor",
            tensor_sizes=(n,) * (trials * workers),
            seed=self.seed,
            step=number,
            backend=self.backend,
        )
        self.bits_sent += (
            float(self._level_bits[np.abs(quantized.levels)].sum()) + NORM_BITS * trials * workers
        )
        return np.asarray(dequantize(quantized, backend=self.backend), dtype=np.float64).reshape(self.shape)


def _project(points: Floats, radius: float) -> Floats:
    """Return the closest points, shape (R, n), of the ball about 0."""
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    # The maximum keeps points inside the ball from being divided by less than the radius.
    return np.asarray(points * np.minimum(1.0, radius / np.maximum(lengths, radius)))

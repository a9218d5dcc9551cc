r"""Convex problems with a known optimum: least squares and logistic regression on the embedded digits.

f(x) = (1/m) sum phi(a_j . x, b_j) + (ridge / 2) ||x||^2, the rows a_j of length one. Every constant that
the bounds ask for is computed from the data: smoothness, strong convexity, the optimum, and how large
gradients can become in a ball.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from qsgd_lab.theory.arrays import Floats

#: The ridge of the strongly convex problems.
RIDGE = 0.02
#: n, a square, so that s = sqrt(n) levels exist.
NUM_COORDINATES = 36
_NEWTON_STEPS = 30


class Loss(NamedTuple):
    """phi(z, b), a convex function of the prediction z.

    Attributes
    ----------
    value, slope, curvature : callable
        phi and its first two derivatives in z, of arrays (z, b).
    max_curvature : float
        The largest second derivative.
    slope_is_bounded : bool
        Whether the absolute value of the first derivative is at most 1.
    """

    value: Callable[[Floats, Floats], Floats]
    slope: Callable[[Floats, Floats], Floats]
    curvature: Callable[[Floats, Floats], Floats]
    max_curvature: float
    slope_is_bounded: bool


SQUARED = Loss(
    value=lambda z, b: (z - b) ** 2 / 2,
    slope=lambda z, b: z - b,
    curvature=lambda z, b: np.ones_like(z),  # noqa: ARG005
    max_curvature=1.0,
    slope_is_bounded=False,
)
LOGISTIC = Loss(
    value=lambda z, b: np.logaddexp(0, -b * z),
    slope=lambda z, b: -b * expit(-b * z),
    curvature=lambda z, b: expit(z) * expit(-z),  # noqa: ARG005
    max_curvature=0.25,
    slope_is_bounded=True,
)


@dataclass(frozen=True)
class LinearModel:
    """A regularised linear model on m examples of n features.

    Attributes
    ----------
    name : str
    features : ndarray of float64, shape (m, n)
    targets : ndarray of float64, shape (m,)
        -1 or 1.
    loss : Loss
    ridge : float
    """

    name: str
    features: Floats
    targets: Floats
    loss: Loss
    ridge: float

    @property
    def num_terms(self) -> int:
        """The number of examples, m."""
        return int(self.targets.size)

    @property
    def num_coordinates(self) -> int:
        """The number of features, n."""
        return int(self.features.shape[1])

    def value(self, point: Floats) -> float:
        """Return f(x)."""
        data = self.loss.value(self.features @ point, self.targets).mean()
        return float(data + self.ridge / 2 * point @ point)

    def gradient(self, point: Floats) -> Floats:
        """Return grad f(x), shape (n,)."""
        slopes = self.loss.slope(self.features @ point, self.targets)
        return slopes @ self.features / self.num_terms + self.ridge * point

    def term_gradients(self, point: Floats, terms: NDArray[np.int64]) -> Floats:
        """Return grad f_j(x) for terms j, shape (..., K), at points x, shape (..., n): shape (..., K, n)."""
        rows = self.features[terms]
        slopes = self.loss.slope(np.einsum("...kn,...n->...k", rows, point), self.targets[terms])
        return slopes[..., None] * rows + self.ridge * point[..., None, :]

    def hessian(self, point: Floats) -> Floats:
        """Return the Hessian of f at x, shape (n, n)."""
        weights = self.loss.curvature(self.features @ point, self.targets)
        data = (self.features * weights[:, None]).T @ self.features / self.num_terms
        return data + self.ridge * np.eye(self.num_coordinates)

    @cached_property
    def optimum(self) -> Floats:
        """x*, shape (n,), by Newton's method; of least length if there are several."""
        point = np.zeros(self.num_coordinates)
        for _ in range(_NEWTON_STEPS):
            point = point - np.linalg.lstsq(self.hessian(point), self.gradient(point), rcond=1e-12)[0]
        return point

    def gap(self, point: Floats) -> float:
        """Return f(x) - f*, not below 0."""
        return max(self.value(point) - self.value(self.optimum), 0.0)

    @cached_property
    def smoothness(self) -> float:
        """L of f."""
        return self.loss.max_curvature * self._largest_eigenvalue(np.ones(self.num_terms)) + self.ridge

    @cached_property
    def term_smoothness(self) -> float:
        """L of every term."""
        return float(self.loss.max_curvature * self._squared_lengths.max() + self.ridge)

    @property
    def strong_convexity(self) -> float:
        """The number l with f - (l / 2) ||x||^2 convex: the ridge alone, though data may add to it."""
        return self.ridge

    def second_moment_in(self, radius: float) -> float:
        """Return B >= E||grad f_j(x)||^2 over the ball ||x|| <= `radius`, j drawn evenly."""
        return float((np.sqrt(self.variance_in(radius)) + self.ridge * radius) ** 2)

    def variance_in(self, radius: float) -> float:
        """Return sigma^2 >= E||grad f_j(x) - grad f(x)||^2 over the ball ||x|| <= `radius`.

        The ridge's part is the same for all terms. Of the rest, the second moment is taken, and Minkowski's
        inequality where the slope z - b is not bounded.
        """
        lengths = self._squared_lengths
        if self.loss.slope_is_bounded:
            return float(lengths.mean())
        predictions = np.sqrt(self._moment_eigenvalue) * radius
        return float((predictions + np.sqrt((self.targets**2 * lengths).mean())) ** 2)

    @cached_property
    def _squared_lengths(self) -> Floats:
        return np.asarray(np.einsum("mn,mn->m", self.features, self.features))

    @cached_property
    def _moment_eigenvalue(self) -> float:
        return self._largest_eigenvalue(self._squared_lengths)

    def _largest_eigenvalue(self, weights: Floats) -> float:
        """Return the largest eigenvalue of the mean of weight_j a_j a_j^T."""
        weighted = (self.features * weights[:, None]).T @ self.features / self.num_terms
        return float(np.linalg.eigvalsh(weighted)[-1])


@cache
def _digits() -> tuple[Floats, Floats]:
    """Return features of length one, shape (1797, 36), and -1 or 1 for digits below 5 or not.

    The pixels' 36 leading principal components, each of variance one: no direction is so flat that its part
    of the optimum is out of reach. Both are read-only: all problems share them.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    components = np.linalg.svd(source.data - source.data.mean(axis=0), full_matrices=False)[0]
    features = components[:, :NUM_COORDINATES]
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    made = features / lengths, np.where(source.target < 5, -1.0, 1.0)
    for array in made:
        array.flags.writeable = False
    return made


def least_squares() -> LinearModel:
    """Return least squares without a ridge: for the bounds, convex and smooth."""
    return LinearModel("least-squares", *_digits(), SQUARED, 0.0)


def ridge_regression() -> LinearModel:
    """Return least squares with a ridge: smooth and strongly convex."""
    return LinearModel("ridge", *_digits(), SQUARED, RIDGE)


def logistic_regression() -> LinearModel:
    """Return logistic regression with a ridge: smooth and strongly convex."""
    return LinearModel("logistic", *_digits(), LOGISTIC, RIDGE)


#: Name -> problem.
PROBLEMS: dict[str, Callable[[], LinearModel]] = {
    "least-squares": least_squares,
    "ridge": ridge_regression,
    "logistic": logistic_regression,
}

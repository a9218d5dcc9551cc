"""The convex tasks of the pinned benchmark, of a few thousand coordinates: a message's frame is small in it.

The rate rises linearly over the first tenth of the T steps and then falls linearly to zero.

References
----------
docs/benchmark.md.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from qsgd_lab.data.node_split import node_split
from qsgd_lab.problems.problem import Floats, Problem
from qsgd_lab.stream import Purpose, generator

DIMENSION = 4096
NUM_STEPS = 512
_WARM_UP = 0.1


class Scheduled(Problem):
    """A problem whose rate rises, and falls to zero, around a peak of its own.

    Attributes
    ----------
    peak : float
        The rate at a factor of 1.
    """

    num_steps = NUM_STEPS
    keeps_noise = True
    peak: float

    def rate(self, step: int) -> float:
        """Return the rate of a step of `num_steps`."""
        done, first = (step + 1) / self.num_steps, _WARM_UP
        return self.peak * min(done / first, (1 - step / self.num_steps) / (1 - first), 1.0)


class Curved(Scheduled):
    """Quadratics: node i has sum h_ij (x_j - c_ij)^2 / 2; the mean curvatures span a factor of `condition`.

    Each node's curvatures are 0.2 to 1.8 of the mean and c_ij is normal with deviation 1/2, so that local
    steps drift apart. Noise has the standard deviation sqrt(h_j), h_j the mean curvature; the start is 2.

    Parameters
    ----------
    nodes : int
    seed : int
        Of curvatures, optima and their order.
    dimension : int
    condition : float
        Largest over least mean curvature.
    is_alike : bool
        All curvatures are equal: the task that the admission test refuses, as local methods and synchronous
        SGD then agree in the mean.
    """

    peak = 0.25

    def __init__(
        self,
        nodes: int,
        seed: int = 0,
        dimension: int = DIMENSION,
        condition: float = 50.0,
        *,
        is_alike: bool = False,
    ) -> None:
        words = generator(seed, Purpose.SYNTHETIC_DATA, nodes)
        mean = words.permutation(condition ** -np.linspace(0, 1, dimension))
        own = words.uniform(0.2, 1.8, (nodes, 1, dimension))
        centres = words.standard_normal((nodes, 1, dimension)) / 2
        if is_alike:
            mean, own = np.full(dimension, 0.25), np.ones_like(own)
        self.curvatures = mean * own / own.mean(axis=0)
        self.centres, self.mean_curvature = centres, mean
        self.optimum = (self.curvatures * centres).mean(axis=(0, 1)) / mean
        self.deviation, self.start = np.sqrt(mean).astype(np.float32), np.full(dimension, 2.0)

    def full_gradients(self, points: Floats) -> Floats:
        """Return h (x - c)."""
        gradients = points - self.centres
        gradients *= self.curvatures
        return np.asarray(gradients)

    def gradients(self, points: Floats, generator: np.random.Generator) -> Floats:
        """Return each node's own gradient and normal noise."""
        noise = generator.standard_normal(points.shape, dtype=np.float32)
        noise *= self.deviation
        gradients = self.full_gradients(points)
        gradients += noise
        return gradients

    def error(self, points: Floats) -> Floats:
        """Return f(x) - f*."""
        return np.asarray(((points - self.optimum) ** 2 @ self.mean_curvature) / 2)


class ManyKinks(Scheduled):
    """Sums of a_j phi(x_j), phi' = y below 0 and 4 y above; noise of deviation a_j; all nodes alike.

    Averages of noisy local models are displaced towards the flatter side of each kink. The start is -3, on
    the flat side: few large steps do not reach the optimum, as the steep side limits their rate.

    Parameters
    ----------
    nodes : int
        Unused but for the order of the words.
    seed : int
        Of the scales a_j, log-uniform from 0.05 to 1.
    dimension : int
    """

    peak = 0.25

    def __init__(self, nodes: int, seed: int = 0, dimension: int = DIMENSION) -> None:
        words = generator(seed, Purpose.SYNTHETIC_DATA, nodes)
        self.scales = 0.05 ** words.random(dimension)
        self.deviation, self.start = self.scales.astype(np.float32), np.full(dimension, -3.0)

    def full_gradients(self, points: Floats) -> Floats:
        """Return a phi'(x)."""
        gradients = 4 * points
        np.copyto(gradients, points, where=points < 0)
        gradients *= self.scales
        return gradients

    def gradients(self, points: Floats, generator: np.random.Generator) -> Floats:
        """Return the gradient and normal noise."""
        noise = generator.standard_normal(points.shape, dtype=np.float32)
        noise *= self.deviation
        gradients = self.full_gradients(points)
        gradients += noise
        return gradients

    def error(self, points: Floats) -> Floats:
        """Return f(x), as f* = 0."""
        return np.asarray(np.where(points < 0, 0.5, 2.0) * points**2 @ self.scales)


class SoftmaxDigits(Scheduled):
    """Softmax regression on 408 fixed features of the digits and a constant: n = 4,090, batch 8, l2 1e-3.

    A feature is the positive part of a random sum of pixels; features are whole numbers over a power of two,
    so that they are the same on every machine. f* is found to about 1e-10 by a quasi-Newton method.

    Parameters
    ----------
    nodes : int
    split : str
        As `qsgd_lab.data.node_split.node_split`.
    seed : int
        Of the split.
    """

    peak = 2.0
    batch = 8
    ridge = 1e-3
    num_features = 409
    num_classes = 10

    def __init__(self, nodes: int, split: str = "dirichlet:0.1", seed: int = 0) -> None:
        features, labels = _digit_features(self.num_features)
        examples = node_split(labels, nodes, split, seed)
        used = np.sort(examples.reshape(-1))
        self.examples = np.searchsorted(used, examples)
        self.features, self.targets = features[used], np.eye(self.num_classes)[labels[used]]
        self.start = np.zeros(self.num_features * self.num_classes)

    @property
    def least(self) -> float:
        """The least value f*."""
        return _least(self)

    def _slopes(self, points: Floats, rows: Floats, targets: Floats) -> Floats:
        """Return mean gradients at points, shape (..., n), over rows, shape (..., K, features)."""
        weights = points.reshape(*points.shape[:-1], self.num_features, self.num_classes)
        errors = softmax(rows @ weights, axis=-1) - targets
        slopes = np.swapaxes(rows, -1, -2) @ errors / rows.shape[-2]
        return np.asarray(slopes.reshape(points.shape) + self.ridge * points)

    def full_gradients(self, points: Floats) -> Floats:
        """Return the mean over each node's own examples."""
        rows = [
            self._slopes(own, self.features[drawn], self.targets[drawn])
            for own, drawn in zip(points, self.examples, strict=True)
        ]
        return np.array(rows)

    def gradients(self, points: Floats, generator: np.random.Generator) -> Floats:
        """Return the mean gradient of 8 examples of each node's own, drawn with repetition."""
        nodes, repeats, _ = points.shape
        drawn = generator.integers(self.examples.shape[1], size=(nodes, repeats, self.batch))
        terms = self.examples[np.arange(nodes)[:, None, None], drawn]
        return self._slopes(points, self.features[terms], self.targets[terms])

    def value(self, point: Floats) -> float:
        """Return f(x)."""
        weights = point.reshape(self.num_features, self.num_classes)
        losses = -(log_softmax(self.features @ weights, axis=1) * self.targets).sum(axis=1)
        return float(losses.mean() + self.ridge / 2 * point @ point)

    def error(self, points: Floats) -> Floats:
        """Return f(x) - f*, not below 0."""
        return np.array([max(self.value(point) - self.least, 0.0) for point in points])


@cache
def _digit_features(count: int) -> tuple[Floats, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Return features, shape (1797, count), and classes, shape (1797,)."""
    from sklearn.datasets import load_digits

    source = load_digits()
    words = generator(0, Purpose.SYNTHETIC_DATA, count)
    pixels = source.data.astype(np.int64)
    mixed = pixels @ words.integers(-2, 3, (pixels.shape[1], count - 1)) + words.integers(-64, 65, count - 1)
    # A row has a length of about 6: the ridge then leaves a loss well below that of a guess.
    features = np.concatenate([np.maximum(mixed, 0) / 256, np.ones((len(pixels), 1))], axis=1)
    return features, source.target.astype(np.int64)


_known_least: dict[tuple[object, ...], float] = {}


def _least(problem: SoftmaxDigits) -> float:
    # Which examples a split leaves out changes f, and no more of it does.
    key = (problem.targets.shape, problem.targets.tobytes(), float(problem.features.sum()))
    if key not in _known_least:
        features, targets, ridge = problem.features, problem.targets, problem.ridge

        def value_and_slope(point: Floats) -> tuple[float, Floats]:
            weights = point.reshape(features.shape[1], -1)
            scores = log_softmax(features @ weights, axis=1)
            slope = features.T @ (np.exp(scores) - targets) / len(targets) + ridge * weights
            loss = -(scores * targets).sum() / len(targets) + ridge / 2 * point @ point
            return float(loss), slope.reshape(-1)

        limits = {"maxiter": 5000, "maxfun": 6000, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 30}
        found = minimize(value_and_slope, problem.start, jac=True, method="L-BFGS-B", options=limits)
        # By strong convexity f(x) - f* is at most ||grad f(x)||^2 / (2 ridge).
        _known_least[key] = float(found.fun)
    return _known_least[key]

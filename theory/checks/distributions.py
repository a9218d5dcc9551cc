"""Vectors to measure on: named distributions of coordinates, each a function of (n, generator).

`worst-case` is not here: it depends on the quantizer, see `qsgd_lab.theory.variance.worst_case_vector`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.levels import NORMS, Norm
from qsgd_lab.theory.arguments import choice, whole
from qsgd_lab.theory.variance import worst_case_vector

WORST_CASE = "worst-case"

#: Degrees of freedom of `student`: the fewest integer number with a finite variance.
STUDENT_DEGREES = 3


def _onehot(n: int, generator: np.random.Generator) -> NDArray[np.float64]:
    vector = np.zeros(n)
    vector[generator.integers(n)] = 1.0
    return vector


#: Name -> sampler of n float64 coordinates.
DISTRIBUTIONS: dict[str, Callable[[int, np.random.Generator], NDArray[np.float64]]] = {
    "normal": lambda n, generator: generator.standard_normal(n),
    "laplace": lambda n, generator: generator.laplace(size=n),
    "student": lambda n, generator: generator.standard_t(STUDENT_DEGREES, n),
    "lognormal": lambda n, generator: generator.lognormal(size=n) * generator.choice((-1.0, 1.0), n),
    "cauchy": lambda n, generator: generator.standard_cauchy(n),
    "onehot": _onehot,
    "constant": lambda n, generator: np.ones(n),  # noqa: ARG005
}

DISTRIBUTION_NAMES = (*DISTRIBUTIONS, WORST_CASE)


def draw(
    name: str, num_coordinates: int, *, seed: int, num_levels: int, norm: Norm, bucket_size: int
) -> NDArray[np.float32]:
    """Return a float32 vector, shape (n,), from a named distribution.

    Parameters
    ----------
    name : str
        One of `DISTRIBUTION_NAMES`.
    num_coordinates : int
        n >= 1.
    seed : int
        Of NumPy's PCG64, at least 0; a vector does not depend on the quantizer, except for `worst-case`.
    num_levels, norm, bucket_size
        Used by `worst-case` alone: every bucket then holds the vector that attains the supremum.

    Raises
    ------
    ValueError
        If the name is unknown, or another argument is out of its range.
    """
    n, seed = whole("num_coordinates", num_coordinates), whole("seed", seed, least=0)
    num_levels, bucket_size = whole("num_levels", num_levels), whole("bucket_size", bucket_size)
    choice("norm", norm, NORMS)
    if name == WORST_CASE:
        return _worst_case(n, num_levels, norm, bucket_size)
    choice("distribution", name, DISTRIBUTION_NAMES)
    generator = np.random.default_rng(seed)
    return DISTRIBUTIONS[name](n, generator).astype(np.float32)


def _worst_case(n: int, num_levels: int, norm: Norm, bucket_size: int) -> NDArray[np.float32]:
    """Fill the buckets with worst cases, the short last one with its own."""
    size = min(bucket_size, n)
    full, rest = divmod(n, size)
    parts = [np.tile(worst_case_vector(size, num_levels, norm=norm), full)]
    if rest:
        parts.append(worst_case_vector(rest, num_levels, norm=norm))
    return np.concatenate(parts).astype(np.float32)

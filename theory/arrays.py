"""The array type of the formulas, and how their parameters broadcast."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def broadcast(*parameters: ArrayLike) -> tuple[Floats, ...]:
    """Return parameters of a formula as float64 arrays of one shape.

    Examples
    --------
    >>> broadcast(2, [3, 4])
    (array([2., 2.]), array([3., 4.]))
    """
    return tuple(np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in parameters)))


def size_and_levels(num_coordinates: ArrayLike, num_levels: ArrayLike) -> tuple[Floats, Floats]:
    """Return n and s broadcast.

    Raises
    ------
    ValueError
        If some n < 1 or some s <= 0.
    """
    n, s = broadcast(num_coordinates, num_levels)
    if (n < 1).any() or (s <= 0).any():
        raise ValueError("a bound needs num_coordinates >= 1 and num_levels > 0")
    return n, s


def weighted_counts(indices: NDArray[np.int64], weights: Floats, size: int = 0) -> Floats:
    """Return the sums of the weights by index, shape (max(size, largest index + 1),).

    Examples
    --------
    >>> weighted_counts(np.array([0, 2, 2]), np.array([1.0, 0.5, 0.25]))
    array([1.  , 0.  , 0.75])
    """
    return np.bincount(indices, weights, minlength=size).astype(np.float64)

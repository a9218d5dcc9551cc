"""PowerSGD: the best error of its rank, and what its factors cost.

References
----------
Vogels, Karimireddy, Jaggi: PowerSGD. NeurIPS 2019. Eckart, Young 1936: no matrix of rank r is closer than
that of the r largest singular values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.theory import arguments
from qsgd_lab.theory.arrays import Floats, in_squared_units


def best_error(matrix: ArrayLike, rank: int) -> float:
    """Return the least ||A - M||^2 of a matrix A of rank r: the sum of the other singular values' squares.

    Steps of PowerSGD on the same matrix approach it.

    Parameters
    ----------
    matrix : array_like, shape (a, b)
    rank : int
        At least 1.

    Raises
    ------
    ValueError
        If an argument is out of range, or the sum does not fit in float64.

    Examples
    --------
    >>> round(best_error([[3, 0], [0, 2]], 1), 12)
    4.0
    """
    m, r = arguments.matrix("matrix", matrix), arguments.whole("rank", rank)

    def error(scaled: Floats) -> float:
        left_out = np.linalg.svd(scaled, compute_uv=False)[r:]
        return float(left_out @ left_out)

    return in_squared_units(m, error, "the error")


def floats(shape: Sequence[int], rank: int) -> int:
    """Return the float32 numbers that a tensor takes: r (a + b) if that is at most half of it, else all.

    Parameters
    ----------
    shape : sequence of int
        Each at least 0; none for a number alone.
    rank : int
        At least 1.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> floats((256, 128, 3, 3), 2), floats((256,), 2)
    (2816, 256)
    """
    r, lengths = arguments.whole("rank", rank), arguments.sizes("shape", shape)
    size = math.prod(lengths)
    if len(lengths) < 2 or size == 0:
        return size
    a, b = lengths[0], size // lengths[0]
    factors = min(r, a, b) * (a + b)
    return factors if 2 * factors <= size else size


def expected_error(gradient: ArrayLike, rank: int = 2) -> float:
    """Return 0: a vector has one dimension and is sent as it is. See `best_error` of matrices."""
    arguments.vector("gradient", gradient)
    arguments.whole("rank", rank)
    return 0.0


def expected_bits(num_coordinates: int, rank: int = 2) -> int:
    """Return 32 bits for each of the `floats` of a vector."""
    return 32 * floats((arguments.whole("num_coordinates", num_coordinates),), rank)

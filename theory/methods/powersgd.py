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

from qsgd_lab.theory.arguments import numbers, whole


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
        If an argument is out of range.

    Examples
    --------
    >>> best_error([[3, 0], [0, 2]], 1)
    4.0
    """
    m = numbers("matrix", matrix)
    if m.ndim != 2:
        raise ValueError(f"matrix has {m.ndim} dimensions; it must have two")
    values = np.linalg.svd(m, compute_uv=False)[whole("rank", rank) :]
    return float(values @ values)


def floats(shape: Sequence[int], rank: int) -> int:
    """Return the float32 numbers that a tensor takes: r (a + b) if that is at most half of it, else all.

    Examples
    --------
    >>> floats((256, 128, 3, 3), 2), floats((256,), 2)
    (2816, 256)
    """
    r, size = whole("rank", rank), math.prod(shape)
    if len(shape) < 2 or size == 0:
        return size
    a, b = shape[0], size // shape[0]
    factors = min(r, a, b) * (a + b)
    return factors if 2 * factors <= size else size

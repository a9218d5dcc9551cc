"""Top-K sparsification: its error, its worst case, and its size.

References
----------
Stich, Cordonnier, Jaggi: Sparsified SGD with memory. NeurIPS 2018, section 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.theory.arguments import whole


def squared_error(vector: ArrayLike, k: int) -> float:
    """Return ||Q(v) - v||^2: the sum of the squares of the n - k smallest magnitudes.

    Parameters
    ----------
    vector : array_like of float, shape (n,)
    k : int
        0 to n.

    Raises
    ------
    ValueError
        If k is out of range.
    """
    magnitudes = np.sort(np.abs(np.asarray(vector, np.float64)).reshape(-1))
    whole("k", k, least=0, most=magnitudes.size)
    kept = magnitudes[: magnitudes.size - k]
    return float(kept @ kept)


def worst_case(num_coordinates: int, k: int) -> float:
    """Return the supremum of ||Q(v) - v||^2 / ||v||^2, 1 - k/n: attained where all magnitudes are equal.

    Raises
    ------
    ValueError
        If k is out of range, or there are no coordinates.
    """
    whole("num_coordinates", num_coordinates)
    whole("k", k, least=0, most=num_coordinates)
    return 1 - k / num_coordinates


def contraction(num_coordinates: int, k: int) -> float:
    """Return delta = k/n with ||Q(v) - v||^2 <= (1 - delta) ||v||^2."""
    return 1 - worst_case(num_coordinates, k)


def bits(num_coordinates: int, k: int) -> int:
    """Return the bits of k indices at fixed width and k float32 values, nothing around them.

    Raises
    ------
    ValueError
        If k is out of range.
    """
    whole("num_coordinates", num_coordinates, least=0)
    whole("k", k, least=0, most=num_coordinates)
    return k * (max(1, (num_coordinates - 1).bit_length()) + 32)

"""Top-K sparsification: its error, its worst case, and its size.

References
----------
Stich, Cordonnier, Jaggi: Sparsified SGD with memory. NeurIPS 2018, section 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from qsgd_lab.theory import arguments
from qsgd_lab.theory.arguments import number, whole
from qsgd_lab.theory.arrays import in_squared_units


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
        If k is out of range, the vector is empty or has no finite real coordinates only, or the sum does not
        fit in float64.
    """
    magnitudes = np.sort(np.abs(arguments.vector("vector", vector)))
    left_out = magnitudes[: magnitudes.size - whole("k", k, least=0, most=magnitudes.size)]
    # Scaled without the others, beside which they could vanish.
    return in_squared_units(left_out, lambda w: float(w @ w), "the error") if left_out.size else 0.0


def worst_case(num_coordinates: int, k: int) -> float:
    """Return the supremum of ||Q(v) - v||^2 / ||v||^2, 1 - k/n: attained where all magnitudes are equal.

    Raises
    ------
    ValueError
        If k is out of range, or there are no coordinates.
    """
    n = whole("num_coordinates", num_coordinates)
    return 1 - whole("k", k, least=0, most=n) / n


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
    n = whole("num_coordinates", num_coordinates, least=0)
    return whole("k", k, least=0, most=n) * (max(1, (n - 1).bit_length()) + 32)


def kept(fraction: float, num_coordinates: int) -> int:
    """Return k = max(1, round(fraction n)) of n >= 1 coordinates.

    Raises
    ------
    ValueError
        If the fraction is not above 0 and at most 1.
    """
    share = number("fraction", fraction, above=0, most=1)
    return max(1, round(share * whole("num_coordinates", num_coordinates)))


def expected_error(gradient: ArrayLike, fraction: float = 0.01) -> float:
    """Return ||Q(v) - v||^2 under the method's options."""
    values = arguments.vector("gradient", gradient)
    return squared_error(values, kept(fraction, values.size))


def expected_bits(num_coordinates: int, fraction: float = 0.01) -> int:
    """Return the bits of k indices at fixed width and k values; coded indices take fewer."""
    return bits(num_coordinates, kept(fraction, num_coordinates))

"""Rand-K: k random coordinates of n, times n/k (unbiased) or as they are (a contraction).

References
----------
Stich, Cordonnier, Jaggi: Sparsified SGD with memory. NeurIPS 2018, section 2.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from qsgd_lab.theory.arguments import choice, number, vector, whole
from qsgd_lab.theory.arrays import in_squared_units, representable
from qsgd_lab.theory.methods.top_k import kept

VALUES = ("unbiased", "plain")


def relative_error(num_coordinates: int, k: int, values: str = "unbiased") -> float:
    """Return E||Q(v) - v||^2 / ||v||^2, the same for every v: n/k - 1, or 1 - k/n for plain values.

    Raises
    ------
    ValueError
        If k is not from 1 to n, or `values` is unknown.

    Examples
    --------
    >>> relative_error(100, 25), relative_error(100, 25, "plain")
    (3.0, 0.75)
    """
    n = whole("num_coordinates", num_coordinates)
    k = whole("k", k, most=n)
    choice("values", values, VALUES)
    return n / k - 1 if values == "unbiased" else 1 - k / n


@representable()
def mean_error(
    num_coordinates: int, k: int, squares: float, square_of_mean: float, nodes: int, mask: str
) -> float:
    """Return E||mean of Q(v_i) - mean of v_i||^2 of N nodes with unbiased values.

    Masks of their own: (n/k - 1) mean ||v_i||^2 / N. A shared mask: (n/k - 1) ||mean v_i||^2.

    Parameters
    ----------
    num_coordinates, k : int
    squares, square_of_mean : float
        The mean of ||v_i||^2 over the nodes, and the squared norm of the mean of v_i.
    nodes : int
    mask : {"own", "shared"}

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    choice("mask", mask, ("own", "shared"))
    own = number("squares", squares, least=0) / whole("nodes", nodes)
    shared = number("square_of_mean", square_of_mean, least=0)
    each = own if mask == "own" else shared
    return relative_error(num_coordinates, k) * each


def expected_error(
    gradient: ArrayLike, fraction: float = 0.01, values: str = "unbiased", **_: object
) -> float:
    """Return E||Q(v) - v||^2 under the method's options."""
    found = vector("gradient", gradient)
    relative = relative_error(found.size, kept(fraction, found.size), values)
    return in_squared_units(found, lambda w: relative * float(w @ w), "the error")


def expected_bits(num_coordinates: int, fraction: float = 0.01, **_: object) -> int:
    """Return 32 k: positions follow from the key."""
    return 32 * kept(fraction, num_coordinates)

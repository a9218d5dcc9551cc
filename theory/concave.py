"""Least concave majorants: how "for every vector" follows from one coordinate, by Jensen's inequality."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.theory.arguments import numbers
from qsgd_lab.theory.arrays import Floats


def majorant_knots(x: Floats, y: Floats) -> NDArray[np.int64]:
    """Return the indices of the corners of the least concave majorant of points (x_i, y_i).

    Parameters
    ----------
    x : ndarray of float64, shape (m,)
        Strictly increasing.
    y : ndarray of float64, shape (m,)

    Returns
    -------
    ndarray of int64, shape (h,)
        Interpolating the points at these indices gives the majorant (Andrew's monotone chain, upper half).

    Raises
    ------
    ValueError
        If the x do not increase, or there are not as many y.

    Examples
    --------
    >>> majorant_knots(np.array([0.0, 1, 2, 3]), np.array([0.0, 2, 1, 3]))
    array([0, 1, 3])
    """
    x, y = numbers("x", x).reshape(-1), numbers("y", y).reshape(-1)
    if x.size != y.size or (np.diff(x) <= 0).any():
        raise ValueError("x must increase strictly, and have as many numbers as y")
    corners: list[int] = []
    for i in range(x.size):
        # A corner under the chord of its neighbours is none.
        while len(corners) >= 2 and _is_under(x, y, corners[-2], corners[-1], i):
            corners.pop()
        corners.append(i)
    return np.array(corners)


def _is_under(x: Floats, y: Floats, left: int, middle: int, right: int) -> bool:
    """Whether the middle point is on or under the segment from left to right."""
    rise, run = y[right] - y[left], x[right] - x[left]
    return bool((y[middle] - y[left]) * run <= rise * (x[middle] - x[left]))

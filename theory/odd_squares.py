r"""Whole numbers that are sums of n odd squares: there half-integer positions fit an l2 norm exactly.

Quantizing errs most at half-integer positions c_i / 2, c_i odd, and the squared positions of an l2 bucket
must add up to s^2. So the exact worst cases at finite n ask how close to 4 s^2 a sum of n odd squares comes.

An odd square is 8 t + 1 with t = k (k + 1) / 2 a triangular number (c = 2 k + 1). Every whole number is a
sum of three triangular numbers (Gauss 1796), hence for n >= 3 exactly the numbers n, n + 8, n + 16, ... are
sums of n odd squares. One and two squares are looked up.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.theory.arguments import whole


def is_sum_of_odd_squares(total: int, count: int) -> bool:
    """Whether `total` is a sum of `count` >= 1 squares of odd numbers; `total` < 2^52.

    O(1), and O(sqrt(total)) for two squares.

    Raises
    ------
    ValueError
        If an argument is not a whole number, or `count` is below 1.

    Examples
    --------
    >>> [total for total in range(40) if is_sum_of_odd_squares(total, 2)]
    [2, 10, 18, 26, 34]
    """
    total, count = whole("total", total, least=0, most=2**52), whole("count", count)
    if total < count or (total - count) % 8:
        return False
    return count > 2 or bool(_few_odd_roots(total, count))


def odd_roots(total: int, count: int) -> NDArray[np.int64]:
    """Return `count` odd numbers whose squares add up to `total`, nearly equal, shape (count,).

    Raises
    ------
    ValueError
        If there are none, or as in `is_sum_of_odd_squares`.

    Examples
    --------
    >>> odd_roots(4 * 36, 8)  # 4 s^2 at s = 6, n = 8: positions 3/2 and 5/2
    array([5, 5, 5, 5, 3, 3, 1, 5])
    """
    if not is_sum_of_odd_squares(total, count):
        raise ValueError(f"total is {total}; it must be a sum of {count} odd squares")
    if count < 3:
        return np.array(_few_odd_roots(total, count))
    # All but three get k or k + 1 for the triangular numbers' index; three take what is left (Gauss).
    triangles = (total - count) // 8
    k = (int(np.sqrt(1 + 8 * triangles / count)) - 1) // 2
    even, base = count - 3, k * (k + 1) // 2
    raised = min(even, (triangles - count * base) // (k + 1))
    left = triangles - even * base - raised * (k + 1)
    head = np.repeat([2 * k + 3, 2 * k + 1], [raised, even - raised])
    return np.concatenate([head, _few_odd_roots(8 * left + 3, 3)])


@lru_cache(maxsize=4096)
def _few_odd_roots(total: int, count: int) -> tuple[int, ...]:
    """Return one, two or three odd numbers whose squares add up to `total`, or () if there are none."""
    if count == 1:
        root = int(np.sqrt(total))
        return (root,) if root % 2 and root * root == total else ()
    # The smallest root is at most the root of the mean; from there down, so that the roots stay alike.
    smallest = np.arange(_odd_up_to(total / count), 0, -2)
    if count == 2:
        rest = total - smallest**2
        roots = np.sqrt(rest).astype(np.int64)
        hits = np.flatnonzero(roots**2 == rest)
        return (int(smallest[hits[0]]), int(roots[hits[0]])) if hits.size else ()
    for root in smallest.tolist():
        pair = _few_odd_roots(total - root**2, 2)
        if pair:
            return (root, *pair)
    return ()


def _odd_up_to(square: float) -> int:
    """Return the largest odd number whose square is at most `square`, or -1."""
    root = int(np.sqrt(square))
    return root - 1 + root % 2

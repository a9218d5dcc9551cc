"""GRBS: one random block of R, the same at all nodes.

References
----------
Xie, Zheng, Koyejo, Gupta, Li, Lin: CSER. NeurIPS 2020.
"""

from __future__ import annotations

from itertools import pairwise

from numpy.typing import ArrayLike

from qsgd_lab.theory.arguments import vector, whole
from qsgd_lab.theory.arrays import in_squared_units
from qsgd_lab.theory.methods.rand_k import relative_error


def block_sizes(num_coordinates: int, ratio: int) -> list[int]:
    """Return the sizes of the blocks, which sum to n: coordinate i is in block floor(i R / n).

    Examples
    --------
    >>> block_sizes(10, 4)
    [3, 2, 3, 2]
    """
    n = whole("num_coordinates", num_coordinates)
    count = min(whole("ratio", ratio), n)
    ends = [-(-block * n // count) for block in range(count + 1)]
    return [stop - start for start, stop in pairwise(ends)]


def expected_error(gradient: ArrayLike, ratio: int = 32, values: str = "plain") -> float:
    """Return E||Q(v) - v||^2 exactly: 1 - 1/R of ||v||^2, or R - 1 for unbiased values.

    Each coordinate is in the drawn block with probability 1/R, whatever the sizes of the blocks.
    """
    found = vector("gradient", gradient)
    relative = relative_error(len(block_sizes(found.size, ratio)), 1, values)
    return in_squared_units(found, lambda w: relative * float(w @ w), "the error")


def expected_bits(num_coordinates: int, ratio: int = 32, **_: object) -> float:
    """Return the mean bits of a block, 32 n / R."""
    sizes = block_sizes(num_coordinates, ratio)
    return 32 * sum(sizes) / len(sizes)

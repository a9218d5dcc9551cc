"""Selection of the largest keys in plain NumPy: no code of the kernels, whose every position it predicts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def largest(
    keys: NDArray[np.uint32], count: int, cleared: int = 0xFFFFFFFF, flipped: int = 0
) -> NDArray[np.int64]:
    """Return the positions of the `count` largest ``(key & cleared) ^ flipped``, ascending, ties the first.

    `count` is at least 1 and at most the number of keys.
    """
    order = (keys & np.uint32(cleared)) ^ np.uint32(flipped)
    least = np.partition(order, order.size - count)[order.size - count]
    above = np.flatnonzero(order > least)
    equal = np.flatnonzero(order == least)[: count - above.size]
    return np.sort(np.concatenate([above, equal]))

"""Lengths of the Elias codewords of positive integers; codes start at 1.

====  =====  =====  =====
 k    gamma  delta  omega
====  =====  =====  =====
 1      1      1      1
 2      3      4      3
 3      3      4      3
 4      5      5      6
 7      5      5      6
 8      7      8      7
16      9      9     11
====  =====  =====  =====

All three depend on floor(log2 k) alone, which is what makes exact accounting without coding possible.

References
----------
Elias: Universal codeword sets and representations of the integers. IEEE Trans. Inf. Theory 21(2), 1975.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_LANE_BITS = 21


def _floor_log2(k: int) -> int:
    if k < 1:
        raise ValueError(f"Elias codes start at 1, got {k}")
    return int(k).bit_length() - 1


def gamma_length(k: int) -> int:
    """Return the bits of the gamma codeword of k: 2 floor(log2 k) + 1."""
    return 2 * _floor_log2(k) + 1


def delta_length(k: int) -> int:
    """Return the bits of the delta codeword of k: floor(log2 k) and the gamma codeword of its successor."""
    exponent = _floor_log2(k)
    return exponent + gamma_length(exponent + 1)


def omega_length(k: int) -> int:
    """Return the bits of the omega codeword of k, the recursive code of the QSGD paper.

    |w(1)| = 1 and |w(k)| = 1 + t + |w(t)| with t = floor(log2 k).
    """
    exponent = _floor_log2(k)
    return 1 if exponent == 0 else 1 + exponent + omega_length(exponent)


#: Code -> length of a codeword in bits.
LENGTHS: dict[str, Callable[[int], int]] = {
    "gamma": gamma_length,
    "delta": delta_length,
    "omega": omega_length,
}


@lru_cache(maxsize=16)
def lengths_side_by_side(largest: int, extra: int) -> NDArray[np.uint64]:
    """Return by k, 0 to `largest`, its codewords' lengths, 21 bits each, with `extra` added unless k = 0."""
    lanes = [[0, *(length(k) + extra for k in range(1, largest + 1))] for length in LENGTHS.values()]
    return sum(
        (np.array(lane, np.uint64) << np.uint64(_LANE_BITS * i) for i, lane in enumerate(lanes)),
        np.zeros(largest + 1, np.uint64),
    )

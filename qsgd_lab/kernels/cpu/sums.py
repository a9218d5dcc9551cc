"""Sums of vectors, and their mean."""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.cpu.wide_vectors import prefer_wide_vectors
from qsgd_lab.kernels.jit import njit

_BLOCK = 2048


@njit(cache=True, fastmath=False)
def add_vectors(one, other, total):
    """Write the sum of two vectors, float32[n]."""
    prefer_wide_vectors()
    for i in range(total.size):
        total[i] = one[i] + other[i]


@njit(cache=True, fastmath=False, nogil=True)
def divide_sum(total, total_bits, nodes):
    """Divide a sum, float32[n], by a float32, in place; return whether all of the mean is finite.

    `total_bits` is the sum as int32. Blocks are looked at while they are in the first-level cache.
    """
    prefer_wide_vectors()
    total, total_bits = unowned_view(total), unowned_view(total_bits)
    largest = np.int32(0)
    for first in range(0, total.size, _BLOCK):
        last = min(total.size, first + _BLOCK)
        for i in range(first, last):
            total[i] = total[i] / nodes
        for i in range(first, last):
            largest = max(largest, total_bits[i] & np.int32(0x7FFFFFFF))
    return largest < np.int32(0x7F800000)

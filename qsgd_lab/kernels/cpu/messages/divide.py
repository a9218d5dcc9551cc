"""A sum divided by the number of its terms, and whether all of the result is finite, in one pass."""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.cpu.float_mode import keep_denormals, set_float_mode
from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.cpu.wide_vectors import prefer_wide_vectors
from qsgd_lab.kernels.jit import njit

_LARGEST = np.float32(np.finfo(np.float32).max)


@njit(cache=True, fastmath=False)
def is_power_of_2(nodes):
    """Return whether a float32 number, a whole one from 1 to 2**24, is a power of 2."""
    count = np.int64(nodes)
    return count & (count - 1) == 0


@njit(cache=True, fastmath=False)
def divide_part(values, nodes):
    """Divide values by a float32 number, in place; return 0 if all results are finite, else 1."""
    prefer_wide_vectors()
    found = np.int32(0)
    if is_power_of_2(nodes):  # the inverse is exact, hence the products are; they take a fourth of the time
        inverse = np.float32(1.0) / nodes
        for i in range(values.size):
            value = values[i] * inverse
            values[i] = value
            found |= np.int32(not abs(value) <= _LARGEST)  # of a NaN too; no early end: this is vector code
        return found
    for i in range(values.size):
        value = values[i] / nodes
        values[i] = value
        found |= np.int32(not abs(value) <= _LARGEST)
    return found


@njit(cache=True, fastmath=False, nogil=True)
def divide_all(values, nodes):
    """Divide float32 values, shape (n,), by a float32 number, in place; return whether all are finite."""
    mode = keep_denormals()
    found = divide_part(unowned_view(values), nodes)
    set_float_mode(mode)
    return found == 0

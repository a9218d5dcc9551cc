"""Products of a matrix with a few vectors, and their orthogonalization, in float64 and one fixed order.

Nodes agree on factors only if each computes the same bits from the same numbers, whatever its libraries are.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.cpu.unowned import unowned_view
from qsgd_lab.kernels.jit import njit

LANES = 16


@njit(cache=True, fastmath=False)
def dot(a, b, lanes):
    """Return the sum of a_i b_i: lane i mod 16 adds its products in turn, and then the lanes are added."""
    lanes[:] = 0.0
    whole = a.size // LANES * LANES
    for start in range(0, whole, LANES):
        part_a, part_b = a[start : start + LANES], b[start : start + LANES]
        for lane in range(LANES):
            lanes[lane] += np.float64(part_a[lane]) * np.float64(part_b[lane])
    for i in range(whole, a.size):
        lanes[i - whole] += np.float64(a[i]) * np.float64(b[i])
    total = 0.0
    for lane in range(LANES):
        total += lanes[lane]
    return total


@njit(cache=True, fastmath=False, nogil=True)
def times_vectors(matrix, vectors, out):
    """Write the products of a matrix (a, b) with vectors (r, b), float32, to out (r, a)."""
    lanes = np.empty(LANES, np.float64)
    for i in range(matrix.shape[0]):
        row = unowned_view(matrix[i])
        for j in range(vectors.shape[0]):
            out[j, i] = np.float32(dot(row, unowned_view(vectors[j]), lanes))


@njit(cache=True, fastmath=False, nogil=True)
def transposed_times_vectors(matrix, vectors, out):
    """Write the products of the transpose of a matrix (a, b) with vectors (r, a), float32, to out (r, b)."""
    sums = np.zeros(out.shape, np.float64)
    for i in range(matrix.shape[0]):
        row = unowned_view(matrix[i])
        for j in range(vectors.shape[0]):
            weight, own = np.float64(vectors[j, i]), unowned_view(sums[j])
            for column in range(row.size):
                own[column] += weight * np.float64(row[column])
    for j in range(out.shape[0]):
        for column in range(out.shape[1]):
            out[j, column] = np.float32(sums[j, column])


@njit(cache=True, fastmath=False, nogil=True)
def outer_sum(left, right, out):
    """Write the sum over j of left_j right_j', of vectors (r, a) and (r, b), to out (a, b)."""
    sums = np.empty(out.shape[1], np.float64)
    for i in range(out.shape[0]):
        sums[:] = 0.0
        for j in range(left.shape[0]):
            weight, row = np.float64(left[j, i]), unowned_view(right[j])
            for column in range(row.size):
                sums[column] += weight * np.float64(row[column])
        own = unowned_view(out[i])
        for column in range(own.size):
            own[column] = np.float32(sums[column])


@njit(cache=True, fastmath=False, nogil=True)
def orthonormalize(vectors):
    """Make vectors (r, a), float32, orthonormal in place, by Gram and Schmidt, twice.

    A vector that depends on those before it, to 1e-6 of its own length, becomes 0. One that is not finite
    becomes NaN throughout.
    """
    count, size = vectors.shape
    wide, lanes = np.empty((count, size), np.float64), np.empty(LANES, np.float64)
    for j in range(count):
        own = wide[j]
        largest = 0.0
        for i in range(size):
            own[i] = np.float64(vectors[j, i])
            largest = max(largest, abs(own[i])) if own[i] == own[i] else np.inf
        if largest == np.inf:
            own[:] = np.nan
            vectors[j, :] = np.float32(np.nan)
            continue
        if largest > 0.0:
            for i in range(size):
                own[i] /= largest
        before = np.sqrt(dot(own, own, lanes))
        for _ in range(2):
            for k in range(j):
                other = wide[k]
                along = dot(own, other, lanes)
                if along == along:
                    for i in range(size):
                        taken = along * other[i]
                        own[i] = own[i] - taken
        length = np.sqrt(dot(own, own, lanes))
        if not length > 1e-6 * before:
            own[:] = 0.0
            length = 1.0
        for i in range(size):
            own[i] /= length
            vectors[j, i] = np.float32(own[i])

"""Segments on the codewords of a union of rotations, and back, on the CPU.

Codeword j = rho d + m is S4 H S5 H e_m / d: H is the Hadamard transform, not normalised, and S4, S5 are the
signs of rotation rho. The products of a segment with all d codewords of a rotation are H S5 H S4 v / d, in
float64, where neither a sum nor a product of float32 overflows.
"""

from __future__ import annotations

import numpy as np

from qsgd_lab.kernels.cpu.methods.hadamard import signs_at, stage
from qsgd_lab.kernels.jit import njit


@njit(cache=True, fastmath=False)
def flip_wide(y, planes, place):
    """Negate float64 coordinates whose sign is minus; the first has the sign at `place`."""
    for i in range(y.size):
        if signs_at(planes, place + i) & np.uint64(1):
            y[i] = -y[i]


@njit(cache=True, fastmath=False)
def transform_wide(y):
    """Transform float64 coordinates, in place."""
    h = 1
    while h < y.size:
        stage(y, h)
        h *= 2


@njit(cache=True, fastmath=False)
def products(x, first_signs, second_signs, y):
    """Write d times the products of a segment with all codewords, shape (K,)."""
    size = x.size
    for start in range(0, y.size, size):
        own = y[start : start + size]
        for i in range(size):
            own[i] = np.float64(x[i])
        flip_wide(own, first_signs, start)
        transform_wide(own)
        flip_wide(own, second_signs, start)
        transform_wide(own)


@njit(cache=True, fastmath=False)
def drawn_codeword(y, word):
    """Return the codeword whose share of the sum of |y| a random word falls on, and that sum."""
    total = 0.0
    for j in range(y.size):
        total += abs(y[j])
    target, reached = total * (np.float64(word) / 4294967296.0), 0.0
    for j in range(y.size):
        reached += abs(y[j])
        if reached > target:
            return j, total
    return y.size - 1, total


@njit(cache=True, fastmath=False)
def greedy_codeword(y):
    """Return the codeword of the largest product, the first of equal ones."""
    best = 0
    for j in range(y.size):
        if abs(y[j]) > abs(y[best]):
            best = j
    return best


@njit(cache=True, fastmath=False, nogil=True)
def choose(x, size, count, is_greedy, words, first_signs, second_signs, codes, norms):
    """Write the codeword and the signed norm (float64) of each segment; NaN where it is not finite.

    Parameters
    ----------
    x : float32, shape (n,)
    size, count : d and K
    is_greedy : bool
    words : uint32, shape (G,)
    first_signs, second_signs : uint32, shape (4, blocks)
        S4 and S5 of all rotations, from `fill_signs`.
    codes : integers, shape (G,)
    norms : float64, shape (G,)
    """
    segment, y = np.empty(size, np.float32), np.empty(count, np.float64)
    for g in range(codes.size):
        low, high = g * size, min(x.size, (g + 1) * size)
        segment[:] = np.float32(0.0)
        segment[: high - low] = x[low:high]
        products(segment, first_signs, second_signs, y)
        length = 0.0
        for i in range(size):
            length += np.float64(segment[i]) * np.float64(segment[i])
        codes[g], norms[g] = 0, length * 0.0  # NaN if the segment is not finite
        if not 0.0 < length < np.inf:
            continue
        if is_greedy:
            j = greedy_codeword(y)
            norms[g] = y[j] / size
        else:
            j, total = drawn_codeword(y, words[g])
            norms[g] = (total if y[j] > 0.0 else -total) / count
        codes[g] = j


@njit(cache=True, fastmath=False, nogil=True)
def decode(codes, norms, size, first_signs, second_signs, out):
    """Write the values of segments: norm times codeword; +0 where the norm is 0."""
    y = np.empty(size, np.float64)
    for g in range(codes.size):
        low, high = g * size, min(out.size, (g + 1) * size)
        norm = norms[g]
        if norm == np.float32(0.0) or norm != norm:
            out[low:high] = norm if norm != norm else np.float32(0.0)
            continue
        code = np.int64(codes[g])
        start = code // size * size
        y[:] = 0.0
        y[code - start] = 1.0
        transform_wide(y)
        flip_wide(y, second_signs, start)
        transform_wide(y)
        flip_wide(y, first_signs, start)
        for i in range(high - low):
            out[low + i] = np.float32(np.float64(norm) * (y[i] / size))

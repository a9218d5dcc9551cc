"""The least bounds against tens of thousands of climbing vectors, and the vectors that attain them.

The figures that climb are written out here again, for many vectors at once; x are positions in levels.
"""

from __future__ import annotations

import numpy as np
import pytest

from qsgd_lab.theory.code_length import exact_sparse_bits, worst_case_sparse_bits
from qsgd_lab.theory.dense_code_length import dense_level_bits, worst_case_dense_bits
from qsgd_lab.theory.nearest import worst_case_nearest_error
from qsgd_lab.theory.sparsity import worst_case_nonzeros
from qsgd_lab.theory.variance import relative_variance, worst_case_variance, worst_case_vector

CLIMBERS = 1000
ROUNDS = 60
CELLS = [(n, s) for n in (2, 5, 16, 64) for s in (1, 2, 4, 15)]


def positions(vectors: np.ndarray, s: int, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of vectors, shape (m, n), and their squared norms in levels, shape (m,)."""
    scale = np.abs(vectors).max(axis=1) if norm == "max" else np.linalg.norm(vectors, axis=1)
    x = s * np.abs(vectors) / scale[:, None]
    return x, (x**2).sum(axis=1)


def variance(vectors, s, norm):
    x, total = positions(vectors, s, norm)
    p = x - np.floor(x)
    return (p * (1 - p)).sum(axis=1) / total


def nearest(vectors, s, norm):
    x, total = positions(vectors, s, norm)
    return ((x - np.floor(x + 0.5)) ** 2).sum(axis=1) / total


def nonzeros(vectors, s, norm):
    return np.minimum(positions(vectors, s, norm)[0], 1).sum(axis=1)


def dense_bits(vectors, s, norm):
    x, _ = positions(vectors, s, norm)
    return 32 + np.interp(x, np.arange(s + 1), dense_level_bits(s)).sum(axis=1)


def climb(figure, n: int, s: int, norm: str, climbers: int = CLIMBERS, rounds: int = ROUNDS) -> np.ndarray:
    """Return the figures of vectors after random steps of falling size, each kept where it gains."""
    generator = np.random.default_rng([n, s])
    vectors = generator.standard_normal((climbers, n))
    best = figure(vectors, s, norm)
    for number in range(rounds):
        width = 0.7 * 0.93**number
        some = generator.random((climbers, n)) < max(0.2, 1 / n)
        tried = vectors + width * some * generator.standard_normal((climbers, n))
        values = figure(tried, s, norm)
        gains = values > best
        vectors[gains], best[gains] = tried[gains], values[gains]
    return best


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize(("n", "s"), CELLS)
def test_no_climber_passes_the_least_variance_bound(n, s, norm):
    """T1, T3: 32 000 climbing vectors stay below the bound, and come close to it where n is small."""
    bound = float(worst_case_variance(n, s, norm=norm))
    reached = climb(variance, n, s, norm).max()

    assert reached <= bound * (1 + 1e-9)
    if norm == "max" and n <= 5:
        assert reached >= 0.98 * bound


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize(("n", "s"), CELLS)
def test_no_climber_passes_the_bound_of_nearest_rounding(n, s, norm):
    """The squared error of rounding to nearest stays below its worst case."""
    assert climb(nearest, n, s, norm).max() <= float(worst_case_nearest_error(n, s, norm=norm)) * (1 + 1e-9)


@pytest.mark.parametrize(("n", "s"), CELLS)
def test_no_climber_passes_the_bounds_on_counts_and_dense_bits(n, s):
    """T2, D1: expected non-zeros and dense bits stay below their suprema."""
    assert climb(nonzeros, n, s, "l2").max() <= worst_case_nonzeros(n, s) * (1 + 1e-9)
    assert climb(dense_bits, n, s, "l2").max() <= worst_case_dense_bits(n, s) * (1 + 1e-9)


@pytest.mark.parametrize(("n", "s"), [(5, 2), (16, 1), (16, 4)])
def test_no_climber_passes_the_sparse_bound(n, s):
    """C2: exact sparse lengths of climbing vectors stay below the bound."""

    def sparse_bits(vectors, s, norm):
        return np.array([exact_sparse_bits(vector, s, norm=norm) for vector in vectors])

    assert climb(sparse_bits, n, s, "l2", climbers=20, rounds=40).max() <= worst_case_sparse_bits(n, s)


ATTAINED = [("l2", n, s) for n, s in ((64, 1), (64, 4), (64, 8), (1024, 16), (1024, 32), (10_000, 7))]
ATTAINED += [("max", n, s) for n, s in ((2, 1), (64, 8), (512, 7), (512, 127), (10_000, 3))]


@pytest.mark.parametrize(("norm", "n", "s"), ATTAINED)
def test_the_constructed_vectors_attain_the_bound(norm, n, s):
    """T1, T3: to a relative 1e-12, for s <= sqrt(n) / 2, at s = sqrt(n), and always under max."""
    attained = relative_variance(worst_case_vector(n, s, norm=norm), s, norm=norm)

    assert attained == pytest.approx(float(worst_case_variance(n, s, norm=norm)), rel=1e-12)

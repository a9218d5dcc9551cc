"""The norm of a bucket: an exact order of summation, whatever does the sum."""

from __future__ import annotations

import math

import gradient_strategies as gradients
import naive
import numpy as np
import pytest
from hypothesis import given

from qsgd_lab.kernels.cpu.norms import BLOCK, LANES, block_sum, bucket_norm, fold_sums
from qsgd_lab.kernels.reference import norm_of, tree_sum

KINDS = {"l2": 0, "max": 1}


def kernel_sum(x):
    """Return the sum of squares as the kernels take it, block by block, before it is rounded to float32."""
    lanes, sums = np.empty(LANES), np.empty(x.size // BLOCK + 1)
    parts = [x[i : i + BLOCK] for i in range(0, x.size, BLOCK)]
    for block, part in enumerate(parts):
        sums[block] = block_sum(part, lanes)
    return fold_sums(sums, len(parts), lanes)


def kernel_norm(x, norm):
    """Return the norm that the kernels store for a bucket."""
    lanes, sums = np.empty(LANES), np.empty(x.size // BLOCK + 1)
    return float(bucket_norm(x, x.view(np.int32), KINDS[norm], lanes, sums))


def assert_tree_sum(x):
    """Assert that kernel, reference and oracle give one float64 for the sum of squares."""
    squares = x.astype(np.float64) ** 2
    expected = naive.tree_sum(squares.tolist())

    assert kernel_sum(x) == expected
    assert tree_sum(squares) == expected
    assert expected == pytest.approx(math.fsum(squares), rel=1e-13)


@pytest.mark.parametrize("n", [1, 31, 32, 33, 100, 511, 512, 513, 1024, 5000])
def test_the_sum_of_squares_has_one_order(n):
    """Kernel and reference add in the order of the plain tree, to the last bit of float64."""
    for seed in range(20):
        assert_tree_sum(np.random.default_rng(seed).lognormal(sigma=3, size=n).astype(np.float32))


def test_the_tree_has_as_many_levels_as_it_takes():
    """Above 512 blocks of 512 the block sums are themselves summed in blocks."""
    assert_tree_sum(np.random.default_rng(0).lognormal(sigma=3, size=512 * 512 + 700).astype(np.float32))


@given(gradients.gradients(), gradients.norms)
def test_the_stored_norm(x, norm):
    """Kernel and reference store one float32: the norm rounded, clamped, or NaN if x is not finite."""
    if x.size == 0:
        return
    expected = naive.stored_norm(x.tolist(), norm)

    assert kernel_norm(x, norm) == pytest.approx(expected, rel=0, abs=0, nan_ok=True)
    assert float(norm_of(x, norm)) == pytest.approx(expected, rel=0, abs=0, nan_ok=True)


@given(gradients.gradients(gradients.FINITE_SPECIAL_VALUES), gradients.norms)
def test_the_norm_dominates_every_coordinate(x, norm):
    """No |v_i| exceeds the stored norm: rounding is monotone, and clamping is to the largest float32."""
    if x.size > 0:
        assert kernel_norm(x, norm) >= np.abs(x).max()

"""Contraction factors against the exact moments, and the memory bound against simulated memories."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.theory.error_feedback import (
    damped_contraction,
    memory_bound,
    nonconvex_bound,
    recalled_memory_bound,
    scaled_sign_contraction,
    sparsifier_contraction,
    undamped_contraction,
)
from qsgd_lab.theory.other_compressors import rand_k_error, scaled_sign_error, top_k_error
from qsgd_lab.theory.variance import exact_variance, variance_bound_l2, worst_case_variance_l2

vectors = st.lists(st.floats(-100, 100, allow_subnormal=False), min_size=1, max_size=20).filter(
    lambda v: max(map(abs, v)) > 1e-3
)


@given(vectors, st.integers(1, 20))
def test_the_damped_quantizer_is_a_contraction(vector, s):
    """E||Q(v) / (1 + omega) - v||^2 <= (1 - 1 / (1 + omega)) ||v||^2 with the least omega."""
    omega = float(worst_case_variance_l2(len(vector), s))
    total = sum(v * v for v in vector)
    shrink = 1 / (1 + omega)
    # Mean square of an unbiased Q shrunk: variance shrink^2, bias (1 - shrink)^2.
    error = shrink**2 * exact_variance(vector, s) + (1 - shrink) ** 2 * total

    assert error <= (1 - float(damped_contraction(omega))) * total * (1 + 1e-9)


def test_the_undamped_quantizer_is_one_only_above_half_sqrt_n():
    """The contraction test: omega < 1 if and only if s > sqrt(n) / 2."""
    assert undamped_contraction(float(worst_case_variance_l2(1024, 16))) is None
    assert undamped_contraction(float(variance_bound_l2(1024, 17))) == pytest.approx(1 - 256 / 289)


@given(vectors, st.integers(1, 20))
def test_sparsifiers_and_sign_contract_as_stated(vector, k):
    """Top-k, rand-k and scaled sign leave at most (1 - delta) ||v||^2; rand-k and sign exactly that."""
    k, total = min(k, len(vector)), sum(v * v for v in vector)
    left = (1 - sparsifier_contraction(len(vector), k)) * total

    assert top_k_error(vector, k) <= left * (1 + 1e-9) + 1e-9 * total
    assert rand_k_error(vector, k) == pytest.approx(left)
    assert scaled_sign_error(vector) == pytest.approx(
        (1 - scaled_sign_contraction(vector)) * total, abs=1e-9 * total
    )


@pytest.mark.parametrize("delta", [0.05, 0.5, 0.9])
def test_the_memory_bound_is_attained(delta):
    """C(p) = (1 - sqrt(1 - delta)) p on a constant gradient fills the memory to the bound, and no further."""
    memory, root = 0.0, np.sqrt(1 - delta)
    for _ in range(2000):
        memory = root * (0.1 * 3.0 + memory)

    assert memory**2 == pytest.approx(float(memory_bound(delta, 0.1, 9.0)))


def test_the_memory_of_rand_k_is_below_both_bounds():
    """Rand-k on a constant gradient keeps its mean square memory below the sharper bound."""
    n, k, eta, generator = 50, 10, 0.1, np.random.default_rng(0)
    gradient = generator.standard_normal(n)
    memory = np.zeros((400, n))
    for _ in range(100):
        pending = memory + eta * gradient
        sent = generator.random((400, n)).argsort(axis=1) < k
        memory = np.where(sent, 0, pending)
    measured = (memory**2).sum(axis=1).mean()
    sharp, recalled = (
        bound(k / n, eta, gradient @ gradient) for bound in (memory_bound, recalled_memory_bound)
    )

    assert 0.5 * float(sharp) < measured < float(sharp) < float(recalled)


def test_without_compression_there_is_no_memory():
    """At delta = 1 there is no memory, and the descent terms alone remain."""
    assert float(memory_bound(1.0, 0.1, 9.0)) == 0
    assert nonconvex_bound(2.0, 1.0, 0.1, 9, 4.0, 1.0) == pytest.approx(4 / (0.1 * 10) + 0.1 * 4 / 2)


@pytest.mark.parametrize("delta", [0.0, -1.0, 1.1])
def test_what_is_no_contraction_is_refused(delta):
    """Factors outside (0, 1] have no bound."""
    with pytest.raises(ValueError, match=r"contraction is .* above 0 and at most 1"):
        memory_bound(delta, 0.1, 1.0)

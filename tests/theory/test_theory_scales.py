"""Formulas of a vector hold at every scale: from 1e-200 to 1e200 nothing overflows or vanishes unsaid."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.theory.arrays import split_scale, times_power_of_two
from qsgd_lab.theory.code_length import exact_sparse_bits, sparse_bits_bound_for
from qsgd_lab.theory.dense_code_length import dense_bits_bound_for, exact_dense_bits
from qsgd_lab.theory.entropy import mean_level_probabilities
from qsgd_lab.theory.error_feedback import scaled_sign_contraction
from qsgd_lab.theory.gradient_descent import gradient_descent_quantize
from qsgd_lab.theory.hyper_sphere import greedy_contraction, hsq_variance
from qsgd_lab.theory.level_positions import level_positions
from qsgd_lab.theory.nearest import nearest_error, nearest_nonzeros
from qsgd_lab.theory.other_compressors import (
    nuqsgd_level_shares,
    nuqsgd_variance,
    rand_k_error,
    scaled_rand_k_variance,
    scaled_sign_error,
    terngrad_variance,
    top_k_error,
)
from qsgd_lab.theory.sparsity import exact_nonzeros, nonzeros_variance
from qsgd_lab.theory.tradeoff_of_vector import tradeoff_of
from qsgd_lab.theory.variance import exact_second_moment, exact_variance, relative_variance, squared_norm

VECTOR = np.random.default_rng(0).standard_normal(24)
CODEBOOK = np.linalg.qr(np.random.default_rng(1).standard_normal((24, 24)))[0]
SCALES = (1e-200, 1e-160, 1e-100, 1.0, 1e100, 1e160, 1e200)

#: Figures without a unit, which do not depend on the scale.
RELATIVE = {
    "positions": lambda v: level_positions(v, 7, bucket_size=8).positions,
    "relative variance": lambda v: relative_variance(v, 7),
    "relative variance, max": lambda v: relative_variance(v, 7, norm="max", bucket_size=5),
    "nonzeros": lambda v: exact_nonzeros(v, 3),
    "nonzeros' variance": lambda v: nonzeros_variance(v, 3),
    "nearest nonzeros": lambda v: nearest_nonzeros(v, 3),
    "sparse bits": lambda v: exact_sparse_bits(v, 3),
    "sparse bound": lambda v: sparse_bits_bound_for(v, 3),
    "dense bits": lambda v: exact_dense_bits(v, 3),
    "dense bound": lambda v: dense_bits_bound_for(v, 3),
    "level shares": lambda v: mean_level_probabilities(v, 3),
    "NUQSGD shares": lambda v: nuqsgd_level_shares(v, 3),
    "sign contraction": scaled_sign_contraction,
    "greedy contraction": lambda v: greedy_contraction(v, CODEBOOK),
    "trade-off": lambda v: np.array([row.error for row in tradeoff_of(v, (1, 3), bucket_size=8)]),
}
#: Figures in squared units of the vector.
SQUARED = {
    "squared norm": squared_norm,
    "variance": lambda v: exact_variance(v, 7, bucket_size=8),
    "second moment": lambda v: exact_second_moment(v, 7),
    "nearest": lambda v: nearest_error(v, 7),
    "TernGrad": terngrad_variance,
    "NUQSGD": lambda v: nuqsgd_variance(v, 3),
    "sign": scaled_sign_error,
    "top-k": lambda v: top_k_error(v, 5),
    "rand-k": lambda v: rand_k_error(v, 5),
    "scaled rand-k": lambda v: scaled_rand_k_variance(v, 5),
    "HSQ": lambda v: hsq_variance(v, CODEBOOK),
}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", RELATIVE)
def test_relative_figures_do_not_depend_on_the_scale(name, scale):
    """A figure without a unit is the same for v and c v, at every c from 1e-200 to 1e200."""
    np.testing.assert_allclose(RELATIVE[name](VECTOR * scale), RELATIVE[name](VECTOR), rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-150, 1e-100, 1e100, 1e150])
@pytest.mark.parametrize("name", SQUARED)
def test_squared_figures_scale_with_the_square(name, scale):
    """A figure in squared units is c^2 times as large for c v, wherever float64 holds the result."""
    assert SQUARED[name](VECTOR * scale) == pytest.approx(SQUARED[name](VECTOR) * scale**2, rel=1e-9)


@pytest.mark.parametrize("scale", [1e-200, 1e-180, 1e180, 1e200])
@pytest.mark.parametrize("name", SQUARED)
def test_squared_figures_beyond_float64_are_refused(name, scale):
    """Where c^2 times the figure is not a float64, one clear line says so, instead of 0 or infinity."""
    with pytest.raises(ValueError, match=r"is too (large|small) for float64; scale the vector"):
        SQUARED[name](VECTOR * scale)


@pytest.mark.parametrize("scale", SCALES)
def test_norms_and_decoded_values_scale(scale):
    """Norms of buckets, and what the deterministic quantizer decodes, are c times as large for c v."""
    for norm in ("l2", "max"):
        np.testing.assert_allclose(
            level_positions(VECTOR * scale, 7, norm=norm, bucket_size=8).norms,
            level_positions(VECTOR, 7, norm=norm, bucket_size=8).norms * scale,
            rtol=1e-12,
        )
    decoded = gradient_descent_quantize(VECTOR * scale)
    np.testing.assert_allclose(decoded, gradient_descent_quantize(VECTOR) * scale, rtol=1e-12)


@pytest.mark.parametrize("name", SQUARED)
def test_the_zero_vector_has_no_error(name):
    """Zero stays zero, and is not taken for a number too small."""
    assert SQUARED[name](np.zeros(24)) == 0


def test_coordinates_of_very_different_size_share_a_scale():
    """Next to 1e200 a coordinate of 1e-200 counts as nothing: the vector is one-hot."""
    vector = [1e200, 1e-200, 0.0]

    assert level_positions(vector, 7).positions.tolist() == [7, 0, 0]
    assert relative_variance(vector, 7) == 0
    assert relative_variance([5e-324, 5e-324], 3) == pytest.approx(relative_variance([1.0, 1.0], 3))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_splitting_off_a_power_of_two_loses_nothing(vector):
    """V = 2^e w exactly, with the largest |w_i| in [1/2, 1), unless a coordinate is beyond 2^-1000 of it."""
    given_vector = np.array(vector)
    scaled, exponent = split_scale(given_vector)
    largest = np.abs(scaled).max()

    assert largest == 0 or 0.5 <= largest < 1
    kept = np.abs(scaled) > 2.0**-1000
    np.testing.assert_array_equal(np.ldexp(scaled, exponent)[kept], given_vector[kept])


def test_powers_of_two_refuse_what_does_not_fit():
    """Results that are representable are given, also at the ends of the range."""
    assert times_power_of_two(0.5, 1024, "x") == 2.0**1023
    assert times_power_of_two(1.0, -1074, "x") == math.ulp(0.0)
    assert times_power_of_two(0.0, 9999, "x") == 0.0
    with pytest.raises(ValueError, match="x is too large"):
        times_power_of_two(1.0, 1024, "x")

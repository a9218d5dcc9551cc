"""Formulas of a vector hold at every scale: from 1e-200 to 1e200 nothing overflows or vanishes unsaid."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import math
from pathlib import Path

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
from qsgd_lab.theory.methods import half, one_bit, shared_scale, top_k
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

# The walk over all public functions, with arguments that each accepts.
_spec = importlib.util.spec_from_file_location("walk", Path(__file__).with_name("test_theory_arguments.py"))
walk = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(walk)

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


@contextlib.contextmanager
def address_space(more):
    """Let this process have so many bytes more while inside, where the system limits them."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


SCALED = {"bucket", "counts", "gradient", "matrix", "probabilities", "rotated", "segment", "vector"}
#: Not c^p times as much for c v: formats and scales with a unit of their own, and results of several parts.
OTHER_LAWS = {
    "expected_error_bf16",
    "expected_error_fp16",
    "expected_error_natural",
    "given_scale_error",
    "level_positions",
    "squared_error of half",
    "tradeoff_of",
}
LONGER = np.array([3.0, -4.0, 1.0, 0.25, -1.5])


def walked(is_wanted):
    """Yield the functions of the walk with a parameter that is wanted, the empirical checks apart."""
    for row in walk.FUNCTIONS:
        module, function = row.values
        label = f"{function.__name__} of half" if module == "methods.half" else function.__name__
        if not module.startswith("checks") and not {label, function.__name__} & OTHER_LAWS:
            for name in inspect.signature(function).parameters:
                if is_wanted(module, function, name):
                    yield pytest.param(module, function, name, id=f"{module}.{function.__name__}-{name}")


def takes_an_array(module, function, name):
    """Whether a parameter is what the scale belongs to."""
    return name in SCALED and not isinstance(walk.domain(module, function, name)[0], int)


@pytest.mark.parametrize(("module", "function", "name"), [*walked(takes_an_array)])
def test_every_figure_of_a_vector_has_a_degree(module, function, name):
    """For c v a figure is c^p times as much, p from 0 to 2, or refused where float64 cannot hold it."""
    good = walk.good_arguments(module, function)
    if "inner" in good:  # of the wrapped compressor, in squared units too
        good["inner"] = 0.0
    given_vector = np.array(good[name], dtype=np.float64)
    if name == "gradient":
        given_vector = LONGER

    def figure(exponent):
        return np.asarray(function(**{**good, name: np.ldexp(given_vector, exponent)}), dtype=np.float64)

    base, far = figure(0), figure(300)
    power = next(p for p in (0, 1, 2) if np.allclose(far, np.ldexp(base, 300 * p), rtol=1e-12, atol=0))
    np.testing.assert_allclose(figure(-300), np.ldexp(base, -300 * power), rtol=1e-12)
    for exponent in (700, -700):
        if power < 2 or not base.any():
            np.testing.assert_allclose(figure(exponent), np.ldexp(base, exponent * power), rtol=1e-12)
        else:
            with pytest.raises(ValueError, match=r"is too (large|small) for float64; scale the vector"):
                figure(exponent)


def takes_a_number(module, function, name):
    """Whether a parameter is one real number."""
    return name not in walk.OPAQUE and isinstance(walk.domain(module, function, name)[0], float)


@pytest.mark.parametrize(("module", "function", "name"), [*walked(takes_a_number)])
def test_extreme_numbers_give_a_number_or_one_line(module, function, name):
    """At 1e308 or 5e-324 a formula is finite or a ValueError; only intervals of bandwidths have no end."""
    good = walk.good_arguments(module, function)
    for extreme in (1e200, 1e-200, 1e308, 5e-324, 1e16, 1e-20):
        try:
            result = function(**{**good, name: extreme})
        except ValueError:
            continue
        if not function.__name__.endswith("pays_between") and result is not None:
            assert np.isfinite(np.asarray(result, dtype=np.float64)).all()


def test_a_bound_is_not_zero_because_it_is_small():
    """A result too small for float64 is refused, and one that is 0 exactly is not."""
    from qsgd_lab.theory.cser import consensus_bound
    from qsgd_lab.theory.error_feedback import memory_bound

    with pytest.raises(ValueError, match=r"^memory_bound is beyond the range of float64"):
        memory_bound(0.5, 1e-200, 1.0)
    assert memory_bound(1.0, 0.1, 1.0) == memory_bound(0.5, 0.1, 0.0) == 0
    constants = {"reset_contraction": 0.5, "interval": 4, "gradient_second_moment": 1.0}
    with pytest.raises(ValueError, match=r"^consensus_bound is beyond"):
        consensus_bound(**constants, gradient_contraction=0.5, step=1e-200)
    assert consensus_bound(**constants, gradient_contraction=1.0, step=0.1) == 0


def test_what_is_left_out_has_a_scale_of_its_own():
    """Small coordinates that are left out, or alone in a bucket, do not vanish beside a large one."""
    assert top_k.squared_error([1e200, 1e-100], 1) == pytest.approx(1e-200)
    assert one_bit.expected_error_sign([1.0, 3.0, 1e-200, 3e-200], 2) == 2
    shared = shared_scale.expected_error_qsgd_shared([1.0, 2.0, 1e-200, 3e-200], 1, bucket_size=2)
    assert shared == pytest.approx(1.0)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_a_given_scale_is_scaled_with_the_vector(scale):
    """Levels that are hit err by 0, others by what float64 holds, or the figure is refused."""
    with pytest.raises(ValueError, match=r"^the error is too (large|small)"):
        shared_scale.given_scale_error(VECTOR * scale, scale, 1)
    assert shared_scale.given_scale_error([scale, 0.0], scale, 1) == 0
    assert shared_scale.given_scale_error([1e-100], 1e200, 1) == pytest.approx(1e100)


def test_a_format_has_its_own_range():
    """Beyond a format's range its error is infinite, and one that float64 cannot hold is refused."""
    assert half.squared_error([1e200], "bf16") == math.inf
    with pytest.raises(ValueError, match="the error is too small"):
        half.squared_error([1e-200], "bf16")


def counts_things(module, function, name):
    """Whether a parameter is one whole number."""
    return name not in walk.OPAQUE and type(walk.domain(module, function, name)[0]) is int


@pytest.mark.parametrize(("module", "function", "name"), [*walked(counts_things)])
def test_sizes_beyond_the_memory_give_a_number_or_one_line(module, function, name, monkeypatch):
    """A size of 2^31 or 2^53 is refused before an array of so many numbers is allocated, or needs none."""
    monkeypatch.setattr(walk.arguments, "machine_memory", lambda: 2**30)
    good = walk.good_arguments(module, function)
    with address_space(2**32):
        for size in (2**31, 2**31 + 1, 2**53):
            with contextlib.suppress(ValueError):
                function(**{**good, name: size})

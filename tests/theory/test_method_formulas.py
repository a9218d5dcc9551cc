"""The formulas of methods against what the methods do: exact errors by z-scores, bits to the bit."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest

from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.stream import Stream
from qsgd_lab.theory.methods import block_int, eden, grbs, half, powersgd, qsgd, rand_k, top_k

N = 256
TRIALS = 300
SPECS = (
    "fp16",
    "bf16",
    "top-k(fraction=0.1)",
    "rand-k(fraction=0.1)",
    "rand-k(fraction=0.3,mask=shared,values=plain)",
    "grbs(ratio=7)",
    "grbs(ratio=7,values=unbiased)",
    "nuqsgd",
    "nuqsgd(bits=2,norm=max,bucket_size=100)",
    "nuqsgd(convention=published,bucket_size=64)",
    "natural",
    "terngrad",
    "terngrad(clip=0)",
    "qsgd-shared(bits=2,bucket_size=100)",
    "qsgd-shared(bits=1,norm=l2)",
    "one-bit(bucket_size=100)",
    "sign",
)


def formula(spec, name):
    """Return a function of the method's file of formulas, with its options filled in."""
    module = importlib.import_module(spec.method.theory)
    own = getattr(module, f"{name}_{spec.method.name.replace('-', '_')}", None)
    function = own or getattr(module, name)
    return lambda argument: function(argument, **spec.options)


def vectors():
    """Return normal, heavy-tailed and sparse float32 vectors of unlike size."""
    rng = np.random.default_rng(5)
    heavy = rng.standard_t(2, N)
    sparse = rng.standard_normal(N) * (rng.random(N) < 0.1)
    return [v.astype(np.float32) for v in (rng.standard_normal(N), 1e-3 * heavy, 100 * sparse)]


@pytest.mark.parametrize("text", SPECS)
def test_the_error_is_the_formula(text):
    """The mean of ||Q(v) - v||^2 is the exact one within 4.5 standard errors, and below the factor."""
    spec = COMPRESSORS.parse(text)
    compressor = spec.make()
    for x in vectors():
        wide = x.astype(np.float64)
        errors = []
        for seed in range(TRIALS):
            payload, _ = compressor.compress(x, compressor.init(Layout.of(N)), Stream(seed))
            errors.append(((compressor.decompress(payload) - wide) ** 2).sum())
        mean, spread = np.mean(errors), np.std(errors, ddof=1) / math.sqrt(TRIALS)
        exact = formula(spec, "expected_error")(x)
        factor = compressor.variance_factor(N)

        assert abs(mean - exact) <= 4.5 * spread + 1e-6 * exact
        assert factor is None or exact <= factor * (wide @ wide) * (1 + 1e-6)


@pytest.mark.parametrize("text", SPECS)
def test_the_bits_are_the_formula(text):
    """Scales and codes take the expected bits: exactly, or in the mean over steps where blocks differ."""
    spec = COMPRESSORS.parse(text)
    compressor, x = spec.make(), vectors()[0]
    bits = [
        compressor.wire.size(
            compressor.compress(x, compressor.init(Layout.of(N)), Stream(0, 0, step))[0]
        ).bits["fixed"]
        for step in range(200)
    ]

    assert np.mean(bits) == pytest.approx(formula(spec, "expected_bits")(N), rel=2e-3)


def test_every_pattern_of_half_precision_is_the_nearest():
    """Rounding to float16 and bfloat16 is the formula's, ties to even, from subnormals to infinity."""
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint64).astype(np.uint32)
    ties = (bits & np.uint32(0xFFFF0000)) | np.uint32(0x8000)
    x = np.concatenate([bits, ties]).view(np.float32)
    x = x[np.isfinite(x)]
    for name in ("fp16", "bf16"):
        compressor = COMPRESSORS.parse(name).make()
        y = compressor.decompress(compressor.compress(x, None, Stream())[0])
        assert (y.astype(np.float64) == half.nearest(x, name)).all()


def test_the_worst_case_of_half_precision_is_nearly_attained():
    """1 + 2^-8 is in the middle between two bfloat16; its relative error is 2^-8 / (1 + 2^-8)."""
    x = np.float32([1 + 2**-8])
    assert half.squared_error(x, "bf16") / float(x[0]) ** 2 == pytest.approx(
        half.worst_case("bf16") / (1 + 2**-8) ** 2
    )
    assert half.squared_error([1e6], "fp16") == math.inf


def test_nodes_gain_from_masks_of_their_own():
    """16 like nodes: masks of their own leave 1/16 of the error that a shared mask leaves."""
    own, shared = (rand_k.mean_error(100, 10, 1.0, 1.0, 16, mask) for mask in ("own", "shared"))
    assert own == shared / 16 == 9 / 16


@pytest.mark.parametrize("n", [1, 2, 5, 100, 1001])
def test_blocks_cover_everything_and_are_alike(n):
    """Sizes sum to n, differ by at most one, and none is empty, also with more blocks than coordinates."""
    for ratio in (1, 2, 7, 1000):
        sizes = grbs.block_sizes(n, ratio)
        assert sum(sizes) == n
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 1
        assert len(sizes) == min(n, ratio)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rand_k.relative_error(10, 11), "k is 11"),
        (lambda: rand_k.relative_error(10, 0), "k is 0"),
        (lambda: rand_k.relative_error(10, 1, "scaled"), "values is 'scaled'"),
        (lambda: top_k.kept(1.5, 10), "fraction is 1.5"),
        (lambda: half.nearest([1.0], "fp8"), "name is 'fp8'"),
        (lambda: grbs.block_sizes(10, 0), "ratio is 0"),
        (lambda: block_int.relative_error([1.0] * 96, 4, 48, "nearest"), "a multiple of 32"),
        (lambda: block_int.relative_error([1.0] * 33, 4, 32, "nearest"), "block_size is 32; it must divide"),
        (lambda: block_int.two_level_error(0.1, 0.1, 8, 3), "machine is 3; it must divide nodes, which is 8"),
        (lambda: eden.bits(10, 2, 48), "block_size is 48; it must be a power of two"),
        (lambda: powersgd.floats((4, -1), 2), "a length of shape is -1"),
        (lambda: qsgd.expected_error([1.0], bucket_size="layer"), "bucket_size is 'layer'"),
    ],
)
def test_formulas_refuse_what_is_out_of_range(call, message):
    """A bad argument is one clear ValueError."""
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("bits", [0, 9, 2.5, True, math.nan, "3", None, [3]])
@pytest.mark.parametrize("function", ["centroids", "least_error_bound"])
def test_results_that_are_kept_are_given_for_good_arguments_only(function, bits):
    """A kept result of one bit is not given for True, and no caller can change a kept array."""
    eden.centroids(1)[:] = 0
    eden.least_error_bound(1)
    with pytest.raises(ValueError, match=r"^bits is"):
        getattr(eden, function)(bits)
    assert eden.centroids(1)[0] > 0.79

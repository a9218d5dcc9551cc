"""What the quantizer does with buckets that break quantizers, by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab import dequantize, quantize

FLOAT32_MAX = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
SCHEMES = [
    {"levels": s, "norm": norm, "rounding": rounding}
    for s in (1, 7, 255)
    for norm in ("l2", "max")
    for rounding in ("stochastic", "nearest")
]


@pytest.fixture(params=SCHEMES, ids=lambda scheme: "-".join(map(str, scheme.values())))
def scheme(request):
    """Each combination of s, norm and rounding."""
    return request.param


def test_an_empty_gradient_has_neither_levels_nor_norms(scheme):
    """No coordinates, no buckets, and an empty array back."""
    q = quantize(np.empty((0, 3), np.float32), **scheme)

    assert (q.levels.size, q.norms.size, len(q)) == (0, 0, 0)
    assert dequantize(q).shape == (0, 3)


def test_zero_buckets_have_norm_zero_and_decode_to_zero(scheme):
    """0/0 never happens: zeros of either sign send norm 0 and levels 0, beside a bucket that is not zero."""
    x = np.float32([0.0, -0.0, 0.0, 5.0, 0.0, 0.0])
    q = quantize(x, bucket_size=3, **scheme)

    assert q.norms.tolist() == [0.0, 5.0]
    assert q.levels.tolist() == [0, 0, 0, scheme["levels"], 0, 0]
    assert dequantize(q).view(np.int32)[:3].tolist() == [0, 0, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bucket_that_is_not_finite_decodes_to_nan_and_spares_the_others(scheme, value):
    """NaN or an infinity makes its own bucket NaN, visibly, and no other."""
    x = np.float32([1.0, value, 2.0, 0.0, -8.0, 0.0])
    q = quantize(x, bucket_size=3, **scheme)

    assert np.isnan(q.norms[0])
    assert q.norms[1] == 8
    assert q.levels.tolist() == [0, 0, 0, 0, -scheme["levels"], 0]
    assert np.isnan(dequantize(q)[:3]).all()
    assert dequantize(q)[3:].tolist() == [0.0, -8.0, 0.0]


@pytest.mark.parametrize("value", [1.0, -3.5, -FLOAT32_MAX, 2.0**-64, -(2.0**-65), 1e-40, SMALLEST])
def test_one_hot_buckets_decode_exactly(scheme, value):
    """A bucket with a single non-zero decodes to itself: its level is s, a legal value."""
    x = np.zeros(600, np.float32)
    x[[5, 599]] = value
    q = quantize(x, bucket_size=512, **scheme)

    assert (dequantize(q) == x).all()
    assert np.abs(q.levels).max() == scheme["levels"]


@pytest.mark.parametrize("s", [1, 3, 7, 127, 255])
def test_one_coordinate_decodes_to_itself(s):
    """A bucket of one coordinate has that for its norm: 10^4 random ones come back to the last bit."""
    x = np.random.default_rng(s).normal(size=10_000).astype(np.float32)

    assert (dequantize(quantize(x, levels=s, bucket_size=1, norm="max")) == x).all()
    assert (dequantize(quantize(x, levels=s, bucket_size=1, norm="l2")) == x).all()


def test_the_largest_level_decodes_to_the_norm_exactly():
    """Level s is the norm itself, for every s and every norm, though norm / s is rounded."""
    rng = np.random.default_rng(2)
    x = (rng.normal(size=400) * 10.0 ** rng.integers(-44, 38, 400)).astype(np.float32)
    x = x[np.isfinite(x)]
    for s in range(1, 256):
        q = quantize(x, levels=s, bucket_size=1, norm="max", rounding="nearest")
        assert (np.abs(q.levels.astype(int)) == s * (x != 0)).all()
        assert (dequantize(q) == x).all()


def test_an_l2_norm_above_float32_is_stored_as_the_largest_float32():
    """An overflowing norm is clamped, still dominates every coordinate, and the levels stay unbiased."""
    x = np.full(100, 1e38, np.float32)
    q = [quantize(x, levels=7, seed=seed) for seed in range(200)]
    mean = np.mean([dequantize(one).astype(np.float64).mean() for one in q])
    step = FLOAT32_MAX / 7
    p = 1e38 / step - 2  # between the second and third level

    assert q[0].norms.tolist() == [FLOAT32_MAX]
    assert abs(mean - 1e38) < 4.5 * step * np.sqrt(p * (1 - p) / (200 * 100))


def test_the_largest_float32_survives(scheme):
    """A bucket that holds the largest float32 twice stays finite."""
    x = np.float32([FLOAT32_MAX, -FLOAT32_MAX, 1.0])
    q = quantize(x, **scheme)

    assert q.norms.tolist() == [FLOAT32_MAX]
    assert dequantize(q).tolist() == [FLOAT32_MAX, -FLOAT32_MAX, 0.0]


def test_subnormal_gradients_are_scaled_exactly(scheme):
    """Multiplying a gradient by a power of two down to subnormals multiplies norms, levels unchanged."""
    x = np.float32([3, -4, 1, 0, 2, -1, 4, 5] * 8)
    q, tiny = (quantize(v, **scheme) for v in (x, x * np.float32(2.0**-149)))

    assert (tiny.levels == q.levels).all() or scheme["norm"] == "l2"  # an l2 norm rounds to 2^-149
    assert (tiny.norms > 0).all()
    assert (np.abs(tiny.levels.astype(int)) <= scheme["levels"]).all()
    if scheme["norm"] == "max":
        assert (tiny.norms == q.norms * np.float32(2.0**-149)).all()


@pytest.mark.parametrize("n", [1, 2, 511, 512, 513, 1023, 1024, 1025])
def test_a_short_last_bucket_is_a_bucket_like_any_other(n):
    """ceil(n / 512) norms for n coordinates, no padding; the last bucket is what its coordinates make it."""
    x = np.random.default_rng(n).normal(size=n).astype(np.float32)
    q = quantize(x, bits=3, norm="max", rounding="nearest")
    last = x[512 * ((n - 1) // 512) :]

    assert q.levels.size == n
    assert q.norms.size == -(-n // 512)
    assert q.norms[-1] == np.abs(last).max()
    alone = quantize(last, bits=3, norm="max", rounding="nearest")
    assert (q.levels[-last.size :] == alone.levels).all()


@given(
    st.floats(2.0**-140, 2.0**127, width=32),
    st.sampled_from([1, 3, 7, 127, 255, 32767]),
    st.sampled_from(["l2", "max"]),
    st.integers(0, 2**64 - 1),
)
def test_a_coordinate_that_attains_the_norm_is_sent_exactly(value, s, norm, seed):
    """Whatever norm and random word, a lone non-zero coordinate gets level s and decodes to itself."""
    gradient = np.float32([0, -value, 0])
    q = quantize(gradient, levels=s, norm=norm, seed=seed)
    assert q.levels.tolist() == [0, -s, 0]
    assert dequantize(q).tobytes() == (gradient + np.float32(0)).tobytes()

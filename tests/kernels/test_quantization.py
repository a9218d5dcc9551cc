"""The quantizer, bit for bit: kernels, NumPy reference and plain Python agree on every input."""

from __future__ import annotations

from fractions import Fraction

import gradient_strategies as gradients
import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab import dequantize, quantize
from qsgd_lab.partition import partition

FLOAT32_MAX = np.finfo(np.float32).max
BUCKETS_OF_8 = {"bucket_size": 8, "seed": 7, "node": 1, "step": 2, "tensor": 3}
GOLDEN_INPUT = np.float32([0.5, -1.25, 3.0, 0.0, -0.125, 2.5e-3, 7.0, -7.0, 1e-30, -4.0, 0.75, 6.5])
#: s, norm, rounding -> levels of GOLDEN_INPUT in buckets of 8.
GOLDEN_LEVELS = [
    (1, "l2", "stochastic", [0, -1, 1, 0, -1, 0, 0, -1, 0, -1, 0, 1]),
    (7, "l2", "stochastic", [0, -1, 2, 0, -1, 0, 4, -5, 0, -4, 1, 6]),
    (7, "max", "stochastic", [1, -2, 3, 0, -1, 0, 7, -7, 0, -4, 1, 7]),
    (255, "max", "stochastic", [18, -46, 110, 0, -5, 0, 255, -255, 0, -157, 29, 255]),
    (7, "max", "nearest", [1, -1, 3, 0, 0, 0, 7, -7, 0, -4, 1, 7]),
]
GOLDEN_NORMS = {"l2": ["0x1.4dd38ap+3", "0x1.eacfc4p+2"], "max": ["0x1.cp+2", "0x1.ap+2"]}


def assert_same_floats(actual, expected):
    """Assert that two float32 arrays have the same bits, but for the payload of a NaN."""
    actual, expected = np.asarray(actual, np.float32), np.asarray(expected, np.float32)
    missing = np.isnan(expected)

    assert (np.isnan(actual) == missing).all()
    assert (actual.view(np.int32) == expected.view(np.int32))[~missing].all()


def assert_backends_agree(x, s, stream, **scheme):
    """Assert that both backends give the levels, norms and values of the plain Python quantizer."""
    sizes = scheme.get("tensor_sizes") or (x.size,)
    rest = {key: scheme[key] for key in ("bucket_size", "norm", "rounding", "stream_version")}
    levels, norms = naive.quantize(x.tolist(), s, sizes=sizes, stream=stream, **rest)
    indices = naive.buckets(sizes, scheme["bucket_size"])
    values = naive.dequantize(levels, norms, s, indices)
    fields = dict(zip(("seed", "node", "step", "tensor"), stream, strict=True))
    for backend in ("cpu", "reference"):
        q = quantize(x, levels=s, backend=backend, **fields, **scheme)
        assert q.levels.tolist() == levels
        assert_same_floats(q.norms, norms)
        assert_same_floats(dequantize(q, backend=backend), values)


@given(st.data())
def test_every_backend_gives_the_bits_of_the_plain_quantizer(data):
    """Levels, norms and values agree for every gradient, partition, s, norm, rounding and stream."""
    x = data.draw(gradients.gradients())
    word = gradients.words32
    assert_backends_agree(
        x,
        data.draw(gradients.level_counts),
        data.draw(st.tuples(gradients.seeds, word, word, word)),
        bucket_size=data.draw(gradients.bucket_sizes),
        norm=data.draw(gradients.norms),
        rounding=data.draw(gradients.roundings),
        tensor_sizes=data.draw(st.none() | gradients.tensor_sizes(x.size)),
        stream_version=data.draw(gradients.stream_versions),
    )


@pytest.mark.parametrize("norm", ["l2", "max"])
def test_a_bucket_of_more_blocks_than_one_level_of_the_tree_holds(norm):
    """A bucket above 512 blocks of 512, whose sum takes a third level, has the norm of the plain tree."""
    x = np.random.default_rng(0).normal(size=512 * 512 + 700).astype(np.float32)
    q = quantize(x, bits=3, bucket_size="model", norm=norm)

    assert q.norms.tolist() == [naive.stored_norm(x.tolist(), norm)]
    assert_same_floats(
        q.norms, quantize(x, bits=3, bucket_size="model", norm=norm, backend="reference").norms
    )


@pytest.mark.parametrize(("s", "norm", "rounding", "levels"), GOLDEN_LEVELS)
def test_golden_levels(s, norm, rounding, levels):
    """These levels and norms never change: results made with one version can be made with the next."""
    q = quantize(GOLDEN_INPUT, levels=s, norm=norm, rounding=rounding, **BUCKETS_OF_8)

    assert q.levels.tolist() == levels
    assert q.norms.tolist() == [float.fromhex(value) for value in GOLDEN_NORMS[norm]]


@given(gradients.gradients(gradients.FINITE_SPECIAL_VALUES), gradients.level_counts, gradients.norms)
def test_levels_are_the_neighbours_of_the_exact_position(x, s, norm):
    """|level| is at most s and less than one from s |v| / norm, up to the resolution of the arithmetic."""
    q = quantize(x, levels=s, bucket_size=64, norm=norm)
    levels = q.levels.astype(int)
    resolution = Fraction(1, 2 ** min(24, 31 - s.bit_length())) + Fraction(s, 2**22)

    assert (np.abs(levels) <= s).all()
    assert (levels * np.sign(x) >= 0).all()
    for i in np.flatnonzero(x)[:64]:
        position = s * Fraction(float(abs(x[i]))) / Fraction(float(q.norms[i // 64]))
        assert abs(abs(int(levels[i])) - position) < 1 + resolution


@given(st.integers(1, 32767), gradients.norms, st.data())
def test_a_value_lies_on_the_grid_of_its_bucket(s, norm, data):
    """A decoded value is level times norm / s, rounded once."""
    x = data.draw(gradients.gradients(gradients.FINITE_SPECIAL_VALUES))
    q = quantize(x, levels=s, bucket_size="model", norm=norm)
    for value, level in list(zip(dequantize(q).tolist(), q.levels.tolist(), strict=True))[:64]:
        exact = Fraction(level) * Fraction(float(q.norms[0])) / s
        assert abs(Fraction(value) - exact) <= abs(exact) / 2**24 + Fraction(1, 2**150)


def test_words_do_not_depend_on_the_bucket_size():
    """Where all buckets have the same norm, the levels are the same for every bucket size."""
    x = np.random.default_rng(1).uniform(-1, 1, 2048).astype(np.float32)
    x[::4] = 1  # so that every bucket's largest magnitude is 1
    expected = quantize(x, bits=3, norm="max", bucket_size=4).levels
    for bucket_size in (8, 12, 500, 512, 516, 2048, "tensor", "model"):
        assert (quantize(x, bits=3, norm="max", bucket_size=bucket_size).levels == expected).all()


@given(st.data(), st.sampled_from([1, 7, 64, 512, "tensor"]), gradients.norms)
def test_a_flat_gradient_is_quantized_tensor_by_tensor(data, bucket_size, norm):
    """With tensor_sizes the result is that of the pieces one by one, piece k on stream tensor + k."""
    x = data.draw(gradients.gradients())
    sizes = data.draw(gradients.tensor_sizes(x.size))
    scheme = {"bits": 3, "bucket_size": bucket_size, "norm": norm, "seed": 9}
    flat = quantize(x, tensor=40, tensor_sizes=sizes, **scheme)
    pieces = np.split(x, np.cumsum(sizes)[:-1])
    parts = [quantize(piece, tensor=40 + k, **scheme) for k, piece in enumerate(pieces)]

    assert (flat.levels == np.concatenate([part.levels for part in parts])).all()
    assert_same_floats(flat.norms, np.concatenate([part.norms for part in parts]))


@given(st.data(), st.integers(0, 3000), st.one_of(st.integers(1, 700), st.sampled_from(["tensor", "model"])))
def test_buckets_cover_the_gradient(data, n, bucket_size):
    """Buckets are those of a plain loop over tensors, none empty, and there is a norm for each."""
    sizes = data.draw(gradients.tensor_sizes(n))
    parts = partition(n, bucket_size, sizes)
    expected = [bucket for bucket in naive.buckets(sizes, bucket_size) if bucket]

    assert parts.bucket_offsets.tolist() == [0, *(bucket.stop for bucket in expected)]
    assert parts.tensor_offsets.tolist() == [sum(sizes[:t]) for t in range(len(sizes) + 1)]
    assert parts.num_buckets == len(expected)
    assert parts.num_coordinates == n


@pytest.mark.parametrize("field", ["seed", "node", "step", "tensor"])
def test_each_field_of_the_stream_changes_the_rounding(field):
    """Another seed, node, step or tensor rounds otherwise, the first coordinate of seed 0 among them."""
    x = np.full(64, 0.5, np.float32)
    runs = [quantize(x, bits=1, **{field: value}).levels for value in range(40)]

    assert len({run.tobytes() for run in runs}) == 40
    assert len({int(run[0]) for run in runs}) == 2


def test_nearest_rounding_ignores_the_stream_and_sends_ties_away_from_zero():
    """Rounding to nearest has no randomness: 1/2 goes to 1, -3/2 to -2, and 1.49 to 1."""
    x = np.float32([4.0, 0.5, -0.5, -1.5, 1.49, 0.49])
    for seed in range(20):
        q = quantize(x, levels=4, norm="max", rounding="nearest", seed=seed)
        assert q.levels.tolist() == [4, 1, -1, -2, 1, 0]

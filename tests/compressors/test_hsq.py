"""Hyper-sphere quantization: codebook, exact variance, greedy projection, and norms of few bits."""

from __future__ import annotations

from itertools import pairwise

import gradient_strategies as gradients
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_wire2_blocks import minus

from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.compressors.methods.hsq import HSQ
from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.errors import MessageError
from qsgd_lab.kernels.rotation_reference import transform
from qsgd_lab.stream import Stream
from qsgd_lab.theory import hyper_sphere as theory
from qsgd_lab.wire.key import Key, Purpose, words
from qsgd_lab.wire.kinds.hsq import HyperSphere, code_type
from qsgd_lab.wire.message import dense

FIRST = Stream()


def codebook(segment, count, seed=0):
    """Return the codewords as columns, by decoding each with norm 1, shape (d, K)."""
    codes = np.arange(count).astype(code_type(count.bit_length() - 1))
    sizes = (segment.bit_length() - 1, count.bit_length() - 1, 0, 0)
    norms = np.ones(count, np.float32)
    payload = HyperSphere(codes, norms, None, count * segment, *sizes, Key(seed=seed))
    return dense(payload).reshape(count, segment).T.astype(np.float64)


def sent(compressor, x, stream=FIRST):
    """Return (the payload of a gradient, what a receiver decodes)."""
    payload, _ = compressor.compress(x, None, stream)
    return payload, compressor.decompress(payload)


def error(values, x):
    """Return ||Q(v) - v||^2 / ||v||^2."""
    wide = x.astype(np.float64)
    return float(((values - wide) ** 2).sum() / (wide @ wide))


@pytest.mark.parametrize("mode", ["random", "greedy"])
def test_codewords_and_norms_are_those_of_the_reference(mode):
    """Bit for bit those of plain NumPy: two rounds of signs and transform, and one pass over the shares."""
    d, count, stream = 8, 32, Stream(seed=2**40 + 3, node=1, step=4)
    x = np.random.default_rng(6).standard_normal(d * 40 + 3).astype(np.float32)
    x[d : 2 * d], x[5 * d] = 0, np.nan
    key = {"seed": stream.seed, "role": 0, "node": 2**32 - 1, "step": 0, "base": 0}
    signs = [[1.0 - 2 * minus(key, purpose, i) for i in range(count)] for purpose in (4, 5)]
    first, second = np.array(signs).reshape(2, count // d, d)
    segments = np.append(x, np.zeros(-x.size % d)).astype(float).reshape(-1, 1, d)
    drawn = words(Key(**stream._asdict()), Purpose.ROUNDING, 2 * len(segments))[::2]
    codes, norms = [], []
    for segment, word in zip(segments, drawn, strict=True):
        y = np.array([transform(b * transform(a * segment[0])) for a, b in zip(first, second, strict=True)])
        y = y.reshape(-1)
        reached = np.cumsum(np.abs(y))
        share = int(np.argmax(reached > reached[-1] * (word / 2.0**32)))
        j = int(np.abs(y).argmax()) if mode == "greedy" else share
        norm = y[j] / d if mode == "greedy" else np.copysign(reached[-1], y[j]) / count
        codes.append(j if segment.any() and np.isfinite(norm) else 0)
        norms.append(norm if segment.any() else 0.0)
    payload, _ = sent(HSQ(d, count, mode, 0), x, stream)

    assert payload.codes.tolist() == codes
    assert payload.norms.tobytes() == np.float32(norms).tobytes()


@pytest.mark.parametrize(("segment", "count"), [(2, 2), (4, 32), (16, 16), (16, 256), (64, 128)])
def test_the_codebook_is_a_tight_frame_of_rotations(segment, count):
    """Columns have length one, each rotation is orthonormal, and C C' = (K/d) I; other seeds draw others."""
    columns = codebook(segment, count)

    assert columns @ columns.T == pytest.approx(count / segment * np.eye(segment), abs=1e-12)
    rotation = columns[:, :segment]
    assert rotation.T @ rotation == pytest.approx(np.eye(segment), abs=1e-12)
    assert not np.array_equal(columns, codebook(segment, count, seed=1))


def test_the_random_codeword_has_the_exact_variance_and_is_unbiased():
    """E|Q(v) - v|^2 = |C^+ v|_1^2 - |v|^2, and the mean of Q(v) is v within 4.7 standard errors."""
    compressor, columns = HSQ(8, 32, norm_bits=0), codebook(8, 32)
    v = np.array([0.5, -3, 0, 0.25, 1.5, -0.125, 2, 0], np.float32)
    values = np.array([sent(compressor, v, Stream(step=step))[1] for step in range(6000)], np.float64)
    errors = ((values - v) ** 2).sum(axis=1)
    spread = values.std(axis=0, ddof=1) / np.sqrt(len(values))

    expected = theory.hsq_variance(v, columns)
    assert abs(errors.mean() - expected) < 4.5 * errors.std(ddof=1) / np.sqrt(len(values))
    assert np.abs((values.mean(axis=0) - v) / spread).max() < 4.7
    assert expected <= compressor.variance_factor(8) * float(v @ v)


def test_the_published_figures():
    """Normal segments, d = 16, K = 256: variance 9.51 as for random codebooks of any size, cos^2 .47."""
    x = np.random.default_rng(0).standard_normal(16 * 20000).astype(np.float32)
    assert error(sent(HSQ(16, 256, norm_bits=0), x)[1], x) == pytest.approx(9.51, rel=0.01)
    assert theory.random_codebook_variance(16) == pytest.approx(9.509, abs=1e-3)
    greedy = error(sent(HSQ(16, 256, "greedy", 0), x)[1], x)
    cosines = [theory.greedy_contraction(segment, codebook(16, 256)) for segment in x.reshape(-1, 16)[:2000]]
    assert np.mean(cosines) == pytest.approx(0.47, abs=0.005)
    assert greedy == pytest.approx(1 - 0.471, abs=0.01)


def test_the_limit_of_random_codebooks_is_never_negative():
    """At d = 1 a codeword is +1 or -1, and nothing is lost; the variance grows with d."""
    found = [theory.random_codebook_variance(d) for d in range(1, 40)]
    assert found[0] == pytest.approx(0, abs=1e-12)
    assert all(a < b for a, b in pairwise(found))


@settings(max_examples=60)
@given(gradients.gradients([0.0, -0.0, 1.0, -3.5]), st.sampled_from([(2, 2), (4, 16), (16, 256)]))
def test_greedy_projects_on_the_closest_codeword(x, sizes):
    """The rest is orthogonal to what was sent, and no codeword has a larger product."""
    if not 1e-15 < np.abs(x).max(initial=0) < 1e15:
        x = np.sign(x)
    segment, count = sizes
    payload, values = sent(HSQ(segment, count, "greedy", 0), x)
    columns = codebook(segment, count)
    padded, decoded = (np.zeros(payload.codes.size * segment) for _ in range(2))
    padded[: x.size] = x
    products = padded.reshape(-1, segment) @ columns
    decoded = payload.norms[:, None] * columns.T[payload.codes.astype(int)]
    scale = np.abs(padded).max(initial=1)

    assert np.abs(products).max(axis=1, initial=0) == pytest.approx(np.abs(payload.norms), abs=1e-5 * scale)
    rest = padded.reshape(-1, segment) - decoded
    assert (rest * decoded).sum(axis=1) == pytest.approx(0, abs=1e-5 * scale**2 * segment)
    assert values == pytest.approx(decoded.reshape(-1)[: x.size], abs=1e-6 * scale * segment)


def test_a_codeword_is_sent_exactly_by_one_rotation():
    """With K = d, greedy decodes a multiple of a codeword without error."""
    columns = codebook(16, 16)
    v = (3 * columns[:, 5]).astype(np.float32)
    payload, values = sent(HSQ(16, 16, "greedy", 0), v)
    assert payload.codes.tolist() == [5]
    assert values == pytest.approx(v, rel=1e-6)


def test_norms_of_few_bits_are_unbiased_and_of_the_stated_error():
    """Rounded norms have the mean of the exact ones, and their levels are on the grid of their range."""
    norms, levels = [], []
    x = np.random.default_rng(1).standard_normal(16 * 300).astype(np.float32)
    exact = sent(HSQ(16, 16, "greedy", 0), x)[0].norms
    from qsgd_lab.wire.kinds.hsq import norms_of

    for step in range(400):
        payload, _ = HSQ(16, 16, "greedy", 3).compress(x, None, Stream(step=step))
        norms.append(norms_of(payload))
        levels.append(payload.norms)
    spread = np.std(norms, axis=0, ddof=1) / 20 + np.ptp(exact) / 7 / 400

    assert payload.ranges.shape == (2, 2)
    assert np.max(levels) == 7
    assert np.abs((np.mean(norms, axis=0, dtype=np.float64) - exact) / spread).max() < 4.7
    step = np.repeat(np.ptp(payload.ranges, axis=1) / 7, 256)[:300]
    assert (np.abs(norms[0] - exact) <= step * (1 + 1e-6)).all()


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e-3]), min_size=1, max_size=40),
    st.sampled_from([(2, 2), (4, 16)]),
    st.sampled_from(["random", "greedy"]),
    st.sampled_from([1, 2, 6]),
)
def test_the_error_with_rounded_norms_keeps_within_the_factor(shares, sizes, mode, bits):
    """The exact mean of the error, over codewords and rounding, is at most w |v|^2."""
    d, count = sizes
    columns = codebook(d, count)
    v = (np.array(shares)[:, None] * columns[:, 0]).astype(np.float32)
    norms = (v @ columns)[np.arange(len(v)), np.abs(v @ columns).argmax(axis=1)]
    exact = (v**2).sum() - (norms**2).sum()
    if mode == "random":  # of all choices of codewords, the signs that the largest coefficients have
        coefficients = d / count * (v @ columns)
        norms = np.copysign(np.abs(coefficients).sum(axis=1), norms)
        exact = (norms**2).sum() - (v**2).sum()
    place = (norms - norms.min()) / (np.ptp(norms) or 1) * (2**bits - 1)
    spacing = np.ptp(norms) / (2**bits - 1)
    rounding = spacing**2 * ((place - np.floor(place)) * (np.ceil(place) - place)).sum()

    factor = HSQ(d, count, mode, bits).variance_factor(v.size)
    assert exact + rounding <= factor * float((v**2).sum()) * (1 + 1e-5) + 1e-12


def test_rounding_norms_adds_what_the_bound_says():
    """Two opposite codewords among zeros, one bit: the error is the bound, (m - 2)/2 |v|^2."""
    compressor, columns = HSQ(4, 16, "greedy", 1), codebook(4, 16)
    v = np.zeros((64, 4), np.float32)
    v[0], v[1] = columns[:, 0], -columns[:, 0]
    x = v.ravel()
    mean = np.mean([error(sent(compressor, x, Stream(step=step))[1], x) for step in range(50)])

    assert compressor.variance_factor(x.size) == 31
    assert mean == pytest.approx(31, rel=1e-4)
    assert HSQ(norm_bits=6).variance_factor(2**20) == pytest.approx(16 * (1 + 254 / 2 / 63**2) - 1)
    assert HSQ(mode="greedy").contraction(2**20) == pytest.approx((1 - 254 / 2 / 63**2) / 16)


def test_segments_that_are_not_finite_or_zero_stay_apart():
    """A NaN marks its segment, or with norms of few bits its range; zero segments are zero."""
    x = np.random.default_rng(7).standard_normal(16 * 300).astype(np.float32)
    x[20], x[64:80] = np.inf, 0
    values, clean = (sent(HSQ(norm_bits=0), v)[1] for v in (x, np.where(np.isfinite(x), x, 0)))
    assert np.isnan(values[16:32]).all()
    assert values[32:].tobytes() == clean[32:].tobytes()
    assert not values[64:80].any()
    ranged = sent(HSQ(norm_bits=6), x)[1]
    assert np.isnan(ranged[: 16 * 256]).all()
    assert np.isfinite(ranged[16 * 256 :]).all()


@settings(max_examples=25)
@given(
    gradients.gradients(),
    st.sampled_from([(2, 2), (4, 64), (16, 256), (64, 1024)]),
    st.sampled_from(["random", "greedy"]),
    st.sampled_from([0, 1, 6, 16]),
)
def test_a_message_is_read_back_and_has_the_size_that_was_counted(x, sizes, mode, bits):
    """Unpacking gives the payload; "message" is 8 len(bytes); "fixed" is codes, norms and ranges."""
    compressor = HSQ(*sizes, mode, bits)
    payload, values = sent(compressor, x)
    packed = compressor.wire.pack(payload)
    read = compressor.wire.unpack(packed, Layout.of(x.size))
    size = compressor.wire.size(payload)

    assert read.codes.tobytes() == payload.codes.tobytes()
    assert compressor.decompress(read).tobytes() == values.tobytes()
    assert size.bits["message"] == 8 * len(packed)
    own = theory.hsq_bits_per_coordinate(*sizes, bits or 32) * sizes[0] * payload.codes.size
    assert size.bits["fixed"] == own + (0 if payload.ranges is None else 32 * payload.ranges.size)
    if x.size:
        with pytest.raises(MessageError, match="not of"):
            compressor.wire.unpack(packed, Layout.of(x.size + 1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hsq(segment=12)", "a power of two from 2 to 1024"),
        ("hsq(codebook=8)", "a power of two from 16 to 65536"),
        ("hsq(norm_bits=17)", "from 0 to 16"),
    ],
)
def test_bad_arguments_are_refused(text, words):
    """What is wrong is said when the compressor is made."""
    with pytest.raises(ValueError, match=words):
        COMPRESSORS.parse(text).make()
    with pytest.raises(ValueError, match="unknown mode 'best'"):
        HSQ(mode="best")


@pytest.mark.parametrize(("d", "columns"), [(2, 8), (4, 4), (8, 256), (16, 256)])
def test_cosines_of_greedy_choice_are_those_of_random_rotations(d, columns):
    """Means of cos^2 and cos^4 over 4,000 points on the sphere a rotation; .47 at d = 16, K = 256."""
    rng, largest = np.random.default_rng(d), np.zeros(4000)
    for _ in range(columns // d):
        squares = rng.standard_normal((4000, d)) ** 2
        largest = np.maximum(largest, squares.max(axis=1) / squares.sum(axis=1))
    found = theory.rotations_cosines(d, columns)

    assert found.square == pytest.approx(largest.mean(), abs=5 * largest.std() / 4000**0.5 + 0.001)
    assert found.fourth == pytest.approx((largest**2).mean(), abs=5 * (largest**2).std() / 4000**0.5 + 0.001)
    if (d, columns) == (16, 256):
        assert found.square == pytest.approx(0.471, abs=0.002)

"""EDEN and rotated stochastic rounding: every bit by a plain reference, and the laws of their errors."""

from __future__ import annotations

import gradient_strategies as gradients
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.compressors.methods.rotated import EDEN, RotatedStochastic
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.errors import MessageError
from qsgd_lab.exchange import SimulatedExchange
from qsgd_lab.kernels import rotation, rotation_reference
from qsgd_lab.ledger import Ledger
from qsgd_lab.stream import Stream
from qsgd_lab.theory.methods import eden as theory
from qsgd_lab.theory.methods.eden_bound import unbiased_error_bound
from qsgd_lab.wire.kinds.rotated import streams_of

BITS = (1, 2, 3, 4, 8)
FIRST = Stream()


@st.composite
def schemes(draw):
    """Draw a compressor of either kind, of any block size."""
    block, rounds = 2 ** draw(st.integers(0, 12)), draw(st.sampled_from([1, 2]))
    if draw(st.booleans()):
        return RotatedStochastic(draw(st.integers(1, 8)), block, rounds)
    return EDEN(draw(st.sampled_from(BITS)), draw(st.sampled_from(rotation.SCALES)), block, rounds)


def sent(compressor, x, stream=FIRST):
    """Return (the payload of a gradient, what a receiver decodes)."""
    payload, _ = compressor.compress(x, None, stream)
    return payload, compressor.decompress(payload)


def error(values, x):
    """Return ||Q(v) - v||^2 / ||v||^2."""
    wide = x.astype(np.float64)
    return float(((values - wide) ** 2).sum() / (wide @ wide))


@settings(max_examples=60)
@given(st.data())
def test_codes_scales_and_values_are_those_of_the_reference(data):
    """The kernels give the bits of the plain NumPy program, for every gradient, scheme and stream."""
    compressor = data.draw(schemes())
    # The reference takes each block in Python: two dozen, the last a part, are as good as three thousand.
    x = data.draw(gradients.gradients())[: 24 * compressor.block_size + compressor.block_size // 3]
    stream = Stream(*(data.draw(part) for part in (gradients.seeds, gradients.words32, st.integers(0, 99))))
    payload, values = sent(compressor, x, stream)
    scheme = (compressor.block_size, compressor.num_rounds, compressor.kind, compressor.bits)
    streams = streams_of(payload.key)
    codes, scales, offsets = rotation_reference.compress(x, *scheme, 0, streams)

    assert payload.codes.tobytes() == codes.tobytes()
    assert payload.scales.tobytes() == scales.tobytes()
    if payload.offsets is not None:
        assert payload.offsets.tobytes() == offsets.tobytes()
    bits = None if payload.offsets is not None else compressor.bits
    block, rounds = scheme[:2]
    again = rotation_reference.decompress(codes, scales, offsets, x.size, block, rounds, bits, 0, streams)
    assert values.tobytes() == again.tobytes()


@settings(max_examples=100)
@given(st.data())
def test_the_unbiased_scale_keeps_the_vector_along_itself(data):
    """<Q(v), v> = |v|^2 to 1e-6 |v|^2, for every vector and every rotation."""
    x = data.draw(gradients.gradients([0.0, -0.0, 1.0, -3.5]))
    if not 1e-30 < np.abs(x).max(initial=0) < 1e30:
        x = np.sign(x)
    compressor = EDEN(data.draw(st.sampled_from(BITS)), rounds=data.draw(st.sampled_from([1, 2])))
    values = sent(compressor, x, Stream(seed=data.draw(gradients.seeds)))[1].astype(np.float64)
    wide = x.astype(np.float64)

    assert abs(values @ wide - wide @ wide) <= 1e-6 * (wide @ wide)


@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize("size", [1, 4, 64, 4096])
def test_the_identity_holds_down_to_the_least_normal_scale(size, rounds):
    """From |v| = 2^-126 e^((rounds + 1) / 2) on, 1e-6; at 2^-24 of that the scale has few bits, or none."""
    spike, normal = np.eye(1, size)[0], np.random.default_rng(size).standard_normal(size)
    shortest = 2.0**-126 * size ** ((rounds + 1) / 2)
    for bits in (1, 2, 8):
        for v in (spike, normal, np.ones(size)):
            x = np.float32(v / np.linalg.norm(v) * shortest * 1.001)
            wide = x.astype(np.float64)
            values = sent(EDEN(bits, block_size=size, rounds=rounds), x)[1].astype(np.float64)
            assert abs(values @ wide - wide @ wide) <= 1e-6 * (wide @ wide)
            tiny = sent(EDEN(bits, block_size=size, rounds=rounds), x * np.float32(2.0**-26))[1]
            assert np.isfinite(tiny).all()
            assert np.abs(tiny.astype(np.float64)).max() <= 2.0**-145 * size**rounds * 3


#: Positive centroids, distortion and error of the unbiased scale, as in the authors' published code.
PUBLISHED = {
    1: ([0.797885], 0.363380, 0.570796),
    2: ([0.452780, 1.510418], 0.117482, 0.133121),
    3: ([0.245094, 0.756005, 1.343909, 2.151946], 0.034548, 0.035784),
    4: (
        [0.128395, 0.388048, 0.656759, 0.942340, 1.256231, 1.618046, 2.069017, 2.732590],
        0.009501,
        0.009592,
    ),
}


@pytest.mark.parametrize("bits", PUBLISHED)
def test_centroids_and_limits_are_the_published_ones(bits):
    """To six digits, in the theory and in the book that kernels read."""
    centroids, distortion, error = PUBLISHED[bits]

    assert theory.centroids(bits) == pytest.approx(centroids, abs=6e-7)
    assert rotation.book(bits) == pytest.approx(centroids, abs=6e-7)
    assert theory.distortion(bits) == pytest.approx(distortion, abs=6e-7)
    assert theory.limit_error(bits) == pytest.approx(error, abs=6e-7)


@pytest.mark.parametrize(
    ("step", "bits", "error"), [(2.421619, 1, 0.5347), (1.082447, 2, 0.0976), (0.522433, 3, 0.02274)]
)
def test_the_entropy_coded_variant_has_the_published_figures(step, bits, error):
    """Steps of the published tables cost 1, 2 and 3 bits; an independent sample agrees."""
    z = np.random.default_rng(0).standard_normal(200_000)
    c = step * np.rint(z / step)

    assert theory.entropy_coded(step) == pytest.approx((bits, error), abs=5e-5)
    assert (c @ c) * (z @ z) / (c @ z) ** 2 - 1 == pytest.approx(error, rel=0.01)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("scale", rotation.SCALES)
def test_the_error_is_the_limit(bits, scale):
    """On blocks of 4096 the error is that of large blocks within 1 %, for normal and for skewed vectors."""
    rng = np.random.default_rng(bits)
    for x in (rng.standard_normal(2**18), rng.lognormal(0, 2, 2**18)):
        x = x.astype(np.float32)
        found = error(sent(EDEN(bits, scale), x)[1], x)
        assert found == pytest.approx(theory.limit_error(bits, scale), rel=0.01 if bits < 8 else 0.02)


def test_the_scale_of_least_error_and_of_matched_norm():
    """Without padding, Q(v) - v is orthogonal to Q(v) for mse, and |Q(v)| = |v| for norm."""
    x = np.random.default_rng(1).standard_normal(8192).astype(np.float32)
    wide = x.astype(np.float64)
    least = sent(EDEN(2, "mse"), x)[1].astype(np.float64)
    matched = sent(EDEN(2, "norm"), x)[1].astype(np.float64)

    for block in (slice(0, 4096), slice(4096, 8192)):
        assert (least[block] - wide[block]) @ least[block] == pytest.approx(0, abs=1e-5 * (wide @ wide))
        assert matched[block] @ matched[block] == pytest.approx(wide[block] @ wide[block], rel=1e-5)


def test_one_round_is_biased_for_some_vectors_and_two_rounds_are_less():
    """In one round at one bit (1, 1/2, 0, ...) always decodes to (1.25, 0, ...); two average it out."""
    x = np.zeros(4096, np.float32)
    x[:2] = 1, 0.5
    means = {}
    for rounds in (1, 2):
        compressor = EDEN(1, rounds=rounds)
        values = [sent(compressor, x, Stream(seed=seed))[1] for seed in range(200)]
        means[rounds] = np.mean(values, axis=0, dtype=np.float64)
        if rounds == 1:
            assert all(v[0] == pytest.approx(1.25) and np.abs(v[1:]).max() < 1e-6 for v in values)
    along = {rounds: mean[:2] - x[:2] for rounds, mean in means.items()}

    assert np.linalg.norm(along[1]) / np.sqrt(1.25) == pytest.approx(0.5, abs=1e-6)
    # Four standard errors of two coordinates: each has variance .5708 |v|^2 / 4096 or less, 200 times.
    assert np.abs(along[2]).max() < 4 * np.sqrt(0.5708 * 1.25 / 4096 / 200) + 2e-3


def test_errors_of_nodes_are_independent():
    """Sixteen nodes that send one vector have a sixteenth of one node's error in their mean."""
    x = np.random.default_rng(2).standard_normal(2**16).astype(np.float32)
    for text in ("eden(bits=1)", "eden(bits=2)", "rotated-stochastic(bits=2)"):
        exchange = SimulatedExchange(COMPRESSORS.parse(text).make(), 16, 0, Layout.of(x.size))
        mean = np.empty_like(x)
        exchange.mean(np.tile(x, (16, 1)), 3, mean)
        one = error(sent(exchange.compressor, x)[1], x)
        assert error(mean, x) == pytest.approx(one / 16, rel=0.05)


def test_steps_and_nodes_have_their_own_rotation():
    """Another node, step, seed or tensor gives other codes for the same vector."""
    x = np.random.default_rng(3).standard_normal(4096).astype(np.float32)
    codes = {
        sent(EDEN(1), x, stream)[0].codes.tobytes()
        for stream in (Stream(), Stream(node=1), Stream(step=1), Stream(seed=1), Stream(tensor=1))
    }
    assert len(codes) == 5


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_stochastic_rounding_is_unbiased_for_every_vector(bits):
    """The mean of Q(v) is v within 4.5 standard errors, for vectors that a rotation leaves sparse too."""
    rng = np.random.default_rng(4)
    sparse = np.zeros(300, np.float32)
    sparse[:2] = 1, 0.5
    for x in (rng.standard_normal(300).astype(np.float32), sparse, np.full(7, -0.3, np.float32)):
        for rounds in (1, 2):
            compressor = RotatedStochastic(bits, 256, rounds)
            values = np.array([sent(compressor, x, Stream(seed=seed))[1] for seed in range(400)], np.float64)
            spread = values.std(axis=0, ddof=1) / np.sqrt(len(values))
            scores = (values.mean(axis=0) - x) / (spread + 1e-7 * np.abs(x).max())
            assert np.abs(scores).max() < 4.5 + 0.5 * (x.size > 100)


def rotated(payload, x):
    """Return the rotated blocks of a vector of whole blocks, by the reference, shape (blocks, d)."""
    keys, step, tensor, node = streams_of(payload.key)
    blocks = []
    for low in range(0, x.size, payload.block_size):
        y = x[low : low + payload.block_size]
        for pair in keys[: payload.rounds]:
            own = rotation_reference.signs(
                low, y.size, tuple(map(int, pair)), int(step), int(tensor), int(node)
            )
            y = rotation_reference.transform(y * own.astype(np.float32))
        blocks.append(y)
    return np.array(blocks)


def test_the_error_of_stochastic_rounding_is_its_formula():
    """E|Q(v) - v|^2 is the sum of step^2 p (1 - p) over the rotated coordinates, and within the bound."""
    x = np.random.default_rng(5).standard_normal(2**16).astype(np.float32)
    for bits in (1, 2, 4, 8):
        compressor = RotatedStochastic(bits)
        payload, values = sent(compressor, x)
        expected = theory.stochastic_error(rotated(payload, x), bits)
        assert error(values, x) == pytest.approx(expected, rel=0.01 if bits > 1 else 0.02)
        assert error(values, x) < theory.stochastic_bound(bits, 4096)
        assert compressor.variance_factor(x.size) == pytest.approx(
            theory.stochastic_bound(bits, 4096), rel=3e-3
        )


@pytest.mark.parametrize("bits", BITS)
def test_no_vector_exceeds_the_bound_of_its_scale(bits):
    """E|Q(v) - v|^2 <= w |v|^2 for every scale, also where one round leaves coordinates far from normal."""
    bound = theory.least_error_bound(bits)
    assert bound <= EDEN(bits, "mse").variance_factor(64) <= bound * 1.001
    unbiased = EDEN(bits).variance_factor(64)
    assert max(bound, theory.limit_error(bits)) < unbiased
    if bits < 4:  # the program for more bits takes seconds
        assert unbiased_error_bound(bits) <= unbiased <= unbiased_error_bound(bits) * 1.01
    hard = [np.eye(1, 64)[0], np.repeat([1.0, 0], [2, 62]), np.ones(64), np.repeat([1.0, 0], [3, 61])]
    hard.append(0.5 ** np.arange(64))
    for scale in rotation.SCALES:
        for rounds in (1, 2):
            compressor = EDEN(bits, scale, 64, rounds)
            for x in hard:
                x = x.astype(np.float32)
                found = [error(sent(compressor, x, Stream(seed=seed))[1], x) for seed in range(60)]
                slack = 4 * np.std(found, ddof=1) / np.sqrt(60) + 1e-6
                assert np.mean(found) <= compressor.variance_factor(64) + slack


def test_blocks_that_are_not_finite_or_zero_stay_apart():
    """A NaN or an infinity marks its own block; zero blocks are zero; others are as without them."""
    x = np.random.default_rng(7).standard_normal(300).astype(np.float32)
    x[70], x[140], x[192:256] = np.nan, -np.inf, 0
    for compressor in (EDEN(2, block_size=64), RotatedStochastic(3, 64)):
        values = sent(compressor, x)[1]
        clean = sent(compressor, np.where(np.isfinite(x), x, 0))[1]
        assert np.isnan(values[64:192]).all()
        assert values[:64].tobytes() == clean[:64].tobytes()
        assert values[256:].tobytes() == clean[256:].tobytes()
        assert not values[192:256].any()


@pytest.mark.parametrize("magnitude", [1e-44, 1e-38, 1e-20, 1e20, 1e38])
def test_extreme_magnitudes_are_compressed_like_others(magnitude):
    """The error is the usual one from the least subnormals, which cannot hold it, to 1e38."""
    x = np.random.default_rng(8).uniform(-1, 1, 4096).astype(np.float32)
    scaled = (x * np.float32(magnitude)).astype(np.float32)
    found = error(sent(EDEN(2), scaled)[1], scaled)
    if magnitude > 1e-40:
        assert found == pytest.approx(0.1331, rel=0.05)
    assert found < 4


@settings(max_examples=25)
@given(st.data())
def test_a_message_is_read_back_and_has_the_size_that_was_counted(data):
    """Unpacking gives the payload; "message" is 8 len(bytes); "fixed" is the theory's."""
    x, compressor = data.draw(gradients.gradients()), data.draw(schemes())
    payload, values = sent(compressor, x)
    packed = compressor.wire.pack(payload)
    read = compressor.wire.unpack(packed, Layout.of(x.size))
    size = compressor.wire.size(payload)

    assert read.codes.tobytes() == payload.codes.tobytes()
    assert compressor.decompress(read).tobytes() == values.tobytes()
    assert size.bits["message"] == 8 * len(packed)
    numbers = 2 if payload.offsets is not None else 1
    assert size.bits["fixed"] == theory.bits_of_blocks(
        x.size, compressor.bits, compressor.block_size, numbers
    )


def test_a_message_for_another_gradient_is_refused():
    """A receiver knows how many coordinates it expects, and that a cut message is none."""
    compressor = EDEN(2)
    packed = compressor.wire.pack(sent(compressor, np.ones(50, np.float32))[0])
    for received, size, words in ((packed, 51, "not of 51 coordinates"), (packed[:-8], 50, "claims")):
        with pytest.raises(MessageError, match=words):
            compressor.wire.unpack(received, Layout.of(size))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("eden(bits=5)", "bits is 5; it must be one of 1, 2, 3, 4, 8"),
        ("eden(block_size=1000)", "a power of two, at most 65536"),
        ("eden(rounds=3)", "rounds is 3; it must be 1 or 2"),
        ("rotated-stochastic(bits=9)", "bits is 9; it must be from 1 to 8"),
    ],
)
def test_bad_arguments_are_refused(text, words):
    """What is wrong is said when the compressor is made."""
    with pytest.raises(ValueError, match=words):
        COMPRESSORS.parse(text).make()
    with pytest.raises(ValueError, match="unknown scale 'best'"):
        EDEN(2, "best")


def test_rows_of_another_size_are_refused():
    """The fused mean never reads out of bounds."""
    rows = NodeRows(np.zeros((2, 9), np.float32))
    with pytest.raises(ValueError, match="no mean of 10 coordinates"):
        EDEN(2).mean(rows, [None, None], Stream(), np.empty(10, np.float32), Ledger())

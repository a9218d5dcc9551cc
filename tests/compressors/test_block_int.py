"""Blocks of integers: every bit by a plain reference, errors by formula, and two levels."""

from __future__ import annotations

import gradient_strategies as gradients
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsgd_lab.compressors import COMPRESSORS, ErrorFeedback
from qsgd_lab.compressors.methods.block_int import BlockInt
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.errors import MessageError
from qsgd_lab.exchange import SimulatedExchange
from qsgd_lab.kernels import block_integers_reference as reference
from qsgd_lab.kernels.reference import philox_words
from qsgd_lab.ledger import Ledger
from qsgd_lab.stream import Stream
from qsgd_lab.theory.methods import block_int as theory

ROUNDINGS = ("nearest", "stochastic")
FIRST = Stream()


@st.composite
def schemes(draw):
    """Draw a compressor."""
    smoother = draw(st.sampled_from([0, 32]))
    block = draw(st.sampled_from([32, 128, 1024])) if smoother else draw(st.sampled_from([1, 7, 128, 700]))
    return BlockInt(draw(st.sampled_from([4, 8])), block, draw(st.sampled_from(ROUNDINGS)), smoother)


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
    x, compressor = data.draw(gradients.gradients()), data.draw(schemes())
    stream = Stream(*(data.draw(part) for part in (gradients.seeds, gradients.words32, st.integers(0, 99))))
    payload, values = sent(compressor, x, stream)
    own = (stream.seed, stream.node, stream.step, stream.tensor)
    words = philox_words(payload.codes.size, *own) if compressor.rounding == "stochastic" else None
    block, smooth = compressor.block_size, compressor.is_smooth
    codes, scales = reference.compress(x, block, compressor.bits, smooth, words)

    assert payload.codes.tobytes() == codes.tobytes()
    assert payload.scales.tobytes() == scales.tobytes()
    assert values.tobytes() == reference.decompress(codes, scales, x.size, block, smooth).tobytes()
    assert np.abs(codes.astype(int)).max(initial=0) < 2 ** (compressor.bits - 1)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("smoother", [0, 32])
@pytest.mark.parametrize("bits", [4, 8])
def test_the_error_is_the_formula_and_within_the_bound(bits, smoother, rounding):
    """||Q(v) - v||^2 is that of the formula, exactly for nearest integers, and within the bound."""
    rng = np.random.default_rng(0)
    spike = np.zeros(2**14)
    spike[::128] = 1
    skewed = rng.standard_cauchy(2**14).astype(np.float32)
    for x in (rng.standard_normal(2**14), skewed, np.ones(2**14), spike):
        x = x.astype(np.float32)
        compressor = BlockInt(bits, 128, rounding, smoother)
        found = error(sent(compressor, x)[1], x)
        expected = theory.relative_error(x, bits, 128, rounding, smoother)
        if rounding == "nearest":
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-12)
        elif x[0] != skewed[0]:  # of which one block makes most of the error
            assert found == pytest.approx(expected, rel=0.1, abs=1e-12)
        assert expected <= theory.bound(bits, 128, rounding) <= compressor.variance_factor(x.size)


def test_the_figures_of_the_smoother():
    """Four bits in blocks of 128: normal .0136 with and without; lognormal with signs .057 and .013."""
    rng = np.random.default_rng(1)
    normal = rng.standard_normal(2**18).astype(np.float32)
    skewed = (rng.lognormal(size=2**18) * rng.choice([-1, 1], 2**18)).astype(np.float32)
    for x, smoother, expected in ((normal, 0, 0.0137), (normal, 32, 0.0138), (skewed, 32, 0.0135)):
        assert error(sent(BlockInt(4, smoother=smoother), x)[1], x) == pytest.approx(expected, rel=0.04)
    assert error(sent(BlockInt(4, smoother=0), skewed)[1], skewed) > 0.04


def test_stochastic_rounding_is_unbiased():
    """The mean of Q(v) is v within 4.5 standard errors, for blocks that end inside groups."""
    x = np.random.default_rng(2).standard_normal(300).astype(np.float32)
    for smoother in (0, 32):
        compressor = BlockInt(4, 128, "stochastic", smoother)
        values = np.array([sent(compressor, x, Stream(seed=seed))[1] for seed in range(500)], np.float64)
        spread = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        spread += values.max() / 7 / len(values)  # of coordinates so near a level that none was rounded away
        assert np.abs((values.mean(axis=0) - x) / spread).max() < 4.7


def test_blocks_that_are_not_finite_or_zero_stay_apart():
    """A NaN or an infinity marks its own block; zero blocks are zero; others are as without them."""
    x = np.random.default_rng(7).standard_normal(300).astype(np.float32)
    x[70], x[140], x[192:256] = np.nan, -np.inf, 0
    for smoother in (0, 32):
        compressor = BlockInt(4, 64, smoother=smoother)
        values, clean = sent(compressor, x)[1], sent(compressor, np.where(np.isfinite(x), x, 0))[1]
        assert np.isnan(values[64:192]).all()
        assert values[:64].tobytes() == clean[:64].tobytes()
        assert values[256:].tobytes() == clean[256:].tobytes()
        assert not values[192:256].any()


@pytest.mark.parametrize("magnitude", [1e-38, 1e-20, 1e20, 3e38])
def test_extreme_magnitudes_are_rounded_like_others(magnitude):
    """The error is the usual one down to normal numbers and up to the largest ones."""
    x = np.random.default_rng(8).uniform(-1, 1, 4096).astype(np.float32)
    for smoother in (0, 32):
        compressor = BlockInt(8, 128, smoother=smoother)
        usual, found = (error(sent(compressor, v)[1], v) for v in (x, x * np.float32(magnitude)))
        assert found == pytest.approx(usual, rel=0.02)


@settings(max_examples=25)
@given(st.data())
def test_a_message_is_read_back_and_has_the_size_that_was_counted(data):
    """Unpacking gives the payload; "message" is 8 len(bytes); "fixed" is b bits a code and 32 a scale."""
    x, compressor = data.draw(gradients.gradients()), data.draw(schemes())
    payload, values = sent(compressor, x)
    packed = compressor.wire.pack(payload)
    read = compressor.wire.unpack(packed, Layout.of(x.size))
    size = compressor.wire.size(payload)

    assert read.codes.tobytes() == payload.codes.tobytes()
    assert compressor.decompress(read).tobytes() == values.tobytes()
    assert size.bits["message"] == 8 * len(packed)
    assert size.bits["fixed"] == compressor.bits * payload.codes.size + 32 * payload.scales.size
    if x.size:
        with pytest.raises(MessageError, match="not of"):
            compressor.wire.unpack(packed, Layout.of(x.size + 1))


def two_level(nodes, machine, rounding="stochastic", feedback=False, n=4096):
    """Return an exchange in two levels."""
    compressor = BlockInt(4, 128, rounding, 32, machine)
    one = ErrorFeedback(compressor) if feedback else compressor
    return SimulatedExchange(one, nodes, 0, Layout.of(n))


def test_two_levels_have_the_error_of_fewer_messages_and_save_bits_between_machines():
    """Equal vectors of 32 nodes, 8 a machine: the error is that of 4 messages; bits are 8 and 4/8 a node."""
    x = np.random.default_rng(3).standard_normal(2**15).astype(np.float32)
    one, mean = two_level(32, 8, n=x.size), np.empty_like(x)
    one.mean(np.tile(x, (32, 1)), 0, mean)
    inside, between = (theory.relative_error(x, bits, 128, "stochastic") for bits in (8, 4))

    assert error(mean, x) == pytest.approx(theory.two_level_error(inside, between, 32, 8), rel=0.05)
    bits = one.ledger.bits["message"] / 32 / x.size
    assert bits == pytest.approx(8.25 + 4.25 / 8, abs=0.2)


def test_two_levels_lose_nothing_under_error_feedback():
    """Sum of means + mean residual = sum of mean gradients, for machines of unequal size too."""
    one, n = two_level(5, 2, "nearest", True, 1000), 1000
    given_sum, total, out = np.zeros(n), np.zeros(n), np.empty(n, np.float32)
    for step in range(20):
        rows = np.random.default_rng(step).standard_normal((5, n)).astype(np.float32)
        one.mean(rows, step, out)
        given_sum, total = given_sum + rows.mean(axis=0, dtype=np.float64), total + out
    kept = np.mean([state.residual for state in one.states], axis=0)

    assert np.abs(total + kept - given_sum).max() < 2e-5
    assert np.abs(kept).max() < 3


def test_two_levels_of_few_coordinates_and_machines_that_hold_all_nodes():
    """Parts without coordinates are sent as such, and one machine is its own mean in 8 and then 4 bits."""
    for nodes, machine, n in ((4, 3, 5), (3, 8, 300), (1, 2, 40), (2, 2, 0)):
        one, out = two_level(nodes, machine, n=n), np.empty(n, np.float32)
        rows = np.random.default_rng(n).standard_normal((nodes, n)).astype(np.float32)
        one.mean(rows, 0, out)
        assert np.abs(out - rows.mean(axis=0)).max(initial=0) < 1.5


def test_two_levels_keep_within_float32():
    """Near the largest float32 sums of nodes overflow; the mean, and what a node sent, stay finite."""
    largest = np.finfo(np.float32).max
    signs = np.random.default_rng(4).choice([-1, 1], 300)
    for rows in (np.full((4, 300), largest), np.tile(largest * signs, (4, 1))):
        one, out = two_level(4, 2, "nearest", feedback=True, n=300), np.empty(300, np.float32)
        one.mean(rows.astype(np.float32), 0, out)
        assert error(out / largest, np.float32(rows[0] / largest)) < 0.1
        assert np.isfinite([state.residual for state in one.states]).all()
    rows[1, 5] = np.nan
    one = two_level(4, 2, "nearest", feedback=True, n=300)  # with the residuals of before it would overflow
    one.mean(rows.astype(np.float32), 1, out)
    assert np.isnan(out[:128]).all()
    assert np.isfinite(out[128:]).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("block-int(bits=5)", "bits is 5; it must be 4 or 8"),
        ("block-int(block_size=100)", "with a smoother it must be a multiple of 32"),
        ("block-int(block_size=0)", "from 1 to 65536"),
        ("block-int(smoother=16)", "smoother is 16; it must be 0 or 32"),
        ("block-int(machine=0)", "at least 1 node"),
    ],
)
def test_bad_arguments_are_refused(text, words):
    """What is wrong is said when the compressor is made."""
    with pytest.raises(ValueError, match=words):
        COMPRESSORS.parse(text).make()
    with pytest.raises(ValueError, match="unknown rounding 'up'"):
        BlockInt(rounding="up")


def test_rows_of_another_size_are_refused():
    """The fused mean never reads out of bounds."""
    rows = NodeRows(np.zeros((2, 9), np.float32))
    with pytest.raises(ValueError, match="no mean of 10 coordinates"):
        BlockInt().mean(rows, [None, None], Stream(), np.empty(10, np.float32), Ledger())

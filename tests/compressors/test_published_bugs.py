"""Mistakes that public quantizers make: each is here by the law it breaks.

All were found in code that people train with. Some are held by laws elsewhere in these tests as well; here
they are listed by name, so that nobody introduces them again.
"""

from __future__ import annotations

import naive
import numpy as np
import pytest
from compressor_cases import CASES, average_one

from qsgd_lab import dequantize, num_levels, quantize
from qsgd_lab.coding.class_counts import dense_bits, quantized_size
from qsgd_lab.coding.elias import LENGTHS
from qsgd_lab.compressors import QSGD, Damped, ErrorFeedback, FullPrecision
from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.ledger import Ledger
from qsgd_lab.stream import Stream

NORMS = ("l2", "max")


def tally_of(compressor, gradient):
    """Return what one message of a gradient counts."""
    return average_one(compressor, gradient, Layout.of(gradient.size), Stream())[1]


@pytest.mark.parametrize("norm", NORMS)
def test_a_zero_gradient_does_not_divide_by_zero(norm):
    """0/0 cast to an integer is undefined; zeros are norm 0 and level 0."""
    q = quantize(np.zeros(1000, np.float32), bits=3, norm=norm)

    assert not q.levels.any()
    assert not q.norms.any()
    assert not dequantize(q).any()


@pytest.mark.parametrize("norm", NORMS)
def test_non_finite_gradients_are_not_hidden(norm):
    """Leaving NaN and infinities out of the norm makes a diverged run look well; here they show."""
    for value in (np.nan, np.inf):
        q = quantize(np.float32([1, value, 1]), bits=3, norm=norm)
        assert np.isnan(dequantize(q)).all()


def test_the_max_norm_is_that_of_magnitudes():
    """max(v) is not max |v|: with it, levels of negative coordinates leave 0..s."""
    q = quantize(np.float32([-1, -0.5, 0.1]), levels=4, norm="max")

    assert q.norms.tolist() == [1.0]
    assert q.levels.tolist()[:2] == [-4, -2]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("s", [1, 3, 7, 15, 127, 255, 32767])
def test_level_s_is_legal(s, norm):
    """A one-hot bucket has level s, not s - 1, and everything downstream takes it."""
    x = np.zeros(40, np.float32)
    x[3] = -2
    q = quantize(x, levels=s, norm=norm)

    assert q.levels[3] == -s
    assert dequantize(q)[3] == -2
    tally = tally_of(QSGD(levels=s, norm=norm), x)
    for code in LENGTHS:
        assert tally.bits[code] == len(naive.dense_message(q.levels.tolist(), 1, code))


@pytest.mark.parametrize("bits", [1, 2, 3, 7])
def test_multiplying_by_s_and_dividing_by_another_number_inflates(bits):
    """E[Q(1/2)] is 1/2, not s / (s - 1) / 2."""
    x = np.full(20_000, 0.5, np.float32)
    x[0] = 1
    s = num_levels(bits)
    mean = dequantize(quantize(x, bits=bits, norm="max", bucket_size="model"))[1:].mean(dtype=np.float64)

    assert abs(mean - 0.5) < 4.5 * (0.5 / s) / np.sqrt(x.size - 1)


def test_stochastic_rounding_is_the_default():
    """What is called QSGD rounds at random unless asked otherwise: nearest rounding is biased."""
    x = np.full(1000, 0.01, np.float32)
    x[0] = 1

    assert quantize(x, bits=1, norm="max", bucket_size="model").levels[1:].any()
    assert CASES["qsgd"]().is_unbiased
    assert QSGD(bits=3).is_unbiased


def test_zero_is_a_level():
    """A grid without 0 cannot be sparse: zeros stay zero, and most small coordinates become zero."""
    x = np.random.default_rng(0).normal(size=4096).astype(np.float32)
    x[::2] = 0
    levels = quantize(x, bits=1, bucket_size="model").levels

    assert not levels[::2].any()
    assert np.count_nonzero(levels) <= 1 * (1 + np.sqrt(4096))


def test_one_bit_is_ternary():
    """At b = 1, s is 1: the levels -1, 0, 1, and not five of them."""
    x = np.random.default_rng(0).normal(size=4096).astype(np.float32)

    assert num_levels(1) == 1
    assert set(quantize(x, bits=1, norm="max").levels.tolist()) == {-1, 0, 1}


def test_one_shift_is_not_a_power_less_one():
    """2 << b - 1 is 2^b by precedence; s is 2^b - 1."""
    assert [num_levels(b) for b in range(1, 9)] == [2**b - 1 for b in range(1, 9)]


def test_nodes_do_not_round_alike():
    """Nodes with one seed and one gradient draw different words, also in the same second."""
    x = np.full(512, 0.3, np.float32)
    levels = {quantize(x, bits=1, node=node).levels.tobytes() for node in range(32)}

    assert len(levels) == 32


def test_the_first_coordinate_is_random_too():
    """A generator seeded by seed * index gives the first coordinate one word for all seeds; ours does not."""
    firsts = [
        int(quantize(np.float32([0.5, 1]), bits=1, norm="max", seed=seed).levels[0]) for seed in range(64)
    ]

    assert 15 <= sum(firsts) <= 49


def test_zero_and_one_have_code_words_of_their_own():
    """Codes of positive integers start at 1; level 0 is coded as 1 and level 1 as 2, and they differ."""
    for code, length in LENGTHS.items():
        bits = [dense_bits(np.array([1, level], np.int64), 0, code) for level in (0, 1)]
        assert bits == [length(1), length(2) + 1]


@pytest.mark.parametrize("bits", range(1, 9))
def test_fixed_width_counts_all_levels_the_sign_and_the_norm(bits):
    """2s + 1 values need b + 1 bits: neither b, nor ceil(log2 s), nor 8 whatever s is."""
    x = np.random.default_rng(0).normal(size=2000).astype(np.float32)
    q = quantize(x, bits=bits)
    tally = tally_of(QSGD(bits=bits), x)

    assert 2 ** (bits + 1) >= 2 * q.num_levels + 1 > 2**bits
    assert tally.bits["fixed"] == (bits + 1) * 2000 + 32 * 4
    assert tally.bits["fixed"] == len(naive.fixed_message(q.levels.tolist(), 4, q.num_levels))


def test_counts_of_bits_are_integers_of_any_size():
    """A float32 count of bits is wrong from 2^24 on, an int32 from 2^31 on; these are exact beyond 2^53."""
    tally = Ledger()
    for count in (2**24 + 1, 2**31 + 1, 2**53 + 1):
        tally.add(quantized_size(1, 1, np.array([count, 0], np.int64)))
    total = 2**24 + 2**31 + 2**53 + 3

    assert tally.bits["omega"] == total + 96
    assert tally.bits["fixed"] == 2 * total + 96


def test_sums_over_nodes_do_not_wrap():
    """127 + 127 is not -2: what is added is values, not int8 levels."""
    x = np.float32([4, -4])
    compressor, total = QSGD(levels=127, norm="max"), np.zeros(2, np.float32)
    for node in range(8):
        total += average_one(compressor, x, Layout.of(2), Stream(node=node))[0]

    assert total.tolist() == [32, -32]


def test_full_precision_bypasses_the_quantizer():
    """2^32 levels overflow an integer: 32 bits means the gradient itself, and bits=32 is refused."""
    x = np.float32([1, 0.9, 0.6, 0.4, -0.3, -1])
    compressor = FullPrecision()
    message, _ = compressor.compress(x, None, Stream())

    assert compressor.decompress(message).tobytes() == x.tobytes()
    assert tally_of(compressor, x).bits_per_coordinate() == {"fp32": 32.0}
    with pytest.raises(ValueError, match="32 means fp32"):
        QSGD(bits=32)


def test_the_error_memory_is_not_zero():
    """The memory is v - Q(v), taken before the gradient is overwritten: non-zero after the first step."""
    x = np.random.default_rng(0).normal(size=600).astype(np.float32)
    compressor = ErrorFeedback(Damped(QSGD(bits=1)))
    message, state = compressor.compress(x, compressor.init(Layout.of(600)), Stream())

    assert np.count_nonzero(state.residual) == 600
    assert (state.residual == x - compressor.decompress(message)).all()


@pytest.mark.parametrize("name", ["qsgd", "qsgd-max", "ternary"])
def test_a_lossy_quantizer_has_a_variance(name):
    """A variance factor of 0 for max norm or ternary levels makes step sizes too long; it is what it is."""
    x = np.random.default_rng(0).normal(size=512).astype(np.float32)
    compressor = CASES[name]()
    message, _ = compressor.compress(x, compressor.init(Layout.of(512)), Stream())
    error = compressor.decompress(message) - x

    assert 0 < error @ error < 2 * compressor.variance_factor(512) * (x @ x)


def test_quantizing_is_not_the_identity():
    """Multiplying the unrounded value by sign and norm would send fp32 by another name; values are 2s + 1."""
    x = np.random.default_rng(0).uniform(-1, 1, 512).astype(np.float32)

    assert len(np.unique(dequantize(quantize(x, bits=2, norm="max")))) == 7


@pytest.mark.parametrize("n", [1, 7, 100, 999, 1000, 1001])
def test_small_and_odd_sizes_are_compressed_too(n):
    """No size falls back to fp32 silently: 1000 coordinates or fewer, or a number that nothing divides."""
    x = np.random.default_rng(n).normal(size=n).astype(np.float32)
    tally = tally_of(QSGD(bits=3), x)

    assert (tally.coordinates, tally.raw_coordinates) == (n, 0)


def test_a_gradient_that_buckets_divide_gets_no_extra_bucket():
    """1024 coordinates in buckets of 512 send two norms, not three."""
    assert quantize(np.ones(1024, np.float32), bits=3).norms.tolist() == [np.float32(np.sqrt(512))] * 2

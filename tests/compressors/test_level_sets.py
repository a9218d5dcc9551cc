"""Level sets and one-bit methods: both backends, the published figures, shared scales, bounds."""

from __future__ import annotations

import math

import gradient_strategies as gradients
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsgd_lab.compressors import ErrorFeedback
from qsgd_lab.compressors.level_sets import round_to_levels, scales_by_norm
from qsgd_lab.compressors.methods.level_set import NUQSGD, Natural
from qsgd_lab.compressors.methods.one_bit import OneBitQuantizer
from qsgd_lab.compressors.methods.shared_scale import UniformLevels
from qsgd_lab.compressors.protocol import Gather, Layout
from qsgd_lab.exchange import SimulatedExchange
from qsgd_lab.kernels.level_sets import EXPONENTIAL, POWERS, UNIFORM, WITHOUT_ZERO
from qsgd_lab.partition import partition
from qsgd_lab.stream import Stream
from qsgd_lab.theory.methods import level_set, one_bit, shared_scale

#: Makers of the family, by the backend.
FAMILY = {
    "nuqsgd": lambda b: NUQSGD(4, bucket_size=100, backend=b),
    "published": lambda b: NUQSGD(3, "published", "max", "model", backend=b),
    "natural": Natural,
    "terngrad": lambda b: UniformLevels(1, scale="own", clip=2.5, backend=b),
    "qsgd-shared": lambda b: UniformLevels(7, norm="l2", bucket_size=64, backend=b),
    "one-bit": lambda b: OneBitQuantizer("means", 100, b),
    "sign": lambda b: OneBitQuantizer("scale", "tensor", b),
}


@pytest.mark.parametrize("name", FAMILY)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_kernels_give_the_bits_of_the_reference(name, data):
    """Numba's kernels and plain NumPy make the same message of any gradient, special values included."""
    x = data.draw(gradients.gradients())
    layout = Layout.of(x.size, data.draw(st.none() | gradients.tensor_sizes(x.size)))
    stream = Stream(data.draw(gradients.seeds), 3, 2**31, 2**32 - 1)
    with np.errstate(all="ignore"):
        kernel, reference = (FAMILY[name](backend) for backend in ("cpu", "reference"))
        messages = [
            one.wire.pack(one.compress(x, one.init(layout), stream)[0]) for one in (kernel, reference)
        ]

    assert messages[0] == messages[1]


@pytest.mark.parametrize("grid", [UNIFORM, EXPONENTIAL, WITHOUT_ZERO])
def test_every_grid_is_unbiased_everywhere(grid):
    """The mean code value is the coordinate at every position, within 4.5 standard errors of 2^16 draws."""
    ratios = np.float32([0, 1e-3, 0.01, 0.124, 0.125, 0.126, 0.3, -0.3, 0.5, 0.77, -0.99, 1])
    draws, s = 2**16, 4
    x = np.repeat(ratios, draws)
    parts = partition(x.size, "model")
    codes = round_to_levels(x, parts, Stream(5), np.ones(1, np.float32), grid, s, "auto")
    if grid == UNIFORM:
        values = codes / s
    else:
        table = level_set.exponential_levels(s, has_zero=grid == EXPONENTIAL)
        values = table[codes + s]
    by_ratio = values.reshape(-1, draws)
    error = np.abs(by_ratio.mean(axis=1) - ratios)

    assert (error <= 4.5 * by_ratio.std(axis=1) / math.sqrt(draws) + 1e-7).all()


def test_powers_of_two_stay_and_others_go_to_a_neighbour():
    """2^k is sent as it is; 1.25 becomes 2 once in four times; above 2^127 it saturates."""
    exact = np.float32(2.0) ** np.arange(-126, 128, dtype=np.float32)
    x = np.concatenate([exact, -exact, np.full(4000, 1.25, np.float32), np.float32([3.4e38, 0.0, -0.0])])
    y = Natural().decompress(Natural().compress(x, partition(x.size, "model"), Stream(1))[0])
    middle = y[508:4508]

    assert y[:508].tobytes() == x[:508].tobytes()
    assert set(middle) == {1, 2}
    assert abs(middle.mean() - 1.25) < 4.5 * math.sqrt(0.25 * 0.75 / 4000)
    assert y[4508] == np.float32(2.0**127)
    assert y[4509:].view(np.uint32).tolist() == [0, 0]


def test_codes_of_powers_are_a_byte():
    """The kernel's codes are 0 to 254 of either sign, and 255 for NaN and infinities."""
    x = np.float32([0, 2.0**-126, -1, 2.0**127, np.nan, np.inf])
    codes = round_to_levels(x, partition(6, "model"), Stream(), np.ones(1, np.float32), POWERS, 0, "auto")

    assert np.abs(codes).tolist() == [0, 1, 127, 254, 255, 255]


def test_the_published_grid_costs_six_times_the_variance():
    """A normal bucket of 512 with four levels a side: 1.27 with zero, 7.02 without; 1.828 at worst."""
    x = np.random.default_rng(0).standard_normal((40, 512))
    size = (x**2).sum()
    with_zero, without = (level_set.exponential_variance(x, 4, zero) / size for zero in (True, False))

    assert with_zero == pytest.approx(1.273, abs=0.01)
    assert without == pytest.approx(7.02, abs=0.03)
    assert level_set.exponential_bound(512, 4) == pytest.approx(1.828, abs=5e-4)


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("has_zero", [True, False])
@pytest.mark.parametrize(("d", "s"), [(2, 1), (16, 1), (16, 3), (512, 4), (4096, 3)])
def test_no_vector_exceeds_the_bound_of_exponential_levels(d, s, has_zero, norm):
    """Constant, one-hot and 4/3-of-a-level vectors, and noise on them, stay below the bound and come near."""
    rng = np.random.default_rng(d + s)
    bound = level_set.exponential_bound(d, s, has_zero, norm)
    least = 2.0 ** (1 - s)
    one_hot, low = np.full(d, 1e-9), np.full(d, least / (2 + 2 * bound))
    one_hot[0] = low[0] = 1
    starts = [np.ones(d), one_hot, low, np.where(np.arange(d) % 2, 4 / 3 * least, 1)]
    best = 0.0
    for x in starts:
        for scale in (0, 0.01, 0.1, 0.3):
            y = x * np.exp(scale * rng.standard_normal(d))
            best = max(best, level_set.exponential_variance(y, s, has_zero, norm, d) / (y @ y))

    assert best <= bound * (1 + 1e-9)
    assert best >= 0.3 * bound
    factor = NUQSGD(8, norm=norm, bucket_size=d)
    factor.levels, factor.has_zero = s, has_zero
    assert factor.variance_factor(10**6) == pytest.approx(bound)


def test_the_error_of_normal_vectors():
    """Natural .0816, TernGrad 1.007 with its cut, 1.24 % of coordinates cut; 1-bit and sign 1 - 2/pi."""
    x = np.random.default_rng(1).standard_normal(400_000)
    n, squares = x.size, x @ x

    assert level_set.expected_error_natural(x) / squares == pytest.approx(0.0816, abs=2e-4)
    assert shared_scale.expected_error_terngrad(x) / squares == pytest.approx(1.007, abs=0.01)
    assert (np.abs(x) > shared_scale.terngrad_scale(x, 2.5)).mean() == pytest.approx(0.0124, abs=8e-4)
    assert one_bit.expected_error_one_bit(x, n) / squares == pytest.approx(one_bit.NORMAL_ERROR, abs=0.004)
    assert one_bit.expected_error_sign(x, n) / squares == pytest.approx(one_bit.NORMAL_ERROR, abs=0.004)


@given(st.integers(2, 60), st.integers(0, 10**6), st.sampled_from([0.5, 2.5, 4.0, 6.0]))
def test_no_vector_exceeds_the_bound_of_clipped_ternary_levels(n, seed, clip):
    """Normal, heavy-tailed and spiked vectors stay below the bound."""
    rng = np.random.default_rng(seed)
    spiked = np.full(n, clip / 4)
    spiked[0] = math.sqrt(max(0, n - (n - 1) * (clip / 4) ** 2))
    for x in (rng.standard_normal(n), rng.standard_cauchy(n), spiked):
        error = shared_scale.expected_error_terngrad(x, clip)
        assert error <= shared_scale.terngrad_bound(n, clip) * (x @ x) * (1 + 1e-9)


def test_the_bound_of_clipped_ternary_levels_is_nearly_attained():
    """With 10^6 coordinates, a floor of M/4 and one spike have 0.99 of 1 + c^2 / 8."""
    n, clip = 10**6, 2.5
    x = np.full(n, clip / 4)
    x[0] = math.sqrt(n - (n - 1) * (clip / 4) ** 2)
    attained = shared_scale.expected_error_terngrad(x, clip) / (x @ x)

    assert 0.99 * shared_scale.terngrad_bound(n, clip) < attained <= shared_scale.terngrad_bound(n, clip)


@pytest.mark.parametrize("clip", [0.0, 2.5])
def test_a_constant_tensor_and_a_single_coordinate_are_not_cut(clip):
    """The root mean square of a constant is the constant itself; about the mean it would be 0."""
    for n in (1, 5, 300):
        x = np.full(n, -3.0, np.float32)
        compressor = UniformLevels(1, scale="own", clip=clip)
        payload, _ = compressor.compress(x, compressor.init(Layout.of(n)), Stream())
        assert compressor.decompress(payload).tolist() == x.tolist()


SHARED = {
    "qsgd-shared": lambda: UniformLevels(7, bucket_size=100),
    "terngrad": lambda: UniformLevels(1, scale="shared", clip=2.5),
}


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("name", SHARED)
def test_shared_scales_make_levels_that_add_up(name, feedback):
    """Three nodes agree on the largest scale; the mean is that of the decoded messages, to float32."""
    make, n = SHARED[name], 500
    compressor = ErrorFeedback(make()) if feedback else make()
    layout = Layout.of(n, (300, 0, 200))
    rows = np.random.default_rng(2).standard_normal((3, n)).astype(np.float32)
    rows *= np.float32([[1], [3], [0.1]])
    exchange, mean = SimulatedExchange(compressor, 3, 9, layout), np.empty(n, np.float32)
    exchange.mean(rows, 4, mean)
    inner, parts = make(), make().init(layout)
    clipped = [inner._clipped(row, parts) for row in rows]
    scales = np.maximum.reduce([own for _, own in clipped])
    payloads = [inner._quantized(x, scales, parts, Stream(9, node, 4)) for node, (x, _) in enumerate(clipped)]
    each = np.array([inner.decompress(payload) for payload in payloads], np.float64)

    assert {payload.norms.tobytes() for payload in payloads} == {scales.tobytes()}
    assert mean == pytest.approx(each.mean(axis=0), rel=1e-6, abs=1e-9)
    bits = sum(inner.wire.size(payload).bits["message"] for payload in payloads)
    assert exchange.ledger.bits["message"] > bits  # and the round of scales
    if feedback:
        kept = np.array([state.residual for state in exchange.states])
        assert kept == pytest.approx(rows - each, abs=1e-5)


def test_nodes_that_are_alike_have_independent_errors_under_a_shared_scale():
    """16 equal nodes leave 1/16 of one's error: the scale is shared, the random words are not."""
    x, errors = np.random.default_rng(0).standard_normal(1000).astype(np.float32), []
    for nodes in (1, 16):
        exchange = SimulatedExchange(UniformLevels(3, bucket_size=100), nodes, 3, Layout.of(1000))
        mean = np.empty_like(x)
        exchange.mean(np.repeat(x[None], nodes, axis=0), 0, mean)
        errors.append(float(((mean - x) ** 2).sum()))

    assert errors[0] / 16 / 1.5 < errors[1] < 1.5 * errors[0] / 16


def test_a_node_that_diverged_is_seen_by_all():
    """One NaN makes the shared scale of its bucket NaN, and of no other bucket."""
    exchange = SimulatedExchange(UniformLevels(7, bucket_size=100), 2, 0, Layout.of(300))
    rows, mean = np.ones((2, 300), np.float32), np.empty(300, np.float32)
    rows[1, 150] = np.nan
    exchange.mean(rows, 0, mean)

    assert np.isnan(mean[100:200]).all()
    assert (mean[np.r_[:100, 200:300]] == 1).all()


def test_a_sum_of_levels_needs_a_few_more_bits():
    """Sums of N nodes' levels reach from -sN to sN."""
    for s, nodes in [(7, 8), (1, 4), (1, 8), (127, 64)]:
        assert (
            2 ** (shared_scale.sum_bits(s, nodes) - 1)
            < 2 * s * nodes + 1
            <= 2 ** shared_scale.sum_bits(s, nodes)
        )


def test_own_scales_take_one_round():
    """Without a shared scale the rounds are one exchange of payloads."""
    compressor = UniformLevels(1, scale="own")
    player = compressor.rounds(np.ones(4, np.float32), compressor.init(Layout.of(4)), Stream())
    move = next(player)
    assert isinstance(move, Gather)
    with pytest.raises(StopIteration) as end:
        player.send([move.payload])
    assert end.value.value.mean.tolist() == [1, 1, 1, 1]


def test_scales_are_the_norms():
    """The scale of a bucket is its l2 or max norm in float32; NaN where something is not finite."""
    x = np.float32([3, -4, 0, 0, np.inf])
    assert scales_by_norm(x, partition(5, 2), "l2", "auto").tolist()[:2] == [5, 0]
    assert scales_by_norm(x, partition(5, 2), "max", "auto").tolist()[:2] == [4, 0]
    assert np.isnan(scales_by_norm(x, partition(5, 2), "max", "auto")[2])


def test_an_empty_class_decodes_to_zero_and_a_zero_bucket_to_zeros():
    """Buckets without coordinates below 0, of zeros, and with a NaN have defined outcomes."""
    x = np.float32([1, 3, 0, 0, -2, -4, np.nan, 1])
    for values, expected in [("means", [2, 2, 0, 0, -3, -3]), ("scale", [2, 2, 0, 0, -3, -3])]:
        compressor = OneBitQuantizer(values, 2)
        y = compressor.decompress(compressor.compress(x, compressor.init(Layout.of(8)), Stream())[0])
        assert y[:6].tolist() == expected
        assert np.isnan(y[6:]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NUQSGD(9), "bits is 9; it must be from 1 to 8"),
        (lambda: NUQSGD(2, bucket_size=2**31 + 1), "buckets of 2147483649; 2.31 is the most"),
        (lambda: OneBitQuantizer("means", 2**31 + 1), "buckets of 2147483649; 2.31 is the most"),
        (lambda: NUQSGD(3, "paper"), "unknown convention 'paper'; known: with-zero, published"),
        (lambda: NUQSGD(3, norm="l1"), "unknown norm 'l1'"),
        (lambda: NUQSGD(3, bucket_size=0), "bucket_size is 0"),
        (lambda: Natural("gpu"), "unknown backend 'gpu'"),
        (lambda: UniformLevels(1, clip=-1), "clip is -1; it must be a number of at least 0"),
        (lambda: UniformLevels(1, scale="none"), "unknown scale 'none'; known: own, shared"),
        (lambda: OneBitQuantizer("median"), "unknown values 'median'"),
    ],
)
def test_bad_arguments_are_one_clear_line(call, message):
    """A bad argument is refused when the compressor is made."""
    with pytest.raises(ValueError, match=message):
        call()

"""Laws of every compressor, run over the table; a new row inherits them."""

from __future__ import annotations

import copy
import inspect

import gradient_strategies as gradients
import numpy as np
import pytest
from compressor_cases import CASES, average_one
from hypothesis import given, settings
from hypothesis import strategies as st

from qsgd_lab.compressors import QSGD, Compressor, Damped, ErrorFeedback, FullPrecision
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.ledger import Ledger
from qsgd_lab.stream import Stream

#: Rows, and schemes whose buckets end inside a group of random words.
PLAIN = CASES | {
    "bucket-7": lambda: QSGD(levels=255, bucket_size=7),
    "bucket-700": lambda: QSGD(bits=2, norm="max", bucket_size=700),
}
#: Each of them as it is, and under error feedback.
COMPRESSORS_UNDER_TEST = PLAIN | {
    f"ef-{name}": lambda make=make: ErrorFeedback(make()) for name, make in PLAIN.items()
}
STREAM = Stream(seed=11, node=2, step=5)


@pytest.fixture(params=sorted(COMPRESSORS_UNDER_TEST))
def compressor(request):
    """Each compressor of the table, with and without error feedback."""
    return COMPRESSORS_UNDER_TEST[request.param]()


def gaussian(n=1300, seed=0):
    """Return a float32 vector of normal coordinates."""
    return np.random.default_rng(seed).normal(size=n).astype(np.float32)


def same_bits(a, b):
    """Whether two float32 arrays have the same bits, the payloads of NaN aside."""
    equal = (a.view(np.int32) == b.view(np.int32)) | (np.isnan(a) & np.isnan(b))
    return a.shape == b.shape and bool(equal.all())


def unfused(compressor, gradient, state, total, tally, stream=STREAM):
    """Compress, decompress, add and count, one after the other."""
    message, state = compressor.compress(gradient, state, stream)
    total += compressor.decompress(message)
    tally.add(compressor.wire.size(message))
    return state


@pytest.mark.parametrize("name", sorted(PLAIN))
@settings(max_examples=30)
@given(data=st.data())
def test_with_a_residual_it_is_the_unfused_formula(name, data):
    """Sending v = g + e leaves e <- v - Q(v), returns Q(v) and counts v, bit for bit."""
    x = data.draw(gradients.gradients())
    sizes = data.draw(st.none() | gradients.tensor_sizes(x.size))
    compressor = PLAIN[name]()
    state, residual = compressor.init(Layout.of(x.size, sizes)), gaussian(x.size, seed=3)
    totals, tallies = [gaussian(x.size), np.zeros(x.size, np.float32)], [Ledger(), Ledger()]
    with np.errstate(all="ignore"):
        corrected = x + residual
        message, _ = compressor.compress(corrected, state, STREAM)
        sent = compressor.decompress(message)
        totals[1] += sent
        tallies[1].add(compressor.wire.size(message))
        compressor.mean(
            NodeRows(x[None], residual[None]),
            compressor.init_nodes(1, Layout.of(x.size, sizes)),
            STREAM,
            totals[0],
            tallies[0],
        )
        expected = corrected - sent

    assert same_bits(residual, expected)
    assert same_bits(*totals)
    assert tallies[0].to_dict() == tallies[1].to_dict()


@pytest.mark.parametrize("name", sorted(COMPRESSORS_UNDER_TEST))
@settings(max_examples=30)
@given(nodes=st.integers(1, 4), data=st.data())
def test_averaging_is_the_unfused_mean_over_the_nodes(name, nodes, data):
    """Node k's messages come from stream node + k; their sum, divided once, is the mean, bit for bit."""
    x = data.draw(gradients.gradients())
    sizes = data.draw(st.none() | gradients.tensor_sizes(x.size))
    compressor = COMPRESSORS_UNDER_TEST[name]()
    rows = np.stack([np.roll(x, 100 * node) for node in range(nodes)])
    states = compressor.init_nodes(nodes, Layout.of(x.size, sizes))
    single_states = [compressor.init(Layout.of(x.size, sizes)) for _ in range(nodes)]
    tallies = [Ledger(), Ledger()]
    with np.errstate(all="ignore"):
        for step in range(2):
            stream = Stream(seed=11, node=2, step=step)
            mean, total = np.full(x.size, np.nan, np.float32), np.zeros(x.size, np.float32)
            states = compressor.mean(NodeRows(rows), states, stream, mean, tallies[0])
            for node in range(nodes):
                single_states[node] = unfused(
                    compressor, rows[node], single_states[node], total, tallies[1], Stream(11, 2 + node, step)
                )
            assert same_bits(mean, total / np.float32(nodes))

    assert tallies[0].to_dict() == tallies[1].to_dict()


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_what_is_sent_and_what_is_kept_add_up(name):
    """Sent + residual = gradient + old residual, within the rounding of a float32 sum."""
    compressor, x, old = PLAIN[name](), gaussian(), gaussian(seed=1)
    residual, sent = old.copy(), np.zeros(x.size, np.float32)
    states = compressor.init_nodes(1, Layout.of(x.size))
    compressor.mean(NodeRows(x[None], residual[None]), states, STREAM, sent, Ledger())
    exact = x.astype(np.float64) + old
    rounding = 2.0**-24 * (np.abs(exact) + np.abs(residual))

    assert (np.abs(sent.astype(np.float64) + residual - exact) <= rounding).all()


def test_compress_is_pure(compressor):
    """The same gradient, state and stream give the same message; gradient and state stay as they were."""
    x = gaussian()
    _, state = compressor.compress(
        gaussian(seed=1), compressor.init(Layout.of(x.size, (1000, 0, 300))), STREAM
    )
    before, kept = x.tobytes(), copy.deepcopy(state)
    first, _ = compressor.compress(x, state, STREAM)
    again, _ = compressor.compress(x, kept, STREAM)

    assert same_bits(compressor.decompress(first), compressor.decompress(again))
    assert x.tobytes() == before
    if isinstance(compressor, ErrorFeedback):
        assert state.residual.tobytes() == kept.residual.tobytes()


def test_a_message_does_not_change_with_the_gradient(compressor):
    """Overwriting the gradient after compressing it changes nothing of what a receiver reads."""
    x = gaussian()
    message, _ = compressor.compress(x, compressor.init(Layout.of(x.size)), STREAM)
    before = compressor.decompress(message).tobytes()
    x.fill(0)

    assert compressor.decompress(message).tobytes() == before


def test_an_empty_gradient_costs_nothing(compressor):
    """No coordinates: no bits, an empty gradient, and no error."""
    empty = np.empty(0, np.float32)
    _, tally = average_one(compressor, empty, Layout.of(0), STREAM)
    message, _ = compressor.compress(empty, compressor.init(Layout.of(0)), STREAM)

    assert tally.to_dict() == Ledger().to_dict()
    assert compressor.decompress(message).size == 0


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_table_makes_new_compressors_that_are_documented(name):
    """A row is a constructor without arguments of a documented compressor that knows what the theory asks."""
    compressor = CASES[name]()

    assert isinstance(compressor, Compressor)
    assert inspect.getdoc(type(compressor))
    assert compressor is not CASES[name]() or isinstance(compressor, FullPrecision)
    assert compressor.is_unbiased in (True, False)
    assert compressor.variance_factor(1000) is None or compressor.variance_factor(1000) >= 0


def test_qsgd_refuses_what_quantize_refuses():
    """A bad argument is refused when the compressor is made, not at the first gradient."""
    for arguments, message in [
        ({}, "give either bits or levels"),
        ({"bits": 3, "levels": 7}, "give either bits or levels"),
        ({"bits": 32}, "bits is 32"),
        ({"levels": 0}, "levels is 0"),
        ({"levels": 3.7}, "levels is 3.7"),
        ({"bits": 3, "norm": "l1"}, "unknown norm 'l1'"),
        ({"bits": 3, "rounding": "up"}, "unknown rounding 'up'"),
        ({"bits": 3, "bucket_size": 0}, "bucket_size is 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            QSGD(**arguments)


def test_damping_is_for_unbiased_quantizers():
    """A biased compressor has no variance factor to damp by."""
    with pytest.raises(ValueError, match="only an unbiased quantizer is damped"):
        Damped(QSGD(bits=3, rounding="nearest"))


@pytest.mark.parametrize(
    ("gradient", "error"),
    [
        (np.ones(10, np.float32), ValueError),
        (np.ones(1000), TypeError),
        (np.ones((1, 1000), np.float32), ValueError),
    ],
    ids=["short", "float64", "matrix"],
)
def test_the_fused_path_refuses_arrays_of_other_sizes_and_types(gradient, error):
    """What would make a kernel read out of bounds, or compile again, is an error before it is called."""
    compressor = QSGD(bits=2)
    state, total = compressor.init(Layout.of(1000)), np.zeros(1000, np.float32)
    with pytest.raises(error):
        compressor.mean(NodeRows(gradient[None]), state, STREAM, total, Ledger())

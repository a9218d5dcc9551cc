"""The two-phase exchange: sums at the owners of shards, requantized, and sent to all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_two_phase import TwoPhase, owner_of

from qsgd_lab.compressors import COMPRESSORS, QSGD
from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.exchange import SimulatedExchange, TwoPhaseExchange
from qsgd_lab.exchange.shards import shards_of

SIZES = (1400, 0, 77, 2323)
N = sum(SIZES)
LAYOUT = Layout.of(N, SIZES)


def vectors_of(nodes, seed=0):
    """Return float32 vectors, shape (nodes, N)."""
    return np.random.default_rng(seed).normal(size=(nodes, N)).astype(np.float32)


def exchange_of(text, nodes=4, seed=7):
    """Return the exchange of a method."""
    return TwoPhaseExchange(COMPRESSORS.parse(text).make(), nodes, seed, LAYOUT)


def agree(exchange, vectors, step=0):
    """Return the mean, written over what was there."""
    out = np.full(N, np.nan, np.float32)
    exchange.mean(vectors, step, out)
    return out


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=6), st.integers(1, 9), st.data())
def test_every_coordinate_has_one_owner_however_tensors_are_grouped(sizes, nodes, data):
    """The owner of the definition; tensors on their own, such as those of a DDP bucket, have the same."""
    layout = Layout.of(sum(sizes), sizes)
    owners = np.full(sum(sizes), -1)
    for owner, shard in enumerate(shards_of(layout, nodes)):
        for piece in shard.pieces:
            assert (owners[piece] == -1).all()
            owners[piece] = owner
    for index in data.draw(st.lists(st.integers(0, max(0, sum(sizes) - 1)), max_size=5)):
        if sum(sizes):
            assert owners[index] == owner_of(index, sizes, nodes)
    cut = data.draw(st.integers(0, len(sizes)))
    start, rest = sum(sizes[:cut]), sizes[cut:]
    for owner, shard in enumerate(shards_of(Layout.of(sum(rest), rest), nodes, first_tensor=cut)):
        for piece in shard.pieces:
            assert (owners[start:][piece] == owner).all()


@pytest.mark.parametrize("nodes", [1, 3, 4])
def test_it_is_the_algorithm_of_the_definition(nodes):
    """Residuals at the nodes and at the owners, over some steps, bit for bit."""
    exchange, naive = exchange_of("ef(top-k(fraction=0.05))", nodes), TwoPhase(nodes, SIZES, 0.05)
    for step in range(4):
        vectors = vectors_of(nodes, step)
        assert agree(exchange, vectors.copy(), step).tobytes() == naive.mean(vectors).tobytes()


def test_nothing_is_lost_without_rounding():
    """In float32 the mean is that of the all-gather, to the bit."""
    vectors, out = vectors_of(3), np.empty(N, np.float32)
    SimulatedExchange(COMPRESSORS.parse("fp32").make(), 3, 0, LAYOUT).mean(vectors, 0, out)
    assert agree(exchange_of("fp32", 3), vectors).tobytes() == out.tobytes()


def test_the_mean_of_an_unbiased_quantizer_is_unbiased():
    """Over 400 steps, each coordinate within 5 standard errors: neither rounding has a bias."""
    exchange, vectors = exchange_of("qsgd(bits=2,norm=max)"), vectors_of(4)
    means = np.array([agree(exchange, vectors, step) for step in range(400)], np.float64)
    error = means.mean(0) - vectors.mean(0)
    assert (np.abs(error) <= 5 * means.std(0) / 20 + 1e-6).all()


class Recording(QSGD):
    """Keeps the streams of what it compresses, node by node."""

    def __init__(self):
        super().__init__(2, backend="reference")
        self.streams = []

    def compress(self, gradient, state, stream):
        """Note the stream."""
        self.streams.append(stream)
        return super().compress(gradient, state, stream)


def test_no_two_messages_share_random_words():
    """Every node has words of its own for every shard, and so has every owner for its second rounding."""
    compressor = Recording()
    agree(TwoPhaseExchange(compressor, 4, 7, LAYOUT), vectors_of(4))
    assert len(compressor.streams) == 4 * 4 + 4 == len(set(compressor.streams))


def test_what_is_left_and_what_was_sent_are_the_whole():
    """Of the rows: all rows left and N times the mean add up to what the rows were."""
    exchange, rows, out = exchange_of("qsgd(bits=2)"), vectors_of(4), np.empty(N, np.float32)
    before = rows.astype(np.float64).sum(0)
    exchange.partial_mean(rows, 0, out)
    assert np.allclose(rows.sum(0, dtype=np.float64) + 4.0 * out, before, atol=1e-5)


def test_both_directions_are_counted():
    """N vectors go to the owners, and one comes back."""
    exchange = exchange_of("qsgd(bits=2)")
    for step in range(3):
        agree(exchange, vectors_of(4, step), step)
    assert exchange.ledger.coordinates == 3 * 4 * N
    assert exchange.down_ledger.coordinates == 3 * N
    up, down = (led.bits_per_coordinate()["message"] for led in (exchange.ledger, exchange.down_ledger))
    assert 1 < down < 1.2 * up < 3.5


def test_it_goes_on_from_a_checkpoint():
    """Residuals of nodes and owners are kept."""
    text = "ef(qsgd(bits=2,norm=max))"
    whole, resumed = exchange_of(text), exchange_of(text)
    for step in range(2):
        agree(whole, vectors_of(4, step), step)
    resumed.restore({name: array.copy() for name, array in whole.arrays().items()})
    assert agree(whole, vectors_of(4, 2), 2).tobytes() == agree(resumed, vectors_of(4, 2), 2).tobytes()


@pytest.mark.parametrize("text", ["powersgd", "ef21(top-k)"])
def test_methods_of_rounds_and_of_differences_are_refused(text):
    """One line."""
    with pytest.raises(ValueError, match="two-phase takes methods"):
        exchange_of(text)

"""Laws of the messages, the states and the random words of every method of the table."""

from __future__ import annotations

import gradient_strategies as gradients
import numpy as np
import pytest
from compressor_cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st

from qsgd_lab.compressors.protocol import Layout
from qsgd_lab.errors import MessageError
from qsgd_lab.exchange import SimulatedExchange
from qsgd_lab.exchange.state import flatten, restored
from qsgd_lab.stream import Stream
from qsgd_lab.wire.kinds.raw import Raw
from qsgd_lab.wire.message import pack

STREAM = Stream(seed=11, node=2, step=5)
#: Their messages are bare values, whose number the receiver knows: a flipped bit is another value.
BARE = {"fp32"}


def gaussian(n, seed=0):
    """Return a float32 vector of normal coordinates."""
    return np.random.default_rng(seed).standard_normal(n, np.float32)


def sent(compressor, x, layout=None, stream=STREAM):
    """Return the payload of a gradient."""
    with np.errstate(all="ignore"):
        return compressor.compress(x, compressor.init(layout or Layout.of(x.size)), stream)[0]


def same_bits(a, b):
    """Whether two float32 arrays have the same bits, the payloads of NaN aside."""
    return bool(((a.view(np.int32) == b.view(np.int32)) | (np.isnan(a) & np.isnan(b))).all())


@pytest.mark.parametrize("name", sorted(CASES))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_message_gives_back_what_the_payload_decodes_to(name, data):
    """For any gradient in any tensors: unpack(pack(p)) decodes as p does, and "message" is 8 len(pack(p))."""
    x = data.draw(gradients.gradients())
    layout = Layout.of(x.size, data.draw(st.none() | gradients.tensor_sizes(x.size)))
    compressor = CASES[name]()
    payload = sent(compressor, x, layout)
    message = compressor.wire.pack(payload)
    received = compressor.wire.unpack(message, layout)
    size = compressor.wire.size(payload)

    assert same_bits(compressor.decompress(received), compressor.decompress(payload))
    if size.coordinates:
        assert size.bits["message"] == 8 * len(message)
    else:
        assert 32 * size.raw_coordinates in (0, 8 * len(message))


@pytest.mark.parametrize("name", sorted(set(CASES) - BARE))
def test_a_damaged_message_is_refused(name):
    """Every cut, and every flipped bit, raises MessageError and nothing else."""
    compressor, layout = CASES[name](), Layout.of(40)
    message = compressor.wire.pack(sent(compressor, gaussian(40)))
    for stop in range(0, len(message), 3):
        with pytest.raises(MessageError):
            compressor.wire.unpack(message[:stop], layout)
    for bit in range(0, 8 * len(message), 5):
        damaged = bytearray(message)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MessageError):
            compressor.wire.unpack(bytes(damaged), layout)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_message_for_another_gradient_is_refused(name):
    """A receiver of 41 or of 39 coordinates refuses a message of 40."""
    compressor = CASES[name]()
    message = compressor.wire.pack(sent(compressor, gaussian(40)))
    for n in (39, 41):
        with pytest.raises(MessageError):
            compressor.wire.unpack(message, Layout.of(n))


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_is_added_is_what_the_wire_reads(name):
    """A sum refuses what `unpack` refuses: another kind of message, and one of other tensors."""
    compressor, layout = CASES[name](), Layout.of(40)
    others = (
        bytes(pack(Raw(gaussian(40)))),
        compressor.wire.pack(sent(compressor, gaussian(40), Layout.of(40, (15, 25)))),
    )
    for message in others:
        total = np.zeros(40, np.float32)
        try:
            compressor.wire.unpack(message, layout)
        except MessageError:
            with pytest.raises(MessageError):
                compressor.add_decoded(message, layout, total)
        else:
            compressor.add_decoded(message, layout, total)


VALUES = np.float32([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, 3.4e38, -1.5])


@pytest.mark.parametrize("name", sorted(CASES))
def test_degenerate_vectors_have_defined_outcomes(name):
    """Zeros stay zeros, finite vectors never become NaN; what is not finite stays so, or is not sent."""
    compressor = CASES[name]()
    for n in (1, 2, 700):
        for value in VALUES:
            constant, one = np.full(n, value, np.float32), np.zeros(n, np.float32)
            one[n // 2] = value
            for x in (constant, one):
                with np.errstate(all="ignore"):
                    y = compressor.decompress(sent(compressor, x))
                lost = y[~np.isfinite(x)]
                assert (y.dtype, y.shape) == (np.float32, x.shape)
                assert value != 0 or not y.any()
                assert not (np.isfinite(value) and np.isnan(y).any())
                assert not np.isfinite(lost[lost != 0]).any()


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_run_resumes_from_its_states(name):
    """Two steps in one go, and with all states written down and restored between them, agree bit for bit."""
    layout, rows = Layout.of(600, (500, 0, 100)), np.stack([gaussian(600), gaussian(600, 1)])
    means = []
    for resumed in (False, True):
        exchange = SimulatedExchange(CASES[name](), 2, 7, layout)
        mean = np.empty(600, np.float32)
        exchange.mean(rows, 0, mean)
        if resumed:
            kept = flatten(exchange.states)
            exchange = SimulatedExchange(CASES[name](), 2, 7, layout)
            exchange.states = restored(exchange.states, kept)
        exchange.mean(rows, 1, mean)
        means.append(mean.tobytes())

    assert means[0] == means[1]


@pytest.mark.parametrize("name", sorted(CASES))
def test_nodes_draw_words_of_their_own_or_the_same(name):
    """16 nodes of one vector: independent errors shrink the mean's to 1/16; shared words leave it whole."""
    x, steps = gaussian(512), 24
    compressor = CASES[name]()
    errors = []
    for nodes in (1, 16):
        exchange, mean = SimulatedExchange(compressor, nodes, 3, Layout.of(x.size)), np.empty_like(x)
        squares = []
        for step in range(steps):
            exchange.mean(np.repeat(x[None], nodes, axis=0), step, mean)
            squares.append(float(((mean - x).astype(np.float64) ** 2).sum()))
        errors.append(np.mean(squares))
    alone, together = errors
    by_nodes = compressor.is_unbiased and compressor.aggregates == "gathers"

    if by_nodes:
        assert alone / 16 / 2 < together < 2 * alone / 16
    elif compressor.aggregates == "sums":
        assert together == pytest.approx(alone, rel=1e-5, abs=1e-9)

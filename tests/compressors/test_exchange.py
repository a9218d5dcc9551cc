"""N nodes agree on the mean of what a receiver decodes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from compressor_cases import CASES

from qsgd_lab.compressors import QSGD, Damped, ErrorFeedback, FullPrecision
from qsgd_lab.compressors.protocol import Layout, NodeRows
from qsgd_lab.exchange import SimulatedExchange
from qsgd_lab.ledger import Ledger
from qsgd_lab.stream import Stream

SIZES = (600, 0, 77, 323)
N = sum(SIZES)
LAYOUT = Layout.of(N, SIZES)


def gradients_of(nodes, seed=0):
    """Return float32 gradients, shape (nodes, N)."""
    return np.random.default_rng(seed).normal(size=(nodes, N)).astype(np.float32)


def agree(exchange, gradients, step):
    """Return the agreed gradient, written over what was there."""
    mean = np.full(N, np.nan, np.float32)
    exchange.mean(gradients, step, mean)
    return mean


@pytest.mark.parametrize("nodes", [1, 2, 3, 8])
@pytest.mark.parametrize("name", sorted(CASES))
def test_the_agreed_gradient_is_the_mean_of_what_is_decoded(name, nodes):
    """Node k's message of step t is drawn from stream (seed, k, t); their float32 mean is agreed upon."""
    compressor, step = CASES[name](), 4
    exchange = SimulatedExchange(compressor, nodes, 9, LAYOUT)
    gradients, total, tally = gradients_of(nodes), np.zeros(N, np.float32), Ledger()
    for node in range(nodes):
        message, _ = compressor.compress(gradients[node], compressor.init(LAYOUT), Stream(9, node, step))
        tally.add(compressor.wire.size(message))
        total += compressor.decompress(message)

    assert agree(exchange, gradients, step).tobytes() == (total / np.float32(nodes)).tobytes()
    assert exchange.ledger.to_dict() == tally.to_dict()


def test_one_node_in_full_precision_is_plain_sgd():
    """With one node and nothing lost, the agreed gradient is the gradient, to the last bit."""
    gradients = gradients_of(1)

    assert (
        agree(SimulatedExchange(FullPrecision(), 1, 0, LAYOUT), gradients, 0).tobytes() == gradients.tobytes()
    )


def test_nodes_with_equal_gradients_round_differently():
    """A node's stream is its own: with N equal gradients the mean is closer to them than any one message."""
    gradients = np.repeat(gradients_of(1), 16, axis=0)
    compressor = QSGD(bits=1)
    one, sixteen = (
        agree(SimulatedExchange(compressor, nodes, 3, LAYOUT), gradients[:nodes], 0) - gradients[0]
        for nodes in (1, 16)
    )

    assert sixteen @ sixteen < (one @ one) / 8  # 1/16 on average; 1 if nodes rounded alike


@pytest.mark.parametrize("bucket_size", [100, 512, "tensor", "model"])
@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize(("nodes", "version"), [(1, 2), (3, 1), (3, 2)])
def test_the_fused_average_equals_nodes_one_by_one(nodes, version, norm, bucket_size):
    """Fused over nodes, two steps with error feedback give the bits of single messages."""
    quantizer = QSGD(bits=2, norm=norm, bucket_size=bucket_size, stream_version=version)
    compressor = ErrorFeedback(quantizer)
    exchange = SimulatedExchange(compressor, nodes, 9, LAYOUT)
    states, tally = [compressor.init(LAYOUT) for _ in range(nodes)], Ledger()
    for step in range(2):
        gradients, total = gradients_of(nodes, seed=step), np.zeros(N, np.float32)
        for node in range(nodes):
            stream = Stream(9, node, step)
            message, states[node] = compressor.compress(gradients[node], states[node], stream)
            tally.add(compressor.wire.size(message))
            total += compressor.decompress(message)

        assert agree(exchange, gradients, step).tobytes() == (total / np.float32(nodes)).tobytes()
    residuals = np.array([state.residual for state in states])
    assert exchange.states.residual.tobytes() == residuals.tobytes()
    assert exchange.ledger.to_dict() == tally.to_dict()


@pytest.mark.parametrize("inner", [QSGD(bits=2), Damped(QSGD(bits=1))], ids=["fused", "one by one"])
def test_residuals_may_serve_as_the_gradients_buffer(inner):
    """Adding gradients to the residuals in place and agreeing on those gives the same bits."""
    apart, in_place = (SimulatedExchange(ErrorFeedback(inner), 3, 9, LAYOUT) for _ in range(2))
    for step in range(3):
        gradients, mean = gradients_of(3, seed=step), np.full(N, np.nan, np.float32)
        in_place.buffer[:] += gradients
        in_place.mean(None, step, mean)

        assert agree(apart, gradients, step).tobytes() == mean.tobytes()
        assert apart.buffer.tobytes() == in_place.buffer.tobytes()
    assert apart.ledger.to_dict() == in_place.ledger.to_dict()


def test_without_error_feedback_there_is_no_buffer():
    """Gradients must then be passed, for every compressor."""
    assert SimulatedExchange(QSGD(bits=2), 3, 9, LAYOUT).buffer is None


@pytest.mark.parametrize(("seed", "step"), [(3, 1), (4, 0)])
def test_steps_and_seeds_round_differently(seed, step):
    """Another step, and another seed, draw other words for the same gradients."""
    gradients = gradients_of(2)
    before = agree(SimulatedExchange(QSGD(bits=1), 2, 3, LAYOUT), gradients, 0)

    assert (agree(SimulatedExchange(QSGD(bits=1), 2, seed, LAYOUT), gradients, step) != before).any()
    assert (agree(SimulatedExchange(QSGD(bits=1), 2, 3, LAYOUT), gradients, 0) == before).all()


def test_a_node_keeps_its_own_residual():
    """Under error feedback each node's residual is what its own messages missed, over all steps."""
    exchange = SimulatedExchange(ErrorFeedback(Damped(QSGD(bits=1))), 3, 0, LAYOUT)
    given, agreed = np.zeros((3, N)), np.zeros(N)
    for step in range(5):
        gradients = gradients_of(3, seed=step)
        given += gradients
        agreed += agree(exchange, gradients, step)
    residuals = exchange.states.residual

    assert len({residual.tobytes() for residual in residuals}) == 3
    assert agreed + residuals.mean(axis=0) == pytest.approx(given.mean(axis=0), abs=1e-5)


def test_the_tally_counts_every_node_and_step():
    """N nodes and T steps send N T gradients, with a norm for each bucket of each tensor."""
    exchange = SimulatedExchange(QSGD(bits=3, bucket_size=100), 3, 0, LAYOUT)
    for step in range(4):
        agree(exchange, gradients_of(3), step)

    assert exchange.ledger.coordinates == 3 * 4 * N
    assert exchange.ledger.bits["fixed"] == 3 * 4 * (4 * N + 32 * 11)


def test_gradients_are_left_alone():
    """Agreeing does not write to the nodes' gradients, with error feedback either."""
    gradients = gradients_of(2)
    before = gradients.tobytes()
    agree(SimulatedExchange(ErrorFeedback(QSGD(bits=3)), 2, 0, LAYOUT), gradients, 0)

    assert gradients.tobytes() == before


@pytest.mark.parametrize("feedback", [False, True])
def test_the_reference_backend_agrees_on_the_same_bits(feedback):
    """Fused or by plain NumPy, three nodes get the same mean, residuals and tally over two steps."""
    quantizers = [QSGD(bits=2, norm="max", bucket_size=100, backend=b) for b in ("cpu", "reference")]
    both = [SimulatedExchange(ErrorFeedback(q) if feedback else q, 3, 9, LAYOUT) for q in quantizers]
    for step in range(2):
        fused, plain = (agree(exchange, gradients_of(3, seed=step), step) for exchange in both)
        assert fused.tobytes() == plain.tobytes()
    assert both[0].ledger.to_dict() == both[1].ledger.to_dict()
    if feedback:
        assert both[0].buffer.tobytes() == both[1].buffer.tobytes()


@pytest.mark.parametrize("levels", [1, 7, 15, 16])
def test_looked_up_values_are_those_of_levels(levels):
    """Up to 15 levels are looked up sixteen at a time: same mean and residuals, -0 and ends included."""
    gradients, kept = gradients_of(2, seed=levels), np.full((2, N), -0.0, np.float32)
    gradients[:, ::3] = -0.0
    found = []
    for backend in ("cpu", "reference"):
        quantizer = QSGD(levels=levels, bucket_size=77, backend=backend, stream_version=2)
        rows, mean = NodeRows(gradients.copy(), kept.copy()), np.empty(N, np.float32)
        quantizer.mean(rows, quantizer.init_nodes(2, LAYOUT), Stream(3), mean, Ledger())
        found.append(mean.tobytes() + rows.residuals.tobytes())

    assert found[0] == found[1]


def test_a_method_without_device_kernels_says_that_it_copies():
    """Gradients on a device go through host memory for methods of the host, which is said when it begins."""
    import torch

    from qsgd_lab.compressors import COMPRESSORS

    like = torch.empty(0, device="meta")
    for text in ("top-k", "terngrad", "ef(top-k(fraction=0.1))"):  # as users name it
        words = f"^{re.escape(text)} works in host memory: gradients on meta are copied"
        with pytest.warns(UserWarning, match=words):
            SimulatedExchange(COMPRESSORS.parse(text).make(), 1, 0, LAYOUT, like)
    SimulatedExchange(COMPRESSORS.parse("top-k").make(), 1, 0, LAYOUT, torch.empty(0))


def test_forks_of_forks_have_words_of_their_own():
    """Forks, their forks, servers and the forks of those draw different words; 255 are possible."""
    first = SimulatedExchange(QSGD(bits=1), 2, 3, Layout.of(64))
    fork, server = first.fork(QSGD(bits=1)), first.server(QSGD(bits=1))
    deeper = [fork.fork(QSGD(bits=1)), fork.server(QSGD(bits=1)), server.fork(QSGD(bits=1))]
    exchanges = [first, fork, server, *deeper]
    assert len({exchange.seed for exchange in exchanges}) == len(exchanges)
    assert (fork.seed, server.seed) == (3 ^ (1 << 56), 3 ^ (2 << 56))  # as in stored runs
    for _ in range(255 - 5):
        first.fork(QSGD(bits=1))
    with pytest.raises(ValueError, match="more than 255 forks"):
        server.fork(QSGD(bits=1))

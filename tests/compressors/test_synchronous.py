"""N nodes agree on the mean of what a receiver decodes."""

from __future__ import annotations

import numpy as np
import pytest

from qsgd_lab.algorithms.synchronous import SynchronousAverage
from qsgd_lab.coding.tally import Tally
from qsgd_lab.compressors import COMPRESSORS, QSGD, Damped, ErrorFeedback, FullPrecision
from qsgd_lab.stream import Stream

SIZES = (600, 0, 77, 323)
N = sum(SIZES)


def gradients_of(nodes, seed=0):
    """Return float32 gradients, shape (nodes, N)."""
    return np.random.default_rng(seed).normal(size=(nodes, N)).astype(np.float32)


def agree(algorithm, gradients, step):
    """Return the agreed gradient, written over what was there."""
    mean = np.full(N, np.nan, np.float32)
    algorithm.agree(gradients, step, mean)
    return mean


@pytest.mark.parametrize("nodes", [1, 2, 3, 8])
@pytest.mark.parametrize("name", sorted(COMPRESSORS))
def test_the_agreed_gradient_is_the_mean_of_what_is_decoded(name, nodes):
    """Node k's message of step t is drawn from stream (seed, k, t); their float32 mean is agreed upon."""
    compressor, step = COMPRESSORS[name](), 4
    algorithm = SynchronousAverage(compressor, nodes, 9, SIZES)
    gradients, total, tally = gradients_of(nodes), np.zeros(N, np.float32), Tally()
    for node in range(nodes):
        message, _ = compressor.compress(gradients[node], compressor.init(N, SIZES), Stream(9, node, step))
        compressor.count(message, tally)
        total += compressor.decompress(message)

    assert agree(algorithm, gradients, step).tobytes() == (total / np.float32(nodes)).tobytes()
    assert algorithm.tally.to_dict() == tally.to_dict()


def test_one_node_in_full_precision_is_plain_sgd():
    """With one node and nothing lost, the agreed gradient is the gradient, to the last bit."""
    gradients = gradients_of(1)

    assert (
        agree(SynchronousAverage(FullPrecision(), 1, 0, SIZES), gradients, 0).tobytes() == gradients.tobytes()
    )


def test_nodes_with_equal_gradients_round_differently():
    """A node's stream is its own: with N equal gradients the mean is closer to them than any one message."""
    gradients = np.repeat(gradients_of(1), 16, axis=0)
    compressor = QSGD(bits=1)
    one, sixteen = (
        agree(SynchronousAverage(compressor, nodes, 3, SIZES), gradients[:nodes], 0) - gradients[0]
        for nodes in (1, 16)
    )

    assert sixteen @ sixteen < (one @ one) / 8  # 1/16 on average; 1 if nodes rounded alike


@pytest.mark.parametrize("bucket_size", [100, 512, "tensor", "model"])
@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("nodes", [1, 3])
def test_the_fused_average_equals_nodes_one_by_one(nodes, norm, bucket_size):
    """Fused over nodes, two steps with error feedback give the bits of single messages."""
    compressor = ErrorFeedback(QSGD(bits=2, norm=norm, bucket_size=bucket_size))
    algorithm = SynchronousAverage(compressor, nodes, 9, SIZES)
    states, tally = [compressor.init(N, SIZES) for _ in range(nodes)], Tally()
    for step in range(2):
        gradients, total = gradients_of(nodes, seed=step), np.zeros(N, np.float32)
        for node in range(nodes):
            stream = Stream(9, node, step)
            message, states[node] = compressor.compress(gradients[node], states[node], stream)
            compressor.count(message, tally)
            total += compressor.decompress(message)

        assert agree(algorithm, gradients, step).tobytes() == (total / np.float32(nodes)).tobytes()
    residuals = np.array([state.residual for state in states])
    assert algorithm.states.residual.tobytes() == residuals.tobytes()
    assert algorithm.tally.to_dict() == tally.to_dict()


@pytest.mark.parametrize("inner", [QSGD(bits=2), Damped(QSGD(bits=1))], ids=["fused", "one by one"])
def test_residuals_may_serve_as_the_gradients_buffer(inner):
    """Adding gradients to the residuals in place and agreeing on those gives the same bits."""
    apart, in_place = (SynchronousAverage(ErrorFeedback(inner), 3, 9, SIZES) for _ in range(2))
    for step in range(3):
        gradients, mean = gradients_of(3, seed=step), np.full(N, np.nan, np.float32)
        in_place.residuals[:] += gradients
        in_place.agree_on_residuals(step, mean)

        assert agree(apart, gradients, step).tobytes() == mean.tobytes()
        assert apart.residuals.tobytes() == in_place.residuals.tobytes()
    assert apart.tally.to_dict() == in_place.tally.to_dict()


def test_without_error_feedback_there_are_no_residuals():
    """Asking for them gives None, and agreeing on them is refused."""
    algorithm = SynchronousAverage(QSGD(bits=2), 3, 9, SIZES)
    assert algorithm.residuals is None
    with pytest.raises(TypeError, match="error feedback"):
        algorithm.agree_on_residuals(0, np.zeros(N, np.float32))


@pytest.mark.parametrize(("seed", "step"), [(3, 1), (4, 0)])
def test_steps_and_seeds_round_differently(seed, step):
    """Another step, and another seed, draw other words for the same gradients."""
    gradients = gradients_of(2)
    before = agree(SynchronousAverage(QSGD(bits=1), 2, 3, SIZES), gradients, 0)

    assert (agree(SynchronousAverage(QSGD(bits=1), 2, seed, SIZES), gradients, step) != before).any()
    assert (agree(SynchronousAverage(QSGD(bits=1), 2, 3, SIZES), gradients, 0) == before).all()


def test_a_node_keeps_its_own_residual():
    """Under error feedback each node's residual is what its own messages missed, over all steps."""
    algorithm = SynchronousAverage(ErrorFeedback(Damped(QSGD(bits=1))), 3, 0, SIZES)
    given, agreed = np.zeros((3, N)), np.zeros(N)
    for step in range(5):
        gradients = gradients_of(3, seed=step)
        given += gradients
        agreed += agree(algorithm, gradients, step)
    residuals = algorithm.states.residual

    assert len({residual.tobytes() for residual in residuals}) == 3
    assert agreed + residuals.mean(axis=0) == pytest.approx(given.mean(axis=0), abs=1e-5)


def test_the_tally_counts_every_node_and_step():
    """N nodes and T steps send N T gradients, with a norm for each bucket of each tensor."""
    algorithm = SynchronousAverage(QSGD(bits=3, bucket_size=100), 3, 0, SIZES)
    for step in range(4):
        agree(algorithm, gradients_of(3), step)

    assert algorithm.tally.coordinates == 3 * 4 * N
    assert algorithm.tally.norms == 3 * 4 * (6 + 0 + 1 + 4)
    assert algorithm.tally.fixed_bits == 3 * 4 * (4 * N + 32 * 11)


def test_gradients_are_left_alone():
    """Agreeing does not write to the nodes' gradients, with error feedback either."""
    gradients = gradients_of(2)
    before = gradients.tobytes()
    agree(SynchronousAverage(ErrorFeedback(QSGD(bits=3)), 2, 0, SIZES), gradients, 0)

    assert gradients.tobytes() == before


@pytest.mark.parametrize("feedback", [False, True])
def test_the_reference_backend_agrees_on_the_same_bits(feedback):
    """Fused or by plain NumPy, three nodes get the same mean, residuals and tally over two steps."""
    quantizers = [QSGD(bits=2, norm="max", bucket_size=100, backend=b) for b in ("cpu", "reference")]
    both = [SynchronousAverage(ErrorFeedback(q) if feedback else q, 3, 9, SIZES) for q in quantizers]
    for step in range(2):
        fused, plain = (agree(algorithm, gradients_of(3, seed=step), step) for algorithm in both)
        assert fused.tobytes() == plain.tobytes()
    assert both[0].tally.to_dict() == both[1].tally.to_dict()
    if feedback:
        assert both[0].residuals.tobytes() == both[1].residuals.tobytes()

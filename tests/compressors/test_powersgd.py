"""PowerSGD: nothing is lost, the best rank is reached, unlike nodes stay bounded, and messages of factors."""

from __future__ import annotations

import numpy as np
import pytest

from qsgd_lab.compressors import COMPRESSORS, ErrorFeedback, Layout
from qsgd_lab.compressors.methods.powersgd import PowerSGD
from qsgd_lab.errors import MessageError
from qsgd_lab.exchange import SimulatedExchange
from qsgd_lab.kernels.cpu.methods.low_rank import (
    orthonormalize,
    outer_sum,
    times_vectors,
    transposed_times_vectors,
)
from qsgd_lab.stream import Stream
from qsgd_lab.theory.methods import powersgd as theory

LAYOUT = Layout(((24, 4, 5), (7,), (40, 30), (3, 2), ()))
N = LAYOUT.num_coordinates


def vectors(seed, nodes=4):
    """Return float32 vectors, shape (nodes, n)."""
    return np.random.default_rng(seed).standard_normal((nodes, N)).astype(np.float32)


def exchange(rank=2, nodes=4, feedback=True, layout=LAYOUT, seed=0):
    """Return an exchange of PowerSGD."""
    compressor = PowerSGD(rank)
    return SimulatedExchange(ErrorFeedback(compressor) if feedback else compressor, nodes, seed, layout)


def run(one, steps, gradients=vectors, start=0):
    """Return the sum of what was agreed in some steps."""
    out, total = np.empty(one.layout.num_coordinates, np.float32), 0.0
    for step in range(start, start + steps):
        one.mean(gradients(step), step, out)
        total = total + out.astype(np.float64)
    return total


def test_what_was_sent_and_the_mean_residual_are_the_sum_of_gradients():
    """Sum of means + mean residual = sum of mean gradients, to 1e-6 of their size."""
    one = exchange()
    total = run(one, 30)
    given = sum(vectors(step).astype(np.float64).mean(axis=0) for step in range(30))
    kept = np.mean([state.residual for state in one.states], axis=0)
    largest = max(np.abs(state.residual).max() for state in one.states)

    assert np.abs(total + kept - given).max() < 1e-6 * 30 * max(1, largest)


def test_fixed_matrices_reach_the_best_error_of_the_rank():
    """Without feedback, steps on the same matrices converge to the mean on its best rank."""
    layout = Layout(((30, 20),))
    scales = 0.7 ** np.arange(20)
    rng = np.random.default_rng(1)
    rows = (rng.standard_normal((3, 30, 20)) @ np.diag(scales)).astype(np.float32).reshape(3, -1)
    for rank in (1, 2, 4):
        one, out = exchange(rank, 3, feedback=False, layout=layout), np.empty(600, np.float32)
        for step in range(60):
            one.mean(rows, step, out)
        mean = rows.astype(np.float64).mean(axis=0)
        assert ((out - mean) ** 2).sum() == pytest.approx(
            theory.best_error(mean.reshape(30, 20), rank), rel=1e-3
        )


def test_residuals_of_unlike_nodes_stay_bounded():
    """Nodes whose gradients differ for ever keep residuals of a bounded length, for each keeps its own."""
    layout = Layout(((16, 16),))
    own = np.random.default_rng(2).standard_normal((4, 256)).astype(np.float32) * 10
    one = exchange(2, 4, layout=layout)
    noise = np.random.default_rng(3)
    lengths = []
    for step in range(300):
        rows = own - own.mean(axis=0) + noise.standard_normal((4, 256)).astype(np.float32)
        one.mean(rows, step, np.empty(256, np.float32))
        lengths.append(max(np.linalg.norm(state.residual) for state in one.states))

    assert max(lengths[200:]) < 1.3 * max(lengths[50:200])
    assert max(lengths) < 30 * np.linalg.norm(own[0])


def test_raw_tensors_and_the_bits_of_both_rounds():
    """Small tensors arrive as their mean, and a step costs 32 bits for each float of the factors and them."""
    one, out = exchange(feedback=False), np.empty(N, np.float32)
    rows = vectors(5)
    one.mean(rows, 0, out)
    raw = np.r_[480:487, 1687:1694]

    assert out[raw] == pytest.approx(rows.mean(axis=0)[raw], abs=1e-6)
    floats = sum(theory.floats(shape, 2) for shape in LAYOUT.shapes)
    assert floats == 2 * (24 + 20) + 7 + 2 * (40 + 30) + 6 + 1
    assert one.ledger.bits == {"message": 4 * 32 * floats}


def test_all_nodes_agree_and_each_contribution_averages_to_the_mean():
    """The mean is that of the local reconstructions, and the next vectors are the same at every node."""
    rows = vectors(6, 3)
    one = exchange(2, 3)
    out = np.empty(N, np.float32)
    one.mean(rows, 0, out)
    sent = rows - np.array([state.residual for state in one.states])

    assert sent.mean(axis=0) == pytest.approx(out, abs=1e-5)
    for state in one.states[1:]:
        for a, b in zip(state.inner.vectors, one.states[0].inner.vectors, strict=True):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("magnitude", [2.0**-96, 2.0**-40, 2.0**63, 2.0**125])
def test_powers_of_two_change_nothing(magnitude):
    """Gradients times a power of two give the same factors and means, times it, over several steps.

    Without a scale of its own M Q' is as long as M squared, and leaves float32 at 1e19 and at 1e-23.
    """
    layout = Layout(((24, 20),))
    means = []
    for scale in (1.0, magnitude):
        one, out = exchange(2, 3, feedback=False, layout=layout), np.empty(480, np.float32)
        for step in range(3):
            one.mean(vectors(step, 3)[:, :480] * np.float32(scale / 8), step, out)
        means.append(out / np.float32(scale))

    assert means[0].tobytes() == means[1].tobytes()


def test_matrices_at_the_end_of_float32_are_projected():
    """Factors and products beyond float32 count as its largest number: never NaN, never a larger error."""
    largest, layout = np.finfo(np.float32).max, Layout(((24, 20),))
    rng = np.random.default_rng(4)
    compressor = PowerSGD(2)
    for matrix in (np.ones((24, 20)), rng.choice([-1.0, 1.0], (24, 20)), rng.uniform(-1, 1, (24, 20))):
        x, state = (largest * matrix.reshape(-1)).astype(np.float32), compressor.init(layout)
        for step in range(3):
            payload, state = compressor.compress(x, state, Stream(step=step))
            lost = x / largest - compressor.decompress(payload) / largest
            assert lost @ lost <= 1.001 * (matrix**2).sum()


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_vectors_start_anew_after_zero_or_broken_gradients(bad):
    """A step of zeros sends zeros, one with NaN is seen; the step after works as from a fresh start."""
    one, out = exchange(nodes=2, feedback=False), np.empty(N, np.float32)
    rows = np.zeros((2, N), np.float32)
    rows[:, :3] = bad
    one.mean(rows, 0, out)
    assert np.isnan(out).any() == (not np.isfinite(bad))
    if bad == 0:
        assert not out.any()
    good = vectors(7, 2)
    one.mean(good, 1, out)
    again, expected = exchange(nodes=2, feedback=False), np.empty(N, np.float32)
    again.mean(good, 1, expected)
    assert out.tobytes() == expected.tobytes()
    assert np.linalg.norm(out[:480]) > 0


def test_the_state_survives_a_checkpoint():
    """Arrays written after two steps continue in another exchange, bit for bit."""
    one, other = exchange(), exchange()
    run(one, 2)
    kept = {name: array.copy() for name, array in one.arrays().items()}
    other.restore(kept)
    assert run(one, 2, start=2).tobytes() == run(other, 2, start=2).tobytes()
    assert sorted(kept)[:3] == ["state.0.inner.vectors.0", "state.0.inner.vectors.1", "state.0.residual"]


def test_a_lone_node_is_the_exchange_of_one():
    """Compress and decompress give what one node agrees on with itself."""
    row, one, out = vectors(8, 1), exchange(nodes=1, feedback=False), np.empty(N, np.float32)
    one.mean(row, 3, out)
    compressor = PowerSGD()
    payload, state = compressor.compress(row[0], compressor.init(LAYOUT), Stream(step=3))

    assert compressor.decompress(payload).tobytes() == out.tobytes()
    assert state.vectors[0].tobytes() == one.states[0].vectors[0].tobytes()


def test_messages_of_factors_are_read_back_and_refused_for_other_tensors():
    """A message is a raw list of factors; sizes are counted without it; other layouts are refused."""
    compressor = PowerSGD()
    payload, _ = compressor.compress(vectors(9, 1)[0], compressor.init(LAYOUT), Stream())
    packed = compressor.wire.pack(payload)
    size = compressor.wire.size(payload)
    read = compressor.wire.unpack(packed, LAYOUT)

    assert size.bits["message"] == 8 * len(packed)
    assert size.bits["fixed"] == 32 * sum(theory.floats(shape, 2) for shape in LAYOUT.shapes)
    assert compressor.decompress(read).tobytes() == compressor.decompress(payload).tobytes()
    for other in (Layout(((24, 20), (7,), (40, 30), (3, 2), (2,))), Layout(((24, 20),))):
        with pytest.raises(MessageError):
            compressor.wire.unpack(packed, other)
    for damaged in (packed[:-8], packed[:50] + b"x" + packed[51:]):
        with pytest.raises(MessageError):
            compressor.wire.unpack(damaged, LAYOUT)


def test_an_empty_gradient_and_flat_tensors():
    """Nothing to send costs nothing; what has one dimension travels as it is."""
    compressor = PowerSGD()
    payload, _ = compressor.compress(np.empty(0, np.float32), compressor.init(Layout.of(0)), Stream())
    assert compressor.decompress(payload).size == 0
    x = np.arange(100, dtype=np.float32)
    payload, _ = compressor.compress(x, compressor.init(Layout.of(100)), Stream())
    assert compressor.decompress(payload).tobytes() == x.tobytes()


def in_lanes(a, b):
    """Return the sum of products in sixteen lanes, each in turn, then lane by lane."""
    products = np.zeros(-(-a.size // 16) * 16)
    products[: a.size] = a.astype(float) * b.astype(float)
    return np.cumsum(np.cumsum(products.reshape(-1, 16), axis=0)[-1])[-1]


@pytest.mark.parametrize("shape", [(3, 5), (40, 33), (7, 64)])
def test_products_are_those_of_the_reference(shape):
    """Bit for bit NumPy in float64: lanes along rows, row by row down columns, one rank after the other."""
    rng = np.random.default_rng(4)
    m, right, left = (
        rng.standard_normal(s).astype(np.float32) for s in (shape, (2, shape[1]), (2, shape[0]))
    )
    along, down, sums = np.empty_like(left), np.empty_like(right), np.empty_like(m)
    times_vectors(m, right, along)
    transposed_times_vectors(m, left, down)
    outer_sum(left, right, sums)
    wide, ranks = m.astype(float), left.astype(float)[:, :, None] * right.astype(float)[:, None]
    columns = np.cumsum(left.astype(float)[:, :, None] * wide, axis=1)[:, -1]

    assert along.tobytes() == np.float32([[in_lanes(row, v) for row in m] for v in right]).tobytes()
    assert down.tobytes() == columns.astype(np.float32).tobytes()
    assert sums.tobytes() == (ranks[0] + ranks[1]).astype(np.float32).tobytes()


def test_dependent_vectors_become_zero():
    """Orthonormal vectors are left, zero where one depends on others, NaN where it is broken."""
    v = np.random.default_rng(0).standard_normal((5, 50)).astype(np.float32) * np.float32(1e30)
    v[2] = 2 * v[0] - v[1]
    v[3, 7] = np.nan
    orthonormalize(v)
    gram = v.astype(np.float64) @ v.T.astype(np.float64)

    assert not v[2].any()
    assert np.isnan(v[3]).all()
    assert gram[np.ix_([0, 1, 4], [0, 1, 4])] == pytest.approx(np.eye(3), abs=1e-6)


def test_bad_ranks_are_refused():
    """A rank is at least 1."""
    with pytest.raises(ValueError, match="rank is 0; it must be at least 1"):
        COMPRESSORS.parse("powersgd(rank=0)").make()

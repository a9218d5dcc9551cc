"""Methods of several rounds, and of sums: a rank-1 method written against the interface."""

from __future__ import annotations

import numpy as np
import pytest

from qsgd_lab.compressors import COMPRESSORS, Compressor, ErrorFeedback, Layout
from qsgd_lab.compressors.methods.fp32 import RawWire
from qsgd_lab.compressors.protocol import Agreed, Gather, Reduce
from qsgd_lab.exchange import SimulatedExchange

ROWS, COLUMNS = 6, 5
LAYOUT = Layout(((ROWS, COLUMNS),))


class RankOne(Compressor):
    """Averages M q, normalises it to p, averages M' p; the mean is p q', and q starts the next step."""

    aggregates, interactive, is_unbiased, wire = "sums", True, False, RawWire()

    def init(self, layout):
        (shape,) = layout.shapes
        return {"q": np.ones(shape[1], np.float32)}

    def compress(self, gradient, state, stream):
        raise NotImplementedError("this method has no payload of its own")

    decompress = compress

    def variance_factor(self, num_coordinates):
        return None

    def rounds(self, vector, state, stream):
        matrix = vector.reshape(ROWS, COLUMNS)
        p = yield Reduce(matrix @ state["q"])
        p = p / np.linalg.norm(p)
        own = matrix.T @ p
        q = yield Reduce(own)
        return Agreed(np.outer(p, q).reshape(-1), np.outer(p, own).reshape(-1), {"q": q})


class Sizes(Compressor):
    """Gathers vectors, and averages them by hand: the same as fp32, in one explicit round."""

    interactive, is_unbiased, wire = True, True, RawWire()

    def init(self, layout):
        return None

    def compress(self, gradient, state, stream):
        return gradient.copy(), state

    def decompress(self, payload):
        return payload

    def variance_factor(self, num_coordinates):
        return 0.0


class Impatient(Sizes):
    """Needs a second round at node 0 alone."""

    def rounds(self, vector, state, stream):
        yield Gather(vector)
        if stream.node == 0:
            yield Gather(vector)
        return Agreed(vector, vector, state)


def vectors(step, nodes=3):
    """Return float32 vectors, shape (nodes, n)."""
    return np.random.default_rng(step).normal(size=(nodes, ROWS * COLUMNS)).astype(np.float32)


def test_two_rounds_of_sums_give_the_rank_one_mean():
    """Steps from a kept state equal the same formulas written out for all nodes at once."""
    exchange, q = SimulatedExchange(RankOne(), 3, 0, LAYOUT), np.ones(COLUMNS, np.float32)
    out = np.empty(ROWS * COLUMNS, np.float32)
    for step in range(3):
        rows = vectors(step)
        exchange.mean(rows, step, out)
        mean = rows.reshape(3, ROWS, COLUMNS).mean(axis=0)
        p = mean @ q
        p /= np.linalg.norm(p)
        q = mean.T @ p
        assert out == pytest.approx(np.outer(p, q).reshape(-1), abs=1e-5)

    sent = 3 * 3 * 32 * (ROWS + COLUMNS)
    assert exchange.ledger.bits == {"message": sent}
    assert exchange.ledger.bits_per_coordinate()["message"] == sent / (3 * 3 * ROWS * COLUMNS)


def test_error_feedback_keeps_what_the_rounds_did_not_send():
    """Each node's residual is its gradient + residual less its own contribution; no buffer is offered."""
    exchange, out = SimulatedExchange(ErrorFeedback(RankOne()), 2, 0, LAYOUT), np.empty(30, np.float32)
    assert exchange.buffer is None
    rows = vectors(0, nodes=2)
    exchange.mean(rows, 0, out)
    kept = np.stack([state.residual for state in exchange.states])

    assert np.abs(kept).min(axis=1).max() > 0
    assert (rows - kept).mean(axis=0) == pytest.approx(out, abs=1e-5)


def test_the_state_of_the_rounds_survives_a_checkpoint():
    """Arrays written after two steps continue in another exchange, bit for bit."""
    one, other = (SimulatedExchange(ErrorFeedback(RankOne()), 2, 0, LAYOUT) for _ in range(2))
    outs = [np.empty(30, np.float32) for _ in range(2)]
    for step in range(2):
        one.mean(vectors(step, 2), step, outs[0])
    other.restore({name: array.copy() for name, array in one.arrays().items()})
    for exchange, out in zip((one, other), outs, strict=True):
        exchange.mean(vectors(2, 2), 2, out)

    assert outs[0].tobytes() == outs[1].tobytes()
    assert set(one.arrays()) == {f"state.{i}.{part}" for i in (0, 1) for part in ("inner.q", "residual")}


def test_one_round_of_payloads_is_the_ordinary_mean():
    """The default rounds give the bits of `mean`."""
    outs = [np.empty(30, np.float32) for _ in range(2)]
    for compressor, out in zip((Sizes(), COMPRESSORS.parse("fp32").make()), outs, strict=True):
        exchange = SimulatedExchange(compressor, 3, 0, LAYOUT)
        exchange.mean(vectors(0), 0, out)
        assert exchange.ledger.bits_per_coordinate() in ({"message": 32.0}, {"fp32": 32.0})

    assert outs[0].tobytes() == outs[1].tobytes()


def test_nodes_that_disagree_on_the_rounds_are_an_error():
    """A method whose nodes need different numbers of rounds would wait for ever on a network."""
    exchange = SimulatedExchange(Impatient(), 2, 0, LAYOUT)
    with pytest.raises(RuntimeError, match="do not agree on the number of rounds"):
        exchange.mean(vectors(0, 2), 0, np.empty(30, np.float32))


@pytest.mark.parametrize("text", ["raw-small", "damped"])
def test_wrappers_refuse_methods_of_rounds(text):
    """What cannot be stacked says why."""
    wrapper = COMPRESSORS.methods()[text]
    with pytest.raises(ValueError, match="rounds"):
        wrapper.make(RankOne(), **{option.name: option.default for option in wrapper.options})

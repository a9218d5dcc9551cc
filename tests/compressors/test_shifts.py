"""EF21, DIANA, and error feedback that fades: what they send, keep and converge to; stackings refused."""

from __future__ import annotations

from dataclasses import replace

import double_compressors
import numpy as np
import pytest

from qsgd_lab.compressors import COMPRESSORS, QSGD, ErrorFeedback
from qsgd_lab.compressors.protocol import Gather, Layout, NodeRows
from qsgd_lab.compressors.stacking import stacking_warnings
from qsgd_lab.compressors.wrappers.damped import Damped
from qsgd_lab.compressors.wrappers.shifts import Shifted
from qsgd_lab.errors import MessageError
from qsgd_lab.exchange import SimulatedExchange
from qsgd_lab.exchange.state import flatten, restored
from qsgd_lab.ledger import Ledger
from qsgd_lab.stream import Stream
from qsgd_lab.theory.methods import shifts as theory
from qsgd_lab.training.methods import compressor_fields

N = 40


def make(text):
    """Return the compressor of a text."""
    return COMPRESSORS.parse(text).make()


def rows_of(nodes, step, n=N):
    """Return float32 gradients of a step, shape (nodes, n)."""
    return np.random.default_rng(step).standard_normal((nodes, n)).astype(np.float32)


def mean_of(exchange, rows, step):
    """Return what the nodes agree on."""
    out = np.full(rows.shape[1], np.nan, np.float32)
    exchange.mean(rows, step, out)
    return out


def double_exchange(compressor, nodes, n=N, **shifts):
    """Return an exchange of float64, around EF21 or DIANA if `biased` says so, shifts at zero."""
    made = Shifted(compressor, **shifts) if shifts else compressor
    exchange = SimulatedExchange(made, nodes, 2, Layout.of(n))
    if shifts:
        exchange.states = replace(exchange.states, shift=np.zeros((nodes, n)), mean=np.zeros(n))
    return exchange


def double_mean(exchange, rows, step):
    """Return what the nodes agree on, float64."""
    out = np.full(rows.shape[1], np.nan)
    exchange.mean(rows, step, out)
    return out


@pytest.mark.parametrize("biased", [True, False])
def test_without_loss_it_is_the_mean_gradient(biased):
    """EF21 with k = n, DIANA with w = 0: gradient descent, each shift its gradient, to 1e-15."""
    exchange = double_exchange(double_compressors.everything(), 3, biased=biased)
    for step in range(10):
        rows = rows_of(3, step).astype(np.float64)
        assert double_mean(exchange, rows, step) == pytest.approx(rows.mean(axis=0), abs=1e-15)
        assert exchange.states.shift == pytest.approx(rows, abs=1e-15)


@pytest.mark.parametrize(
    ("compressor", "biased"),
    [(double_compressors.top_k(8), True), (double_compressors.rand_k(12, N, unbiased=True), False)],
)
def test_the_kept_mean_is_the_mean_of_the_shifts_to_all_digits(compressor, biased):
    """The server's vector and the mean of the nodes' differ by rounding alone: 1e-15 a step."""
    exchange = double_exchange(compressor, 4, biased=biased)
    for step in range(30):
        double_mean(exchange, rows_of(4, step).astype(np.float64), step)
        state = exchange.states
        assert state.mean == pytest.approx(state.shift.mean(axis=0), abs=2e-15)


@pytest.mark.parametrize(
    "text", ["ef21(top-k(fraction=0.2))", "diana(qsgd(bits=2))", "diana(rand-k(fraction=0.3))"]
)
def test_the_kept_mean_is_the_mean_of_the_shifts(text):
    """Receivers know the mean of the shifts without knowing one of them, step after step, to rounding."""
    exchange = SimulatedExchange(make(text), 4, 1, Layout.of(N))
    for step in range(30):
        mean_of(exchange, rows_of(4, step), step)
        state = exchange.states
        assert state.mean == pytest.approx(
            state.shift.mean(axis=0), abs=1e-5 * float(1 + np.abs(state.shift).max())
        )


@pytest.mark.parametrize(
    "text",
    ["ef21(top-k(fraction=0.2))", "diana(qsgd(bits=2))", "diana(qsgd(bits=2),first=dense)"],
)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_step_that_is_not_finite_is_seen_and_leaves_the_shifts(text, bad):
    """One node's NaN or infinity spoils the mean of its step, and no later one: which all forget."""
    exchange, other = (SimulatedExchange(make(text), 3, 5, Layout.of(N)) for _ in range(2))
    for step in range(5):
        rows = rows_of(3, step)
        if step in (0, 3):
            spoiled = rows.copy()
            spoiled[1, 7] = bad
            assert not np.isfinite(mean_of(exchange, spoiled, step)).all()
        else:
            assert mean_of(exchange, rows, step).tobytes() == mean_of(other, rows, step).tobytes()
    assert exchange.states.shift.tobytes() == other.states.shift.tobytes()


@pytest.mark.parametrize(
    "text",
    ["ef21(top-k(fraction=0.2))", "diana(qsgd(bits=2))", "diana(qsgd(bits=2),first=dense)"],
)
def test_rounds_are_the_simulation(text):
    """Nodes that play the rounds, each with a state of its own, agree on the bits of the simulation."""
    compressor, layout = make(text), Layout.of(N)
    exchange, states = (
        SimulatedExchange(compressor, 3, 5, layout),
        [compressor.init(layout) for _ in range(3)],
    )
    for step in range(4):
        rows = rows_of(3, step)
        rows[1, 7] = np.nan if step == 1 else rows[1, 7]  # the step is forgotten by all
        players = [compressor.rounds(rows[i], states[i], Stream(5, i, step)) for i in range(3)]
        moves = [next(player) for player in players]
        assert all(isinstance(move, Gather) for move in moves)
        ends = []
        for player in players:
            with pytest.raises(StopIteration) as end:
                player.send([move.payload for move in moves])
            ends.append(end.value.value)
        states = [end.state for end in ends]
        expected = mean_of(exchange, rows, step).tobytes()
        assert {end.mean.tobytes() for end in ends} == {expected}
        assert np.array([state.shift for state in states]).tobytes() == exchange.states.shift.tobytes()
        assert {state.mean.tobytes() for state in states} == {exchange.states.mean.tobytes()}


@pytest.mark.parametrize("text", ["ef21(top-k(fraction=0.2),first=dense)", "diana(qsgd,first=dense)"])
def test_a_dense_start_is_sent_counted_and_read(text):
    """The first mean is exact, at 32 bits a coordinate and an envelope; shifts begin at the gradients."""
    compressor, layout, rows = make(text), Layout.of(N), rows_of(2, 0)
    exchange = SimulatedExchange(compressor, 2, 0, layout)
    assert mean_of(exchange, rows, 0) == pytest.approx(rows.mean(axis=0), abs=1e-6)
    assert exchange.states.shift.tobytes() == rows.tobytes()
    first = exchange.ledger.bits_per_coordinate()["message"]
    mean_of(exchange, rows, 1)

    assert first > 32
    assert exchange.ledger.bits_per_coordinate()["message"] < first
    state = compressor.init(layout)
    for payload_is_raw in (True, False):
        payload, state = compressor.compress(rows[0], state, Stream())
        message = compressor.wire.pack(payload)
        assert compressor.wire.size(payload).bits["message"] == 8 * len(message)
        received = compressor.wire.unpack(message, layout)
        assert compressor.decompress(received).tobytes() == compressor.decompress(payload).tobytes()
        assert (compressor.decompress(payload).tobytes() == rows[0].tobytes()) == payload_is_raw
        with pytest.raises(MessageError):
            compressor.wire.unpack(message[:-3], layout)
        with pytest.raises(MessageError):
            compressor.wire.unpack(message, Layout.of(N - 1))


def test_all_starts_of_ef21_converge():
    """Dense or compressed first messages: nodes' gradients that stay are all known in the end."""
    rows = rows_of(3, 0)
    for first in ("compressed", "dense"):
        exchange = SimulatedExchange(make(f"ef21(top-k(fraction=0.2),first={first})"), 3, 0, Layout.of(N))
        for step in range(12):
            last = mean_of(exchange, rows, step)
        assert last == pytest.approx(rows.mean(axis=0), abs=1e-6)


def test_a_dense_start_is_not_repeated_after_a_checkpoint():
    """Whether the first message was sent is part of the state that is kept."""
    text, rows = "ef21(top-k(fraction=0.2),first=dense)", rows_of(2, 0)
    exchange, other = (SimulatedExchange(make(text), 2, 0, Layout.of(N)) for _ in range(2))
    mean_of(exchange, rows, 0)
    other.states = restored(other.states, flatten(exchange.states))

    assert mean_of(other, rows_of(2, 1), 1).tobytes() == mean_of(exchange, rows_of(2, 1), 1).tobytes()
    assert other.states.started


def test_compressed_gradient_descent_diverges_where_ef21_converges():
    """f_i = (a_i.x)^2 + |x|^2/4, top-1: x grows by 1 + 11 step/6 a step; EF21 reaches |grad|^2 = 4.1e-6."""
    a = np.array([[-3.0, 2, 2], [2, -3, 2], [2, 2, -3]])
    gradients = lambda x: (2 * (a @ x)[:, None] * a + x / 2).astype(np.float32)  # noqa: E731
    in_double = lambda x: 2 * (a @ x)[:, None] * a + x / 2  # noqa: E731
    step_size = theory.ef21_step(17 + 1 / 6, [34.5] * 3, 1 / 3)
    assert step_size == pytest.approx(0.0058591, rel=1e-4)

    plain, x = double_exchange(double_compressors.top_k(1), 3, 3), np.ones(3)
    for step in range(100):
        x = x - step_size * double_mean(plain, in_double(x), step)
    assert x == pytest.approx(np.full(3, (1 + 11 * step_size / 6) ** 100), rel=1e-13)

    ef21, x = double_exchange(double_compressors.top_k(1), 3, 3, biased=True), np.ones(3)
    for step in range(4000):
        x = x - step_size * double_mean(ef21, in_double(x), step)
    assert (in_double(x).mean(axis=0) ** 2).sum() < 1e-23

    ef21, x = SimulatedExchange(make("ef21(top-k(fraction=0.34))"), 3, 0, Layout.of(3)), np.ones(3)
    squares, first = [], (gradients(np.ones(3)) ** 2).sum(axis=1).mean()
    gap = np.mean([(row @ x) ** 2 + x @ x / 4 for row in a])
    for step in range(1000):
        squares.append(float((gradients(x).mean(axis=0) ** 2).sum()))
        x = x - step_size * mean_of(ef21, gradients(x), step)
    assert 2e-6 < (gradients(x).mean(axis=0) ** 2).sum() < 8e-6
    assert np.mean(squares) <= theory.ef21_gradient_bound(gap, step_size, 1000, first, 1 / 3)


def quadratics(nodes, seed=0):
    """Return curvatures and optima of unlike quadratic nodes, and the optimum of their mean."""
    rng = np.random.default_rng(seed)
    curvature, optimum = rng.uniform(1, 4, (nodes, N)), rng.standard_normal((nodes, N))
    return curvature, optimum, (curvature * optimum).sum(axis=0) / curvature.sum(axis=0)


def distance_after(text, steps, step_size, nodes=8):
    """Return ||x - x*||^2 after gradient descent on unlike quadratics with a compressor."""
    curvature, optimum, best = quadratics(nodes)
    exchange, x = SimulatedExchange(make(text), nodes, 2, Layout.of(N)), np.zeros(N)
    for step in range(steps):
        x = x - step_size * mean_of(exchange, (curvature * (x - optimum)).astype(np.float32), step)
    return float(((x - best) ** 2).sum()), exchange


def test_diana_converges_where_plain_compression_stalls():
    """Scaled rand-4 of 40 at 8 unlike nodes: with shifts to float32's resolution, without them not."""
    omega = make("rand-k(fraction=0.1)").variance_factor(N)
    assert omega == 9
    step_size = theory.diana_step(4.0, omega, 8)
    with_shifts, exchange = distance_after("diana(rand-k(fraction=0.1))", 700, step_size)
    without, _ = distance_after("rand-k(fraction=0.1)", 700, step_size)
    curvature, optimum, best = quadratics(8)

    assert with_shifts < 1e-9
    assert without > 0.1
    assert exchange.states.shift == pytest.approx(curvature * (best - optimum), abs=1e-3)
    assert with_shifts <= theory.diana_rate(step_size, 1.0, omega) ** 200  # far below the worst case


def test_diana_converges_to_all_digits():
    """In float64, rand-4 of 40 at 8 unlike nodes: |x - x*|^2 below 1e-20, shifts at the nodes' gradients.

    Three times the theory's rate of the shifts diverges.
    """
    curvature, optimum, best = quadratics(8)
    step_size, ends = theory.diana_step(4.0, 9.0, 8), []
    for rate in (0.0, 0.3):
        exchange = double_exchange(double_compressors.rand_k(4, N, unbiased=True), 8, biased=False, rate=rate)
        x = np.zeros(N)
        for step in range(700):
            with np.errstate(over="ignore", invalid="ignore"):
                x = x - step_size * double_mean(exchange, curvature * (x - optimum), step)
        ends.append((((x - best) ** 2).sum(), exchange.states.shift))

    assert ends[0][0] < 1e-20
    assert ((ends[0][1] - curvature * (best - optimum)) ** 2).sum(axis=1).max() < 1e-20
    assert not ends[1][0] < 1e20


def test_diana_is_unbiased():
    """From any shifts the estimate's mean is the gradients' mean, within 4.5 standard errors."""
    compressor, layout = make("diana(qsgd(bits=1))"), Layout.of(N)
    found = []
    for seed in range(300):
        exchange = SimulatedExchange(compressor, 2, seed, layout)
        mean_of(exchange, rows_of(2, 0), 0)
        found.append(mean_of(exchange, rows_of(2, 1), 1))
    error = np.mean(found, axis=0) - rows_of(2, 1).mean(axis=0)
    spread = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))

    assert (np.abs(error) <= 4.5 * spread + 1e-6).all()


@pytest.mark.parametrize(
    "text", ["ef(top-k(fraction=0.2),beta=0.3,decay=0.9)", "ef(qsgd(bits=2),beta=0.5)", "ef(sign,decay=0.95)"]
)
def test_fading_feedback_is_its_formula(text):
    """It keeps e <- decay ((1 - beta) e + beta (g + e - Q(g + e))), fused over nodes and one by one."""
    compressor, layout = make(text), Layout.of(N)
    states, single = compressor.init_nodes(2, layout), [compressor.init(layout) for _ in range(2)]
    for step in range(5):
        rows, out = rows_of(2, step), np.empty(N, np.float32)
        old = np.array([state.residual for state in single])
        sent = []
        for node in range(2):
            payload, single[node] = compressor.compress(rows[node], single[node], Stream(0, node, step))
            sent.append(compressor.decompress(payload))
        states = compressor.mean(NodeRows(rows), states, Stream(step=step), out, Ledger())
        corrected = rows + old
        expected = compressor.decay * (
            (1 - compressor.beta) * old + compressor.beta * (corrected - np.array(sent))
        )

        assert np.array([state.residual for state in single]).tobytes() == states.residual.tobytes()
        assert states.residual == pytest.approx(expected, abs=1e-5)
        assert out == pytest.approx(np.mean(sent, axis=0), abs=1e-6)
    assert (compressor.buffer(states) is None) == (compressor.beta != 1)


def test_feedback_at_its_defaults_has_its_old_key():
    """`ef(qsgd)` is the shorthand's run; with beta or decay it is another, under its own text."""
    assert compressor_fields("ef(qsgd(bits=2),beta=1)") == compressor_fields("ef(qsgd(bits=2))")
    assert compressor_fields("ef(qsgd(bits=2))")["error_feedback"] is True
    assert compressor_fields("ef(qsgd(bits=2),decay=0.9)")["compressor"] == "ef(qsgd(bits=2),decay=0.9)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ef21(rand-k)", r"EF21 needs a contraction.*wrap it in damped\(\.\.\.\)"),
        ("ef21(qsgd(bits=1))", "EF21 needs a contraction"),
        ("diana(top-k)", "DIANA needs an unbiased compressor; for a contraction such as top-k, use ef21"),
        ("ef21(ef(top-k))", "EF21 keeps what was not sent itself"),
        ("ef21(ef21(top-k))", "EF21 keeps what was not sent itself"),
        ("ef(ef21(top-k))", r"EF21 and DIANA keep what was not sent themselves: leave out ef"),
        ("damped(diana(qsgd))", "DIANA's payloads are differences"),
        ("ef21(qsgd-shared)", "EF21 does not wrap a compressor of several rounds"),
        ("diana(qsgd,rate=1.5)", "rate is 1.5; it must be from 0 to 1"),
        ("ef21(top-k,first=never)", "first is 'never'; it must be one of: compressed, dense"),
        ("ef(qsgd,beta=0)", "beta is 0.0; it must be above 0 and at most 1"),
        ("ef(qsgd,decay=2)", "decay is 2.0"),
    ],
)
def test_what_theory_forbids_is_refused_with_the_reason(text, message):
    """A stacking that cannot work is one clear line when it is made."""
    with pytest.raises(ValueError, match=message):
        make(text)


def test_feedback_without_a_contraction_is_warned_of():
    """An undamped unbiased sparsifier, or clipped ternary levels, may drive residuals apart."""
    assert next(stacking_warnings(make("ef(rand-k)"), 1000)).startswith("the variance factor under error f")
    assert "damped" in next(stacking_warnings(make("raw-small(ef(rand-k))"), 1000))
    assert "another" in next(stacking_warnings(make("ef(terngrad)"), 1000))
    assert "wrap it in damped" in next(stacking_warnings(make("ef(hsq)"), 1000))
    assert "take another" in next(stacking_warnings(make("ef(eden(bits=1))"), 1000))
    for text in ("ef(terngrad(scale=shared))", "ef(qsgd-shared(bits=1))"):
        (line,) = stacking_warnings(make(text), 1000)
        assert line.startswith("no contraction is known")
    for text in (
        "ef(powersgd)",
        "ef(eden)",
        "ef(damped(hsq))",
        "ef(hsq(mode=greedy))",
        "ef(rand-k(values=plain))",
        "ef(damped(rand-k))",
        "ef(top-k)",
        "rand-k",
        "ef(one-bit)",
        "ef(fp16)",
    ):
        assert not list(stacking_warnings(make(text), 1000))


def test_what_no_factor_is_known_of_sets_no_rate_and_no_damping():
    """DIANA's rate and the damping follow from w: where none is known, both are refused."""

    class Unknown(QSGD):
        def variance_factor(self, num_coordinates):
            return None

    with pytest.raises(ValueError, match=r"no variance factor .* to set DIANA's rate: give rate="):
        Shifted(Unknown(bits=2), biased=False)
    with pytest.raises(ValueError, match=r"no variance factor .* by which to damp it"):
        Damped(Unknown(bits=2))
    assert make("diana(hsq)").rate_for(1000) == np.float32(1 / (1 + make("hsq").variance_factor(1000)))


def test_residuals_are_not_kept_twice():
    """An algorithm that keeps what was not sent cannot use EF21, and is told so."""
    exchange = SimulatedExchange(make("ef21(top-k)"), 2, 0, Layout.of(N))
    with pytest.raises(ValueError, match="EF21 and DIANA keep what was not sent themselves"):
        exchange.partial_mean(rows_of(2, 0), 0, np.empty(N, np.float32))


def test_a_residual_of_a_constant_gradient_settles():
    """1-bit with feedback: the residual of 512 normal coordinates settles below 30 times their norm."""
    compressor, x = (
        ErrorFeedback(make("one-bit")),
        np.random.default_rng(3).standard_normal((1, 512), np.float32),
    )
    exchange = SimulatedExchange(compressor, 1, 0, Layout.of(512))
    norms = []
    for step in range(600):
        mean_of(exchange, x, step)
        norms.append(float(np.linalg.norm(exchange.states.residual)))

    assert 0.5 < norms[-1] / norms[300] < 2
    assert norms[-1] < 30 * np.linalg.norm(x)

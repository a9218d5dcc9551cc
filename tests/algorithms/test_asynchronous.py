"""Bounded delay: the exact limit of stability, what nodes hold, and what goes up and down."""

from __future__ import annotations

import numpy as np
import pytest
from algorithm_runs import Run

from qsgd_lab.algorithms.asynchronous import delays
from qsgd_lab.algorithms.registry import ALGORITHMS
from qsgd_lab.compressors import COMPRESSORS
from qsgd_lab.problems.registry import problem_entry
from qsgd_lab.problems.simulate import simulate
from qsgd_lab.theory.asynchronous import stability_limit
from qsgd_lab.theory.convergence import asynchronous_gradient_bound


def square(node, step, x):
    """Return the gradient of |x|^2 / 2."""
    return x


@pytest.mark.parametrize("tau", [0, 1, 3, 7])
def test_the_limit_of_stability(tau):
    """2 % below 2 sin(pi / (2 (2 tau + 1))) SGD with a constant delay dies out, 2 % above it grows."""
    limit = stability_limit(tau)
    assert limit == pytest.approx({0: 2, 1: 1, 3: 0.44504, 7: 0.20906}[tau], abs=1e-5)
    ends = []
    for factor in (0.98, 1.02):
        made = Run(f"asynchronous(tau={tau})", [1.0], square, 2, 3000, double=True)
        ends.append(float(np.abs(made.go([factor * limit] * 3000))[0]))

    assert ends[0] < 1e-2
    assert not ends[1] < 1e2


def unlike(node, step, x):
    """Return a node's own gradient."""
    return (1 + node / 4) * (x - node)


def test_no_delay_is_synchronous():
    """Tau = 0: the same bits, momentum and compressor included."""
    runs = [
        Run(text, np.ones(6), unlike, 3, 12, "ef(top-k(fraction=0.4))", momentum=0.5, decay=0.1)
        for text in ("asynchronous(tau=0)", "synchronous")
    ]
    one, two = (made.go([0.1] * 12) for made in runs)
    assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("schedule", ["constant", "turns", "random"])
def test_gradients_are_taken_at_the_models_of_their_delays(schedule):
    """A list of all models gives the model of each node in every update."""
    made = Run(f"asynchronous(tau=3,schedule={schedule})", np.ones(4), unlike, 5, 20, double=True)
    history = [np.ones(4)]
    for step in range(20):
        late = delays(schedule, 3, step, 5)
        assert late.max() <= min(step, 3)
        assert (made.models() == np.array([history[step - d] for d in late])).all()
        gradients = [unlike(node, step, history[step - d]) for node, d in enumerate(late)]
        made.step(step, 0.1)
        history.append(history[-1] - 0.1 * np.mean(gradients, axis=0))
        assert made.consensus() == pytest.approx(history[-1], abs=1e-14)
        history[-1] = made.consensus()


def test_random_delays_are_even():
    """Each of 0..tau in its share, within 5 standard errors; the same words in every run."""
    drawn = np.concatenate([delays("random", 4, step, 8) for step in range(10, 2010)])
    counts = np.bincount(drawn, minlength=5)
    assert np.abs(counts - 3200).max() < 5 * np.sqrt(16000 * 0.2 * 0.8)
    assert delays("random", 4, 77, 8).tolist() == delays("random", 4, 77, 8).tolist()


def test_the_sum_is_n_times_the_mean():
    """combine=sum at a rate is combine=mean at N times that rate, in exact arithmetic."""
    runs = [Run(f"asynchronous(combine={combine})", np.ones(3), square, 4, 6) for combine in ("sum", "mean")]
    assert runs[0].go([0.125] * 6).tobytes() == runs[1].go([0.5] * 6).tobytes()


def test_a_quantized_downlink_follows_the_server():
    """Nodes hold sums of compressed differences, which stay near the server's model and converge with it."""
    made = Run("asynchronous(tau=1,down=qsgd(bits=4))", np.ones(8), square, 3, 200, "qsgd(bits=4)")
    for step in range(200):
        made.step(step, 0.2)
    held = made.algorithm.held[200 % 2].numpy()

    assert np.abs(made.consensus()).max() < 1e-6
    assert np.abs(held).max() < 1e-6


@pytest.mark.parametrize(
    ("down", "message"),
    [
        ("rand-k(fraction=0.1)", "damp it"),
        ("qsgd(bits=1)", "damp it"),
        ("hsq", "damp it"),
        ("ef(top-k)", "leave out ef"),
        ("diana(qsgd(bits=4))", "leave out ef"),
    ],
)
def test_what_is_sent_down_must_contract(down, message):
    """What one message lacks is in the next: without a contraction it grows, so that it is refused."""
    with pytest.raises(ValueError, match=message):
        ALGORITHMS.parse(f"asynchronous(down={down})").make()


def test_up_and_down_are_counted_apart():
    """Up: a message a node. Down: the model to every node, or its compressed difference."""
    totals = {}
    for down in ("", ",down=top-k(fraction=0.05)"):
        trace = simulate(
            problem_entry("unlike-curvatures").make(4, "iid", 0),
            ALGORITHMS.parse(f"asynchronous(tau=2{down})"),
            COMPRESSORS.parse("top-k(fraction=0.05)"),
            nodes=4,
            num_steps=10,
            repeats=range(2),
        )
        totals[down] = (trace.sent_bits[-1], trace.received_bits[-1], trace.rounds[-1])

    plain, compressed = totals.values()
    assert plain[1:] == (10 * 32 * 64, 10)
    assert compressed[0] == pytest.approx(plain[0], rel=0.1)
    assert compressed[1] == pytest.approx(plain[0], rel=0.1)  # the same compressor both ways
    server = simulate(
        problem_entry("unlike-curvatures").make(4, "iid", 0),
        ALGORITHMS.parse("parameter-server"),
        COMPRESSORS.parse("fp32"),
        nodes=4,
        num_steps=10,
        repeats=range(2),
    )
    assert (server.sent_bits[-1], server.received_bits[-1]) == (10 * 32 * 64, 10 * 32 * 64)


def test_the_delay_does_not_matter_at_the_theorems_step():
    """K = 4000, M = 4, the sum: mean |grad f|^2 is below the bound, and alike for tau = 0 and 8."""
    found = []
    for schedule in ("constant", "random"):
        noise = np.random.default_rng(1).normal(size=(4000, 4, 10))
        tau = 0 if schedule == "constant" else 8
        made = Run(
            f"asynchronous(tau={tau},schedule={schedule},combine=sum)",
            np.full(10, 1.0),
            lambda node, step, x, noise=noise: x + noise[step, node],
            4,
            4000,
            double=True,
        )
        rate = np.sqrt(5 / (4 * 4000 * 10))
        squares = []
        for step in range(4000):
            squares.append(np.sum(made.consensus() ** 2))
            made.step(step, rate)
        found.append(np.mean(squares))

    bound = asynchronous_gradient_bound(5.0, 1.0, 10.0, 4000, 4, 8)
    assert max(found) < bound
    assert found[1] == pytest.approx(found[0], rel=0.15)


def test_a_server_without_compression_is_synchronous():
    """Down in float32: the same bits as synchronous SGD; down compressed, the residual keeps the rest."""
    runs = [
        Run(text, np.ones(6), unlike, 3, 12, momentum=0.5) for text in ("parameter-server", "synchronous")
    ]
    one, two = (made.go([0.1] * 12) for made in runs)
    assert one.tobytes() == two.tobytes()

    made = Run("parameter-server(down=top-k(fraction=0.3))", np.ones(6), unlike, 3, 12)
    expected = np.ones(6)
    for step in range(12):
        gradients = [unlike(node, step, x) for node, x in enumerate(made.models())]
        expected -= 0.1 * np.mean(gradients, axis=0)
        made.step(step, 0.1)
        still = 0.1 * made.algorithm.residual[0].numpy()
        assert made.consensus() - still == pytest.approx(expected, abs=1e-5)


def test_out_of_range():
    """One line."""
    with pytest.raises(ValueError, match="tau is -1"):
        ALGORITHMS.parse("asynchronous(tau=-1)").make()
    with pytest.raises(ValueError, match="damp it"):
        ALGORITHMS.parse("parameter-server(down=qsgd(bits=1))").make()

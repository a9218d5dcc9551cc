"""Local SGD: its rounds, its degenerate cases, its traffic, and any compressor on the differences."""

from __future__ import annotations

import naive_local_sgd
import numpy as np
import pytest
from algorithm_runs import Run
from hypothesis import given
from hypothesis import strategies as st

from qsgd_lab.algorithms.registry import ALGORITHMS
from qsgd_lab.algorithms.rounds import Rounds

START = np.array([1.0, -2.0, 0.5])


def unlike(node, step, model):
    """Return gradients that depend on node, step and model, all small dyadic numbers at the start."""
    return np.array([1.0, 0.5, -0.25]) * model * (1 + node) + (step % 3 - 1) * 0.5 + node


def dyadic(node, step, model):
    """Return gradients of the model's own place whose sums over 4 nodes are exact in float32."""
    return (np.round(model * 4) + node - step % 2) / 8


def ends(rounds, num_steps, rates=None):
    """Return the ends of all rounds of a run."""
    rounds.begin(num_steps)
    found, step = [], 0
    while step < num_steps:
        step = rounds.end(step, rates[step] if rates else 0.1)
        found.append(step)
    return found


@given(st.integers(1, 400), st.integers(1, 400))
def test_there_are_exactly_the_rounds_asked_for(num_steps, rounds):
    """Constant or growing: R rounds, increasing, the last at T; more than T are refused."""
    for schedule in ("constant", "growing"):
        made = Rounds(schedule, rounds=rounds)
        if rounds > num_steps:
            with pytest.raises(ValueError, match="do not fit"):
                made.begin(num_steps)
        else:
            times = ends(made, num_steps)
            assert len(times) == rounds
            assert (times == sorted(set(times)), times[-1]) == (True, num_steps)


@given(st.integers(1, 60), st.integers(1, 4))
def test_growing_rounds_are_the_notebooks(rounds, longer):
    """The real-valued rule: int(T r (r + 1) / (R (R + 1))) wherever that is R different times."""
    num_steps = longer * rounds * (rounds + 1)
    assert ends(Rounds("growing", rounds=rounds), num_steps) == naive_local_sgd.growing_times(
        num_steps, rounds
    )


def test_rounds_of_the_other_schedules():
    """One-shot is T alone; post-local counts from its switch; QSR reads the rate at a round's start."""
    assert ends(Rounds("one-shot"), 7) == [7]
    assert ends(Rounds(interval=3), 8) == [3, 6, 8]
    assert ends(Rounds(), 20) == [8, 16, 20]
    assert ends(Rounds("growing-ceil", rounds=4), 20) == [3, 9, 18, 20]
    assert ends(Rounds(interval=3, local_from=0.25), 8) == [1, 2, 5, 8]
    rates = [1.0] * 5 + [0.1] * 20
    assert ends(Rounds("square-root", interval=2, coefficient=0.301), 25, rates) == [2, 4, 6, 15, 24, 25]


@pytest.mark.parametrize("momentum", ["kept", "reset", "averaged"])
@pytest.mark.parametrize("schedule", ["interval=3", "schedule=growing,rounds=3", "schedule=one-shot"])
def test_it_is_the_definition(schedule, momentum):
    """Models after 12 steps with momentum and weight decay are the plain program's, within rounding."""
    rates = [0.1 / (1 + step) for step in range(12)]
    run = Run(f"local-sgd({schedule},momentum={momentum})", START, unlike, 3, 12, momentum=0.5, decay=0.125)
    run.go(rates)
    times = {"i": [3, 6, 9, 12], "s": [2, 6, 12] if "growing" in schedule else [12]}[schedule[0]]
    expected = naive_local_sgd.local_sgd(START, unlike, rates, times, 3, 0.5, 0.125, momentum)

    assert run.models() == pytest.approx(expected, rel=2e-6, abs=2e-6)
    assert len({model.tobytes() for model in run.models()}) == 1


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_an_exchange_every_step_is_synchronous_sgd(momentum):
    """H = 1, momentum averaged: the same bits as synchronous SGD where no sum is rounded."""
    rates = [0.5, 0.25, 0.5, 0.25]
    apart = Run("local-sgd(interval=1,momentum=averaged)", START, dyadic, 4, 4, momentum=momentum)
    together = Run("synchronous", START, dyadic, 4, 4, momentum=momentum)

    assert apart.go(rates).tobytes() == together.go(rates).tobytes()


def test_one_node_is_sgd():
    """N = 1: the same bits as SGD at any schedule where no difference is rounded."""
    rates = [0.5, 0.25, 0.5, 0.25, 0.5]
    alone = Run("local-sgd(schedule=growing,rounds=2)", START, dyadic, 1, 5, momentum=0.5)

    assert (
        alone.go(rates).tobytes() == Run("synchronous", START, dyadic, 1, 5, momentum=0.5).go(rates).tobytes()
    )


def test_on_a_quadratic_with_additive_noise_the_schedule_does_not_matter():
    """A null test: with one Hessian for all, the mean model is that of synchronous SGD, to 4e-16."""
    noise = np.random.default_rng(0).normal(size=(8, 30, 3))
    rates = [0.3 / (1 + step / 10) for step in range(30)]
    found = [
        Run(text, START, lambda node, step, x: 2 * x + noise[node, step], 8, 30, double=True).go(rates)
        for text in (
            "synchronous",
            "local-sgd(interval=7)",
            "local-sgd(schedule=growing,rounds=5)",
            "local-sgd(schedule=one-shot)",
        )
    ]

    assert np.ptp(found, axis=0).max() < 4e-16


def test_what_is_sent_is_counted():
    """A round sends n float32 a node; averaged momenta as many again; nothing goes out in between."""
    run = Run("local-sgd(interval=4)", START, unlike, 3, 10)
    bits = []
    for step in range(10):
        run.step(step, 0.1)
        bits.append(run.sent_bits)
    message = 3 * 32 * len(START)
    assert bits == [message * count for count in (0, 0, 0, 1, 1, 1, 1, 2, 2, 3)]

    averaged = Run("local-sgd(interval=4,momentum=averaged)", START, unlike, 3, 10, momentum=0.5)
    averaged.go([0.1] * 10)
    assert averaged.sent_bits == 2 * bits[-1]


@pytest.mark.parametrize("compressor", ["ef(top-k(fraction=0.4))", "qsgd(bits=7)", "ef(qsgd(bits=7))"])
def test_any_compressor_takes_the_differences(compressor):
    """Models agree after a round; a quantizer with 127 levels stays near the uncompressed run."""
    run = Run("local-sgd(interval=5)", START, unlike, 4, 20, compressor=compressor)
    plain = Run("local-sgd(interval=5)", START, unlike, 4, 20)
    found, expected = run.go([0.02] * 20), plain.go([0.02] * 20)

    assert len({model.tobytes() for model in run.models()}) == 1
    if "qsgd" in compressor:
        assert found == pytest.approx(expected, abs=0.05)
    else:  # x - mean(residual) is what the uncompressed differences would have led to, for the same gradients
        assert np.abs(run.exchange.buffer).max() > 0
    assert run.exchange.ledger.coordinates == 4 * 4 * len(START)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("local-sgd(schedule=growing)", "growing needs rounds"),
        ("local-sgd(rounds=3,interval=2)", "leave out one of them"),
        ("local-sgd(schedule=one-shot,rounds=3)", "one-shot has one round"),
        ("local-sgd(schedule=square-root)", "needs a coefficient above 0"),
        ("local-sgd(coefficient=0.1)", "belongs to schedule=square-root"),
        ("local-sgd(local_from=1)", "local_from in"),
        ("local-sgd(rounds=-1)", "at least 0"),
        ("local-sgd(schedule=square-root,coefficient=nan)", "needs a coefficient above 0"),
    ],
)
def test_options_that_do_not_go_together_are_refused(text, message):
    """One line that says what would be right."""
    with pytest.raises(ValueError, match=message) as caught:
        ALGORITHMS.parse(text).make()
    assert "\n" not in str(caught.value)


def test_labels_say_the_schedule():
    """Rows of tables tell schedules apart."""
    labels = {
        text: ALGORITHMS.parse(f"local-sgd({text})").label
        for text in ("interval=4", "schedule=growing,rounds=16", "schedule=one-shot", "momentum=reset")
    }
    assert list(labels.values()) == [
        "local SGD (H = 4)",
        "local SGD (growing, 16 rounds)",
        "local SGD (one-shot)",
        "local SGD (H = 8, momentum reset)",
    ]

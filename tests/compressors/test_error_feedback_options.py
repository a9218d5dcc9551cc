"""Error feedback: units of the residual when the learning rate changes, and steps that are not finite."""

from __future__ import annotations

import dataclasses
from functools import partial

import naive_error_feedback as naive
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qsgd_lab.compressors import COMPRESSORS, QSGD, Compressor, Damped, ErrorFeedback, FullPrecision, Layout
from qsgd_lab.compressors.methods.top_k import TopK
from qsgd_lab.compressors.wrappers.raw_small_tensors import RawSmallTensors
from qsgd_lab.exchange import SimulatedExchange
from qsgd_lab.stream import Stream
from qsgd_lab.training.methods import compressor_fields


class FirstHalf(Compressor):
    """Sends half of the coordinates: what is not finite in the other half shows in no payload by itself."""

    wire, is_unbiased = FullPrecision().wire, False

    def init(self, layout):
        return None

    def compress(self, gradient, state, stream):
        return gradient[: len(gradient) // 2].copy(), None

    def decompress(self, payload):
        return np.concatenate([payload, 0 * payload])

    def variance_factor(self, num_coordinates):
        return 1.0


N = 40
LAYOUT = Layout.of(N, (30, 10))

INNER = {
    "qsgd": partial(QSGD, bits=2),
    "one norm": partial(QSGD, bits=2, norm="max", bucket_size="model"),
    "damped": lambda: Damped(QSGD(bits=1)),
    "top-k": partial(TopK, fraction=0.1),
    "half": FirstHalf,
    "raw small": lambda: RawSmallTensors(QSGD(bits=2), 10),
}
rates = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6)


def gradients_of(steps, nodes=2, seed=0):
    """Return normal gradients, float32, shape (steps, nodes, N)."""
    return np.random.default_rng(seed).standard_normal((steps, nodes, N)).astype(np.float32)


def agree(exchange, gradients, step, rate=None):
    """Return the mean of a step."""
    if rate is not None:
        exchange.at_rate(rate)
    mean = np.full(N, 7, np.float32)
    exchange.mean(gradients, step, mean)
    return mean


@settings(max_examples=25)
@given(rates, st.integers(1, 3), st.integers(0, 2**16))
def test_in_update_units_training_is_the_papers(rates, nodes, seed):
    """Under any schedule the points are those of EF-SGD, whose errors have the learning rate inside."""
    gradients = gradients_of(len(rates), nodes, seed)
    points, errors = naive.ef_sgd(np.zeros(N), gradients, rates)
    exchange = SimulatedExchange(ErrorFeedback(TopK(1 / N), unit="update"), nodes, 0, LAYOUT)
    point = np.zeros(N)
    for step, rate in enumerate(rates):
        point -= rate * agree(exchange, gradients[step], step, rate).astype(np.float64)
        scale = np.abs(points[: step + 1]).max() + np.abs(errors).max()
        np.testing.assert_allclose(point, points[step], atol=1e-5 * scale)
    np.testing.assert_allclose(
        exchange.states.residual * np.float32(rates[-1]), errors, atol=1e-4 * np.abs(errors).max() + 1e-30
    )


@pytest.mark.parametrize("name", INNER)
@settings(max_examples=25)
@given(rates=rates)
def test_in_update_units_nothing_is_lost_when_the_rate_changes(name, rates):
    """The point less the nodes' mean debt is where uncompressed SGD is, whatever the rates and the method."""
    gradients = gradients_of(len(rates))
    exchange = SimulatedExchange(ErrorFeedback(INNER[name](), unit="update"), 2, 5, LAYOUT)
    point, uncompressed = np.zeros(N), np.zeros(N)
    for step, rate in enumerate(rates):
        point -= rate * agree(exchange, gradients[step], step, rate)
        uncompressed -= rate * gradients[step].astype(np.float64).mean(0)
    debt = rates[-1] * exchange.states.residual.astype(np.float64).mean(0)
    scale = sum(rates) * np.abs(gradients).max()
    np.testing.assert_allclose(point - debt, uncompressed, atol=1e-4 * scale)


@pytest.mark.parametrize("name", INNER)
def test_at_a_constant_rate_the_unit_changes_no_bit(name):
    """Only a change of the rate tells the units apart, and by default none is told."""
    exchanges = [
        SimulatedExchange(ErrorFeedback(INNER[name](), unit=unit), 2, 3, LAYOUT)
        for unit in ("gradient", "update", "update")
    ]
    for step, gradients in enumerate(gradients_of(4)):
        pairs = zip(exchanges, (1, 0.1, None), strict=True)
        means = [agree(exchange, gradients, step, rate) for exchange, rate in pairs]
        assert means[0].tobytes() == means[1].tobytes() == means[2].tobytes()


def test_gradients_units_do_not_depend_on_the_rate():
    """By default a schedule changes neither a residual nor what is sent."""
    told, untold = (SimulatedExchange(ErrorFeedback(QSGD(bits=2)), 2, 3, LAYOUT) for _ in range(2))
    for step, gradients in enumerate(gradients_of(4)):
        assert agree(told, gradients, step, 10.0**-step).tobytes() == agree(untold, gradients, step).tobytes()
    assert told.buffer.tobytes() == untold.buffer.tobytes()


@pytest.mark.parametrize("rate", [0.0, -0.1, float("inf"), float("nan")])
def test_a_rate_without_updates_is_refused(rate):
    """Residuals cannot be measured in updates of nothing."""
    exchange = SimulatedExchange(ErrorFeedback(QSGD(bits=2), unit="update"), 2, 3, LAYOUT)
    with pytest.raises(ValueError, match="unit=update needs one above 0"):
        exchange.at_rate(rate)
    SimulatedExchange(ErrorFeedback(QSGD(bits=2)), 2, 3, LAYOUT).at_rate(rate)


@pytest.mark.parametrize("outer", [lambda c: c, lambda c: RawSmallTensors(c, 10)], ids=["bare", "raw small"])
def test_a_checkpoint_keeps_the_rate(outer):
    """Stopped between two rates and continued, the means are those of a run that was never stopped."""
    make = lambda: outer(ErrorFeedback(QSGD(bits=2), unit="update"))  # noqa: E731
    whole, first = (SimulatedExchange(make(), 2, 3, LAYOUT) for _ in range(2))
    gradients = gradients_of(4)
    for step in range(2):
        for exchange in (whole, first):
            agree(exchange, gradients[step], step, 0.5**step)
    second = SimulatedExchange(make(), 2, 3, LAYOUT)
    second.restore(first.arrays())
    for step in range(2, 4):
        means = [agree(exchange, gradients[step], step, 0.5**step) for exchange in (whole, second)]
        assert means[0].tobytes() == means[1].tobytes()


bad_values = st.sampled_from([np.nan, np.inf, -np.inf])
places = st.lists(st.tuples(st.integers(0, 1), st.integers(0, N - 1), bad_values), min_size=1, max_size=5)


@pytest.mark.parametrize("name", INNER)
@settings(max_examples=25)
@given(places=places, bad_step=st.integers(0, 3))
def test_a_skipped_step_leaves_no_trace(name, places, bad_step):
    """With skip_nonfinite, later means are those of a run that never had the step; its own mean shows it."""
    gradients = gradients_of(4)
    spoiled = gradients.copy()
    for node, place, value in places:
        spoiled[bad_step, node, place] = value
    compressor = ErrorFeedback(INNER[name](), skip_nonfinite=True)
    skipping, never = (SimulatedExchange(compressor, 2, 3, LAYOUT) for _ in range(2))
    for step in range(4):
        mean = agree(skipping, spoiled[step], step)
        if step == bad_step:
            assert not np.isfinite(mean).all()
        else:
            assert mean.tobytes() == agree(never, gradients[step], step).tobytes()
    assert skipping.states.residual.tobytes() == never.states.residual.tobytes()


@pytest.mark.parametrize("name", INNER)
@settings(max_examples=25)
@given(places=places)
def test_one_node_alone_keeps_its_state(name, places):
    """`compress` returns the state that it was given if the vector is not finite; the payload shows it."""
    compressor = ErrorFeedback(INNER[name](), skip_nonfinite=True)
    _, state = compressor.compress(gradients_of(1)[0, 0], compressor.init(LAYOUT), Stream(seed=1))
    bad = gradients_of(1)[0, 1].copy()
    for _, place, value in places:
        bad[place] = value
    payload, after = compressor.compress(bad, state, Stream(seed=1, step=1))
    assert after is state
    assert not np.isfinite(compressor.decompress(payload)).all()


@pytest.mark.parametrize("outer", [lambda c: c, lambda c: RawSmallTensors(c, 10)], ids=["bare", "raw small"])
@settings(max_examples=25)
@given(places=places)
def test_nodes_that_know_the_mean_skip_together(outer, places):
    """Node by node, as on real ranks, a step that one node spoils is undone at all of them."""
    gradients = gradients_of(3)
    spoiled = gradients.copy()
    for node, place, value in places:
        spoiled[1, node, place] = value
    compressor = outer(ErrorFeedback(QSGD(bits=2), skip_nonfinite=True))
    exchange = SimulatedExchange(compressor, 2, 3, LAYOUT)
    states = [compressor.init(LAYOUT) for _ in range(2)]
    for step in range(3):
        sent = [
            compressor.compress(spoiled[step, node], state, Stream(3, node, step))
            for node, state in enumerate(states)
        ]
        mean = sum(compressor.decompress(payload) for payload, _ in sent) / np.float32(2)
        states = [
            compressor.settled(before, after, mean) for before, (_, after) in zip(states, sent, strict=True)
        ]
        if step != 1:
            assert mean.tobytes() == agree(exchange, gradients[step], step).tobytes()


@pytest.mark.parametrize("name", INNER)
@settings(max_examples=25)
@given(places=places, in_place=st.booleans())
def test_by_default_a_residual_is_finite_after_every_step(name, places, in_place):
    """One overflow shows in the mean of its step and spoils no later one; what was unsent there is lost."""
    gradients = gradients_of(4)
    for node, place, value in places:
        gradients[1, node, place] = value
    exchange = SimulatedExchange(ErrorFeedback(INNER[name]()), 2, 3, LAYOUT)
    for step in range(4):
        if in_place:
            with np.errstate(invalid="ignore"):
                exchange.buffer[:] += gradients[step]
        mean = agree(exchange, None if in_place else gradients[step], step)
        if name != "half":  # which may hide it
            assert np.isfinite(mean).all() == (step != 1)
        assert np.isfinite(exchange.states.residual).all()


def test_a_sum_above_the_float_range_is_skipped_too():
    """Residual and gradient may be finite and their sum not; nodes may be finite and their sum not."""
    huge = np.full((2, N), 3e38, np.float32)
    exchange = SimulatedExchange(ErrorFeedback(FullPrecision(), skip_nonfinite=True), 2, 0, LAYOUT)
    before = exchange.states
    assert not np.isfinite(agree(exchange, huge, 0)).any()
    assert exchange.states.residual is before.residual
    exchange.states = dataclasses.replace(before, residual=huge.copy())
    assert not np.isfinite(agree(exchange, huge, 1)).any()
    assert (exchange.states.residual == huge).all()


@pytest.mark.parametrize("skip", [False, True])
def test_tensors_are_treated_as_arrays(skip):
    """A residual that is a tensor is cleared, or kept, as one in NumPy is."""
    gradients = gradients_of(3)
    gradients[1, 0, 4] = np.inf
    kinds = []
    for like in (None, torch.zeros(1)):
        compressor = ErrorFeedback(Damped(QSGD(bits=2)), skip_nonfinite=skip)
        exchange = SimulatedExchange(compressor, 2, 3, LAYOUT, like=like)
        for step in range(3):
            vectors = gradients[step] if like is None else torch.from_numpy(gradients[step])
            mean = np.zeros(N, np.float32) if like is None else torch.zeros(N)
            exchange.mean(vectors, step, mean)
        kinds.append((np.asarray(mean).tolist(), np.asarray(exchange.states.residual).tolist()))
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("text", ["ef(ef(qsgd))", "ef(raw-small(ef(qsgd)))", "ef(ef-forgotten(qsgd))"])
def test_feedback_is_not_stacked(text):
    """A residual of residuals would be dropped by one of the two; it is refused before any run."""
    with pytest.raises(ValueError, match="error feedback wraps no other error feedback"):
        compressor_fields(text)


def test_options_are_named_in_the_text_and_default_ones_left_out():
    """At their defaults a method keeps the fields, and so the key, that it had; others are text."""
    for text in ("ef(qsgd(bits=2))", "ef(qsgd(bits=2),unit=gradient,skip_nonfinite=false)"):
        assert compressor_fields(text)["error_feedback"] is True
        assert str(COMPRESSORS.parse(text)) == "ef(qsgd(bits=2))"
    text = "ef(qsgd(bits=2),unit=update,skip_nonfinite=true)"
    assert compressor_fields(text) == {"compressor": text, "plugins": ()}
    made = COMPRESSORS.parse(text).make()
    assert (made.unit, made.skip_nonfinite) == ("update", True)
    assert COMPRESSORS.parse(text).label == "QSGD 2 bit, l2, 512 + EF (update), skips"
    for wrong in ("ef(qsgd,unit=step)", "ef(qsgd,skip_nonfinite=yes)"):
        with pytest.raises(ValueError, match="it must be one of"):
            COMPRESSORS.parse(wrong)
    with pytest.raises(ValueError, match="unknown unit 'rate' of the residual; known: gradient, update"):
        ErrorFeedback(QSGD(bits=2), unit="rate")

"""The DDP hook against the simulation, and what users of DDP expect of it."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import rank_cases
import torch
from hook_simulation import simulate

from qsgd_lab.distributed.hook import QSGDHook

PLAIN = {"raw_up_to": 0, "bits": 2}
SMALL_BUCKETS = {"bucket_cap_mb": 0.005}


@pytest.mark.parametrize(
    ("text", "options", "ddp"),
    [
        ("ef(qsgd(bits=2,norm=max))", PLAIN, {}),
        (
            "ef(qsgd(bits=2,norm=max,stream_version=2))",
            {**PLAIN, "stream_version": 2},
            SMALL_BUCKETS,
        ),
        ("qsgd(bits=4,norm=max)", {**PLAIN, "bits": 4, "error_feedback": False}, SMALL_BUCKETS),
        ("fp32", {"warmup_steps": 100}, SMALL_BUCKETS),
        ("fp32", {"compressor": "fp32"}, {}),
        ("ef(qsgd(bits=2,norm=max))", {**PLAIN, "layout": "auto"}, {"static_graph": True}),
        ("ef(qsgd(bits=8,norm=max))", {**PLAIN, "bits": 8, "layout": "ranged"}, {}),
    ],
)
def test_the_hook_has_the_simulations_bits(two_ranks, text, options, ddp):
    """Parameters and residuals after 12 steps, with one bucket or several, through DDP's rebuild."""
    parameters, states = simulate(text, 2, 12)
    for rank, (there, state, _, _) in enumerate(
        two_ranks.call(rank_cases.trained, "plain", 12, options, ddp)
    ):
        assert np.array_equal(parameters.view(np.uint32), there.view(np.uint32))
        if text.startswith("ef("):
            assert np.array_equal(states["state.residual"][rank], state["residual"].numpy())


@pytest.mark.parametrize("kind", ["plain", "narrow", "normalised", "convolution"])
def test_39_steps_have_the_simulations_bits(two_ranks, kind):
    """Four networks, several buckets, and the rebuild after the first step."""
    parameters, states = simulate("ef(qsgd(bits=2,norm=max))", 2, 39, kind=kind)
    results = two_ranks.call(rank_cases.trained, kind, 39, PLAIN, SMALL_BUCKETS)
    for rank, (there, state, _, _) in enumerate(results):
        assert np.array_equal(parameters.view(np.uint32), there.view(np.uint32))
        assert np.array_equal(states["state.residual"][rank], state["residual"].numpy())


@pytest.mark.parametrize("ddp", [{}, SMALL_BUCKETS])
def test_two_phases_have_the_simulations_bits(four_ranks, ddp):
    """The parameters after 12 steps, however DDP cuts its buckets: above two ranks it is the default."""
    parameters, _ = simulate("ef(qsgd(bits=2,norm=max))", 4, 12, two_phase=True)
    for there, *_ in four_ranks.call(rank_cases.trained, "plain", 12, PLAIN, ddp):
        assert np.array_equal(parameters.view(np.uint32), there.view(np.uint32))


@pytest.mark.parametrize(
    ("collective", "layout"), [("all-gather", "fixed"), ("all-gather", "auto"), ("two-phase", "ranged")]
)
def test_late_buckets_change_nothing(two_ranks, collective, layout):
    """Ranks whose gradients are ready at other times begin the same exchanges: the simulation's bits."""
    parameters, _ = simulate("ef(qsgd(bits=2,norm=max))", 2, 8, two_phase=collective == "two-phase")
    options = {**PLAIN, "collective": collective, "layout": layout}
    for there, *_ in two_ranks.call(rank_cases.trained, "plain", 8, options, SMALL_BUCKETS, {"late": True}):
        assert np.array_equal(parameters.view(np.uint32), there.view(np.uint32))


def test_the_fastest_collective_is_named_and_kept(two_ranks):
    """All ranks take the same one, with its bits; a state goes on with its own, whatever is faster now."""
    asked = {**PLAIN, "collective": "fastest"}
    results = two_ranks.call(rank_cases.trained, "plain", 3, asked, SMALL_BUCKETS)
    chosen = {result[2][7] for result in results}
    assert chosen <= {"all-gather", "two-phase"}
    named = {**PLAIN, "collective": chosen.pop()}
    assert not chosen
    for (found, *_), (expected, _, statistics, _) in zip(
        results, two_ranks.call(rank_cases.trained, "plain", 3, named, SMALL_BUCKETS), strict=True
    ):
        assert np.array_equal(found, expected)
        assert statistics[8] > 0 < statistics[9]
    for other in ("all-gather", "two-phase"):
        named = two_ranks.call(rank_cases.trained, "plain", 1, {**PLAIN, "collective": other}, {})
        extra = {"state": [state for _, state, *_ in named], "network": named[0][3], "first": 1}
        for *_, statistics, _ in two_ranks.call(rank_cases.trained, "plain", 1, asked, {}, extra):
            assert statistics[7] == other


def test_what_owners_have_not_sent_is_kept_by_an_all_gather(two_ranks):
    """A state of two phases, loaded for one: residuals and the owners' parts have the mean that they had."""
    before = two_ranks.call(rank_cases.trained, "plain", 2, {**PLAIN, "collective": "two-phase"}, {})
    extra = {"state": [state for _, state, *_ in before], "network": before[0][3], "first": 2}
    after = two_ranks.call(rank_cases.trained, "plain", 0, {**PLAIN, "collective": "all-gather"}, {}, extra)
    unsent = sum(state["residual"] / 2 + state["owned"] for _, state, *_ in before)
    assert sum(state["owned"].abs().sum() for _, state, *_ in before) > 0
    assert torch.allclose(sum(state["residual"] for _, state, *_ in after) / 2, unsent, atol=1e-6)


def test_accumulated_batches_are_one_synchronisation(two_ranks):
    """Under no_sync the hook is not called; the sum of three backward passes is what is sent."""
    parameters, _ = simulate("ef(qsgd(bits=2,norm=max))", 2, 4, micro=3)
    for there, state, _, _ in two_ranks.call(rank_cases.trained, "plain", 4, PLAIN, {}, {"micro": 3}):
        assert np.array_equal(parameters, there)
        assert state["step"] == 4


def test_four_ranks_agree_and_count_their_bytes(four_ranks):
    """All ranks have the same parameters, and send less than a fourth of what float32 takes."""
    results = four_ranks.call(rank_cases.trained, "plain", 6, PLAIN, SMALL_BUCKETS)
    assert all(np.array_equal(results[0][0], other[0]) for other in results)
    steps, sent, fp32, *_ = results[0][2]
    assert steps == 6
    assert 0 < sent < fp32 / 2


def test_an_unused_parameter_keeps_its_residual(two_ranks):
    """A layer that no rank used in a step keeps what it had not sent, and gets no gradient."""
    ddp = {"find_unused_parameters": True}
    one = two_ranks.call(rank_cases.trained, "unused", 1, PLAIN, ddp)  # uses `first`
    two = two_ranks.call(rank_cases.trained, "unused", 2, PLAIN, ddp)  # then `second`
    size = 12 * 40 + 40
    for (_, before, _, _), (_, after, _, _) in zip(one, two, strict=True):
        assert before["residual"][:size].abs().sum() > 0
        assert torch.equal(before["residual"][:size], after["residual"][:size])
        assert after["residual"][size : 2 * size].abs().sum() > 0


def test_a_step_with_an_infinity_leaves_the_residuals(two_ranks):
    """All ranks see it, the optimizer skips it, and the residuals are those of the step before."""
    good = two_ranks.call(rank_cases.trained, "plain", 3, PLAIN, SMALL_BUCKETS)
    bad = two_ranks.call(rank_cases.trained, "plain", 4, PLAIN, SMALL_BUCKETS, {"nan_step": 3})
    for (parameters, state, _, _), (after, kept, statistics, _) in zip(good, bad, strict=True):
        assert np.array_equal(parameters, after)
        assert torch.equal(state["residual"], kept["residual"])
        assert statistics[4] == 1


def test_training_goes_on_from_a_state(two_ranks):
    """5 steps and 5 more equal 10; the file is read with weights_only."""
    whole = two_ranks.call(rank_cases.trained, "plain", 10, PLAIN, SMALL_BUCKETS)
    half = two_ranks.call(rank_cases.trained, "plain", 5, PLAIN, SMALL_BUCKETS)
    states = []
    for _, state, _, _ in half:
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        states.append(torch.load(file, weights_only=True))
    extra = {"state": states, "network": half[0][3], "first": 5}
    rest = two_ranks.call(rank_cases.trained, "plain", 5, PLAIN, SMALL_BUCKETS, extra)
    for (expected, state, *_), (found, after, *_) in zip(whole, rest, strict=True):
        assert np.array_equal(expected, found)
        assert torch.equal(state["residual"], after["residual"])


@pytest.mark.parametrize("extra", [{"dtype": "bfloat16"}, {"compile": True}])
def test_other_gradients_train_too(two_ranks, extra):
    """bfloat16 gradients are sent as float32 values; a compiled model calls the hook as well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = two_ranks.call(rank_cases.trained, "plain", 3, PLAIN, {}, extra)
    assert np.array_equal(results[0][0], results[1][0])
    assert results[0][2][0] == 3


@pytest.mark.parametrize("text", ["ef(top-k(fraction=0.1))", "qsgd(bits=4,bucket_size=tensor)"])
def test_any_method_can_be_named(two_ranks, text):
    """By its text; ranks end with the same parameters."""
    results = two_ranks.call(rank_cases.trained, "plain", 3, {"compressor": text, "raw_up_to": 100}, {})
    assert np.array_equal(results[0][0], results[1][0])


def test_settings_that_differ_are_named(two_ranks):
    """One line on every rank, before a gradient is sent."""
    two_ranks.start(rank_cases.hook_settings_differ)
    for ok, (kind, text, _) in two_ranks.outcomes():
        assert not ok
        assert kind == "UsageError"
        assert "do not agree on the compressor" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layout": "short"}, "layout"),
        ({"bits": 0}, "bits"),
        ({"compressor": "qsdg"}, "qsdg"),
        ({"compressor": "ef(sign,unit=update)"}, "the hook knows no learning rate"),
        ({"compressor": "ef(sign,beta=0.5)"}, "without unit, beta and decay"),
        ({"compressor": "ef21(top-k)"}, "differences to shifts"),
    ],
)
def test_bad_settings_are_refused_at_once(options, words):
    """Before any group is there."""
    with pytest.raises(ValueError, match=words):
        QSGDHook(**options)

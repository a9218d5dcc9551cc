"""The DDP hook where ranks, states or arguments do not fit, and where only some have a NaN."""

from __future__ import annotations

import math

import hook_cases
import numpy as np
import pytest
import rank_cases
import torch
from hook_simulation import simulate

from qsgd_lab.distributed.hook import QSGDHook
from qsgd_lab.distributed.hook_parameters import HookParameters
from qsgd_lab.distributed.hook_state import Expected, loaded

PLAIN = {"raw_up_to": 0, "bits": 2}
TEXT = "ef(qsgd(bits=2,norm=max))"


def test_models_of_two_groups_stay_apart(four_ranks):
    """DDP over pairs of ranks: each pair is averaged by itself, and has the simulation's bits."""
    results = four_ranks.call(rank_cases.trained, "plain", 4, PLAIN, {}, {"pairs": True})
    expected, _ = simulate(TEXT, 2, 4)
    first, other = results[0][0], results[2][0]
    assert np.array_equal(first, expected)
    assert np.array_equal(first, results[1][0])
    assert np.array_equal(other, results[3][0])
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("method", ["rand-k(fraction=0.1)", "grbs(ratio=8)", "top-k(fraction=0.01)"])
def test_a_nan_that_is_not_sent_is_seen_by_all(two_ranks, method):
    """In one coordinate of one rank's gradient: a step without effect, and residuals as they were."""
    options = {"compressor": f"ef({method})", "raw_up_to": 0}
    good = two_ranks.call(rank_cases.trained, "plain", 2, options, {})
    bad = two_ranks.call(rank_cases.trained, "plain", 3, options, {}, {"nan_gradient": 2})
    for (parameters, state, _, _), (after, kept, statistics, _) in zip(good, bad, strict=True):
        assert np.array_equal(parameters, after)
        assert torch.equal(state["residual"], kept["residual"])
        assert statistics[4] == 1


def test_a_gradient_of_zeros_is_a_gradient(two_ranks):
    """Under find_unused_parameters, what was not sent before goes with it: the simulation's bits."""
    expected, _ = simulate(TEXT, 2, 4, zero_step=2)
    ddp = {"find_unused_parameters": True}
    for found, *_ in two_ranks.call(rank_cases.trained, "plain", 4, PLAIN, ddp, {"zero_step": 2}):
        assert np.array_equal(expected.view(np.uint32), found.view(np.uint32))


@pytest.mark.parametrize(
    ("case", "arguments", "words"),
    [
        ("ddp_settings_differ", (), "do not agree on find_unused_parameters of DDP: rank 0 has false"),
        ("states_differ", ("steps",), "do not agree on the state's step: rank 0 has 3, rank 1 has 4"),
    ],
)
def test_what_differs_between_ranks_is_named(two_ranks, case, arguments, words):
    """One line on every rank, before a gradient is sent."""
    two_ranks.start(getattr(hook_cases, case), *arguments)
    for ok, (kind, text, _) in two_ranks.outcomes():
        assert not ok
        assert kind == "UsageError"
        assert words in text


def test_a_rank_that_does_not_take_part_is_named(two_ranks, processes):
    """A state that one rank loads, a hook that one rank registers: an error of that rank, in time."""
    two_ranks.start(hook_cases.states_differ, "alone")
    (ok, (kind, text, _)), other = two_ranks.outcomes()
    assert (ok, kind, other) == (False, "PeerError", (True, None))
    assert "rank 1 of 2 did not call load_state_dict in 2 s" in text
    two_ranks.start(hook_cases.registered_by_some, 2)
    (ok, (kind, text, _)), other = two_ranks.outcomes()
    assert (ok, kind, other) == (False, "PeerError", (True, None))
    assert "not all of ranks 0, 1 began in 2 s: register the hook on every rank" in text
    processes.group = None  # the ranks have begun other numbers of groups: the next case joins anew


def test_misuse_is_one_line(two_ranks):
    """A second model, and one norm for a model in several buckets."""
    for twice, several in two_ranks.call(hook_cases.misused):
        assert twice == "the hook is registered already: make one for each model"
        assert several.startswith("UsageError: bucket_size=model needs one DDP bucket")
        assert "bucket_cap_mb" in several


@pytest.mark.parametrize("call", [QSGDHook.state_dict, QSGDHook.load_state_dict])
def test_a_hook_without_a_model_has_no_state(call):
    """One line, also where Python leaves assertions out; closing it does nothing."""
    hook = QSGDHook()
    hook.close()
    with pytest.raises(ValueError, match="no model yet: call register"):
        call(hook)


def test_complex_parameters_are_refused():
    """By their name, with what to do."""
    network = torch.nn.Linear(2, 2, dtype=torch.complex64)
    with pytest.raises(ValueError, match=r"parameter weight is torch.complex64; .* \(torch.view_as_real\)"):
        HookParameters(network, lambda *_: False)


def test_compiled_models_have_the_names_of_plain_ones():
    """A state is of both."""
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    compiled = torch.compile(network, backend="eager")
    assert "_orig_mod" in next(iter(compiled.state_dict()))
    names = HookParameters(compiled, lambda *_: False).names
    assert names == HookParameters(network, lambda *_: False).names == ["0.weight", "0.bias"]
    state = good_state(names=["_orig_mod.a", "b"])
    assert loaded([state], expected()).step == 7


def expected(**changes):
    """Return what a state must be of."""
    return Expected(
        **{"compressor": "c", "names": ["a", "b"], "coordinates": 3, "world": 2, "rank": 0, **changes}
    )


def good_state(**changes):
    """Return a state of rank 0 of 2."""
    state = {
        **{"version": 1, "compressor": "c", "names": ["a", "b"], "step": 7, "world": 2, "rank": 0},
        **{"scale": 1.0, "collective": "all-gather", "residual": torch.ones(3), "owned": torch.ones(0)},
    }
    return {**state, **changes}


def test_a_good_state_is_loaded():
    """Alone, and with those of all ranks, in any order."""
    assert loaded([good_state()], expected()).step == 7
    found = loaded([good_state(rank=1, residual=torch.zeros(3)), good_state()], expected(world=3))
    residual, owned = found.unsent(3, owns=False)
    assert residual.tolist() == [0.5] * 3
    assert owned == 0


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ([], "no state is given"),
        (["text"], "a state is a dictionary, not a str"),
        ([{"step": 1}], "lacks version, compressor"),
        ([good_state(version=9)], "another version"),
        ([good_state(names=["a", "c"])], "another names"),
        ([good_state(names=7)], "another names"),
        ([good_state(rank=1)], "is of rank 1, and this is rank 0"),
        ([good_state(rank=2)], "of rank 2 of 2"),
        ([good_state(world=3)], "is of 3 ranks, not 2"),
        ([good_state(step=-1)], "step is -1"),
        ([good_state(step=1.5)], "step is 1.5"),
        ([good_state(step=True)], "step is True"),
        ([good_state(scale=0.0)], "scale is 0.0"),
        ([good_state(scale=math.nan)], "scale is nan"),
        ([good_state(scale="1")], "scale is '1'"),
        ([good_state(collective="ring")], "collective is 'ring'"),
        ([good_state(residual=torch.tensor([1, math.nan, 0]))], "residual holds NaN"),
        ([good_state(residual=torch.ones(4))], "residual has another size"),
        ([good_state(residual=torch.ones(3, dtype=torch.float64))], "residual is no float32 vector"),
        ([good_state(residual=[0, 0, 0])], "residual is no float32 vector"),
        ([good_state(owned=torch.tensor([1, math.inf, 0]))], "owned holds NaN"),
        ([good_state(owned=torch.ones(2))], "owned has another size"),
        ([good_state(), good_state()], "all ranks of one group"),
        ([good_state(), good_state(rank=1, step=8)], "not of one step: 7, 8"),
        ([good_state(), good_state(rank=1, scale=2.0)], "not of one scale"),
    ],
)
def test_a_bad_state_is_refused(states, words):
    """With one line that says what is wrong."""
    with pytest.raises(ValueError, match=words) as caught:
        loaded(states, expected())
    assert "\n" not in str(caught.value)

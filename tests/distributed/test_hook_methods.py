"""Every compressor of the lab in the hook: the bits of the simulation, or a refusal that says why."""

from __future__ import annotations

import hook_cases
import numpy as np
import pytest
from hook_simulation import simulate

from qsgd_lab.compressors import QSGD
from qsgd_lab.compressors.registry import COMPRESSORS
from qsgd_lab.distributed.bucket_messages import Reader
from qsgd_lab.distributed.exchange import message_of
from qsgd_lab.distributed.fsdp import QuantizedReduceScatter
from qsgd_lab.distributed.hook import QSGDHook
from qsgd_lab.distributed.lane import Lane
from qsgd_lab.errors import PeerError

#: What is wrapped, where a wrapper does not take QSGD.
INNER = {"ef21": "top-k(fraction=0.1)"}
REFUSED = {"powersgd", "qsgd-shared", "ef21", "diana", "ef-forgotten"}


def text_of(name):
    """Return a method's text, with something to wrap where it is a wrapper."""
    if not COMPRESSORS.methods()[name].is_wrapper:
        return name
    return f"{name}({INNER.get(name, 'qsgd(bits=2,norm=max)')})"


NAMES = sorted(COMPRESSORS.methods().keys() - REFUSED)
TEXTS = [*map(text_of, NAMES), "ef(terngrad)", "ef(raw-small(top-k(fraction=0.1),up_to=100))"]


@pytest.mark.parametrize("collective", ["all-gather", "two-phase"])
def test_every_method_has_the_simulations_bits(two_ranks, collective):
    """The parameters after three steps; small tensors are coded as well."""
    options = [
        {"compressor": text, "raw_up_to": 0, "error_feedback": False, "collective": collective}
        for text in TEXTS
    ]
    two_phase = collective == "two-phase"
    expected = [simulate(text, 2, 3, two_phase=two_phase)[0] for text in TEXTS]
    for found in two_ranks.call(hook_cases.trained_by_each, options, 3):
        wrong = [
            text
            for text, there, here in zip(TEXTS, found, expected, strict=True)
            if not np.array_equal(there.view(np.uint32), here.view(np.uint32))
        ]
        assert wrong == []


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_methods_that_the_hook_cannot_send_are_refused(name):
    """At construction, with the method's name."""
    with pytest.raises(ValueError, match=name):
        QSGDHook(compressor=text_of(name))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"seed": -1}, ValueError, "seed is -1; it must be an integer from 0 to"),
        ({"seed": 2**64}, ValueError, "from 0 to 18446744073709551615"),
        ({"seed": 1.0}, TypeError, "seed is 1.0"),
        ({"timeout_s": 0}, ValueError, "timeout_s is 0; it must be a number of seconds, above 0"),
        ({"timeout_s": float("nan")}, ValueError, "timeout_s is nan"),
        ({"timeout_s": "60"}, TypeError, "timeout_s is '60'"),
        ({"raw_up_to": -1}, ValueError, "raw_up_to is -1"),
        ({"raw_up_to": "all"}, TypeError, "raw_up_to is 'all'"),
        ({"warmup_steps": -1}, ValueError, "warmup_steps is -1"),
        ({"warmup_steps": None}, TypeError, "warmup_steps is None"),
        ({"exclude": ["bias"]}, TypeError, "it must be a function"),
        ({"error_feedback": "no"}, TypeError, "error_feedback is 'no'; it must be True or False"),
        ({"skip_nonfinite": None}, TypeError, "skip_nonfinite is None"),
        ({"scaler": True}, TypeError, "GradScaler"),
        ({"compressor": 4}, TypeError, "compressor is 4"),
        ({"compressor": QSGD}, TypeError, "or a Compressor"),
        ({"bits": 2.5}, ValueError, "bits is"),
    ],
)
def test_arguments_are_checked_at_once(options, error, words):
    """One line, when the hook is made, of the type that the rest of the package raises."""
    with pytest.raises(error) as refusal:
        QSGDHook(**options)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("options", [{"seed": -1}, {"timeout_s": 0}])
def test_arguments_for_fsdp_are_checked_at_once(options):
    """As the hook's."""
    with pytest.raises(ValueError, match=f"{next(iter(options))} is"):
        QuantizedReduceScatter(**options)


def test_numbers_of_numpy_are_numbers():
    """They are kept as Python's, which the comparison of settings writes."""
    hook = QSGDHook(seed=np.int64(3), warmup_steps=np.int32(2), timeout_s=np.float32(5))
    assert [type(value) for value in (hook.seed, hook.warmup_steps, hook.timeout_s)] == [int, int, float]


@pytest.mark.parametrize(("by_torchrun", "words"), [("", "rank 0 of 2 ended"), ("True", "torchrun ended")])
def test_who_held_the_store_is_named(monkeypatch, by_torchrun, words):
    """A rank that ends takes the store with it, if it held it: then nobody can be asked who is left."""
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", by_torchrun)
    lane = Lane.__new__(Lane)
    lane.size, lane.rank = 2, 1  # without a group there is no store
    assert lane._diagnosis(RuntimeError("Connection reset")).startswith(words)


@pytest.mark.parametrize("is_prefixed", [False, True])
def test_a_message_that_is_cut_is_said_to_be_of_its_rank(is_prefixed):
    """Rank and step, as of any damaged message."""
    reader = Reader(np.full(20, 255, np.uint8), is_prefixed=is_prefixed)
    words = "the message of rank 3 at step 5 is damaged: it ends too early"
    with pytest.raises(PeerError, match=words), message_of(3, 5):
        reader.next()

"""Every compressor of the lab in the hook: the bits of the simulation, or a refusal that says why."""

from __future__ import annotations

import numpy as np
import pytest
import rank_cases
import torch
from hook_simulation import simulate

from qsgd_lab.compressors.registry import COMPRESSORS
from qsgd_lab.distributed.hook import QSGDHook

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


@pytest.fixture(autouse=True)
def one_thread():
    """Compute gradients as the ranks do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("collective", ["all-gather", "two-phase"])
def test_every_method_has_the_simulations_bits(two_ranks, collective):
    """The parameters after three steps; small tensors are coded as well."""
    options = [
        {"compressor": text, "raw_up_to": 0, "error_feedback": False, "collective": collective}
        for text in TEXTS
    ]
    two_phase = collective == "two-phase"
    expected = [simulate(text, 2, 3, two_phase=two_phase)[0] for text in TEXTS]
    for found in two_ranks.call(rank_cases.trained_by_each, options, 3):
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

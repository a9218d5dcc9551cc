"""The comparison of the ranks' settings before the first message: a mismatch is a line, not an abort.

With messages of different lengths gloo ends a process, with nothing to catch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qsgd_lab.distributed.lane import Lane
from qsgd_lab.errors import UsageError


def shake_hands(lane: Lane, facts: Mapping[str, Any]) -> None:
    """Compare facts with all ranks.

    Parameters
    ----------
    lane : Lane
    facts : mapping of str to JSON-ready values
        Such as versions, the compressor, the seed, names and shapes of parameters.

    Raises
    ------
    UsageError
        On every rank, with the first fact that differs and its values.
    PeerError
        If a rank is lost.
    """
    text = json.dumps(facts, sort_keys=True).encode()
    digests = lane.gather(np.frombuffer(hashlib.sha256(text).digest(), np.uint8), 32)
    if all(np.array_equal(digest, digests[0]) for digest in digests):
        return
    _compare([bytes(data) for data in lane.gather(np.frombuffer(text, np.uint8))])


def agree_on_loading(lane: Lane, facts: Mapping[str, Any]) -> None:
    """Compare what a state says with all ranks; each that loads one calls this.

    It goes through the store: a collective of a rank that loads a state would meet a gradient of one that
    does not. Arguments and errors are those of `shake_hands`; a rank that loads none counts as lost.
    """
    _compare(lane.through_store(json.dumps(facts, sort_keys=True).encode(), "load_state_dict"))


def _compare(texts: Sequence[bytes]) -> None:
    """Raise a `UsageError` if the ranks' facts differ."""
    first = json.loads(texts[0])
    for rank, other in ((rank, json.loads(text)) for rank, text in enumerate(texts)):
        for name in sorted({*first, *other}):
            if first.get(name) != other.get(name):
                here, there = (_short(found.get(name)) for found in (first, other))
                raise UsageError(
                    f"ranks do not agree on {name}: rank 0 has {here}, rank {rank} has {there}; start all "
                    "ranks with the same arguments and the same versions"
                )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

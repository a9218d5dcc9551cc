"""The state of a hook: what a file of it must hold before anything of it is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from qsgd_lab.distributed.bucket_exchange import Gathered, Sharded

Vector = NDArray[np.float32]
State = Mapping[str, Any]

STATE_VERSION = 1
#: What `torch.compile` puts in front of a module's names.
_COMPILED = "_orig_mod."


class Expected(NamedTuple):
    """What a state must be of.

    Attributes
    ----------
    compressor : str
        The method's text.
    names : sequence of str
        Of the parameters, without what `torch.compile` adds.
    coordinates : int
        Of the residual: 0 without error feedback.
    world, rank : int
        Of the group that loads it.
    """

    compressor: str
    names: Sequence[str]
    coordinates: int
    world: int
    rank: int


class Loaded(NamedTuple):
    """What a hook goes on with: see the keys of `QSGDHook.state_dict`."""

    step: int
    scale: float
    collective: str
    residuals: list[Vector]
    owned: list[Vector]

    def facts(self) -> dict[str, Any]:
        """Return what ranks compare."""
        collective = self.collective if len(self.residuals) == 1 else None
        return {
            "the state's step": self.step,
            "the state's scale": self.scale,
            "the state's collective": collective,
        }

    def unsent(self, world: int, *, owns: bool) -> tuple[Vector, Vector | float]:
        """Return a rank's residual, and what it has not sent as an owner of shards, if it is one.

        Of several states it is the residuals' mean; what owners have not sent, every rank adds again.
        """
        residual: Vector = np.mean(np.stack(self.residuals), axis=0, dtype=np.float32)
        if len(self.residuals) > 1:
            for owned in self.owned:
                residual += owned
            return residual, 0.0
        if self.owned and owns:
            return residual, self.owned[0]
        # Of two phases before, of which there is one now: this rank alone has it.
        if self.owned:
            residual += world * self.owned[0]
        return residual, 0.0


def plain_names(names: Sequence[str]) -> list[str]:
    """Return names of parameters as they are without `torch.compile`."""
    return [name.replace(_COMPILED, "") for name in names]


def loaded(states: Sequence[State], expected: Expected) -> Loaded:
    """Check states, and return what to go on with; nothing is changed.

    Parameters
    ----------
    states : sequence of dict
        That of this rank; or those of all ranks of another group, in any order.
    expected : Expected

    Raises
    ------
    ValueError
        If a state is damaged, is of another model, method, rank or number of ranks, or several are not those
        of one step.
    """
    if not states:
        raise ValueError("no state is given: this rank's, or those of all ranks before")
    for state in states:
        _check_one(state, expected)
    first = states[0]
    worlds, ranks = {state["world"] for state in states}, sorted(state["rank"] for state in states)
    if len(states) == 1 and worlds != {expected.world}:
        raise ValueError(
            f"the state is of {first['world']} ranks, not {expected.world}; give the states of all of them, "
            "load_state_dict(*states)"
        )
    if len(states) == 1 and first["rank"] != expected.rank:
        raise ValueError(
            f"the state is of rank {first['rank']}, and this is rank {expected.rank}: load its own"
        )
    if len(states) > 1 and (worlds != {len(states)} or ranks != list(range(len(states)))):
        raise ValueError("several states must be those of all ranks of one group")
    for name in ("step", "scale"):
        found = {state[name] for state in states}
        if len(found) > 1:
            raise ValueError(f"the states are not of one {name}: {', '.join(map(str, sorted(found)))}")
    # States of before two-phase have neither of the two.
    collective = first.get("collective", Gathered.name)
    owned = [state["owned"].numpy() for state in states if "owned" in state and state["owned"].numel()]
    residuals = [state["residual"].numpy() for state in states]
    return Loaded(int(first["step"]), float(first["scale"]), collective, residuals, owned)


def _check_one(state: State, expected: Expected) -> None:
    """Check what one state holds by itself."""
    if not isinstance(state, Mapping):
        raise ValueError(f"a state is a dictionary, not a {type(state).__name__}")
    needed = ("version", "compressor", "names", "step", "world", "rank", "residual", "scale")
    absent = [name for name in needed if name not in state]
    if absent:
        raise ValueError(f"the state lacks {', '.join(absent)}: it is not one of QSGDHook.state_dict")
    names = state["names"]
    is_names = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    same = {
        "version": (state["version"], STATE_VERSION),
        "compressor": (state["compressor"], expected.compressor),
        "names": (plain_names(names) if is_names else None, list(expected.names)),
    }
    for name, (there, here) in same.items():
        if there != here:
            raise ValueError(f"the state has another {name} than the hook")
    for name, least in (("step", 0), ("world", 1), ("rank", 0)):
        value = state[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"the state's {name} is {value!r}; it must be an integer, {least} or more")
    if state["rank"] >= state["world"]:
        raise ValueError(f"the state is of rank {state['rank']} of {state['world']}")
    scale = state["scale"]
    is_number = isinstance(scale, int | float) and not isinstance(scale, bool)
    if not (is_number and math.isfinite(scale) and scale > 0):
        raise ValueError(f"the state's scale is {scale!r}; it must be more than 0, and finite")
    if state.get("collective", Gathered.name) not in (Gathered.name, Sharded.name):
        raise ValueError(f"the state's collective is {state['collective']!r}; none has this name")
    _check_vector(state["residual"], "residual", (expected.coordinates,))
    if "owned" in state:
        _check_vector(state["owned"], "owned", (0, expected.coordinates))


def _check_vector(value: Any, name: str, sizes: Sequence[int]) -> None:
    """Check a vector of what was not sent."""
    if not isinstance(value, torch.Tensor) or value.dtype != torch.float32 or value.dim() != 1:
        raise ValueError(f"the state's {name} is no float32 vector")
    if value.numel() not in sizes:
        raise ValueError(f"the state's {name} has another size than the parameters")
    if not bool(value.isfinite().all()):
        raise ValueError(f"the state's {name} holds NaN or an infinity: go on from an earlier state")

"""What has not been sent, before a step and after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


class Residual:
    """Two vectors: a step reads one and writes the other, so that it can be taken back without a copy.

    Parameters
    ----------
    size : int
        Coordinates; 0 where nothing is kept.

    Attributes
    ----------
    now : float32, shape (n,)
        What has not been sent before this step.
    after : float32, shape (n,)
        The same after this step, as far as it has come.
    """

    def __init__(self, size: int) -> None:
        self.now: Vector = np.zeros(size, np.float32)
        self.after: Vector = np.zeros(size, np.float32)

    def keep(self, part: slice) -> None:
        """Leave a part as it was before the step."""
        if self.now.size:
            self.after[part] = self.now[part]

    def settle(self) -> None:
        """End the step: all of it has been written."""
        self.now, self.after = self.after, self.now

    def put(self, values: Vector) -> None:
        """Begin with other values."""
        self.now[...] = values


def check_states(
    states: Sequence[Mapping[str, Any]], same: Mapping[str, Any], shape: tuple[int, ...], world: int
) -> None:
    """Check the states of a hook before any of them is loaded.

    Parameters
    ----------
    states : sequence of dict
        That of this rank, or those of all ranks of another group.
    same : mapping
        What must be the same in all of them.
    shape : tuple of int
        Of the residual.
    world : int
        Ranks of this group.

    Raises
    ------
    ValueError
        If a state is of another model or compressor, or of another number of ranks and alone.
    """
    for state in states:
        for name, here in same.items():
            if state.get(name) != here:
                raise ValueError(f"the state has another {name} than the hook")
        if tuple(state["residual"].shape) != shape:
            raise ValueError("the state's residual has another size than the parameters")
    worlds = {state["world"] for state in states}
    if len(states) == 1 and worlds != {world}:
        raise ValueError(
            f"the state is of {states[0]['world']} ranks, not {world}; give the states of all of them, "
            "load_state_dict(*states)"
        )
    if len(states) > 1 and (worlds != {len(states)} or len({s["rank"] for s in states}) != len(states)):
        raise ValueError("several states must be those of all ranks of one group")

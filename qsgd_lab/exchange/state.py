"""Compressors' states as named arrays, and back: what a checkpoint keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsgd_lab.arrays import is_torch
from qsgd_lab.compressors.protocol import Array, Layout
from qsgd_lab.partition import Partition

_GROWN = (
    "the compressor's {name} has members that its first state lacks, so the run cannot continue from a "
    "checkpoint; let init return them"
)


def flatten(state: Any, name: str = "state") -> dict[str, NDArray[Any]]:
    """Return the arrays and numbers of a state by their path.

    A state is None, a number, an array, or a list, tuple, dict or dataclass of states. What follows from the
    configuration (a layout, a partition, text) is left out.

    Raises
    ------
    TypeError
        If a state is of another type, so that a checkpoint would lose it.
    """
    if is_torch(state):
        return {name: state.cpu().numpy()}
    if isinstance(state, np.ndarray | int | float | np.generic):
        return {name: np.asarray(state)}
    found: dict[str, NDArray[Any]] = {}
    for key, part in _parts(state, name):
        found |= flatten(part, f"{name}.{key}")
    return found


def restored(
    state: Any, arrays: dict[str, NDArray[Any]], like: Array | None = None, name: str = "state"
) -> Any:
    """Return a state with the values of `flatten`; an array of the same shape is overwritten in place.

    Parameters
    ----------
    state : state
        As it was at the beginning.
    arrays : dict of str to array
        Values by path; others are ignored.
    like : array, optional
        What arrays become where the state had none: torch tensors like this one, or NumPy arrays.
    name : str
        Path of the state.

    Raises
    ------
    KeyError
        If a value is missing.
    ValueError
        If a state that began as None, or had fewer members, has become more than numbers and arrays.
    """
    if state is None:
        return _added(arrays, like, name)
    if is_torch(state):
        state.copy_(state.new_tensor(arrays[name]))
        return state
    if isinstance(state, np.ndarray):
        if state.shape != arrays[name].shape or not state.flags.writeable:
            return arrays[name].copy()
        state[...] = arrays[name]
        return state
    if isinstance(state, bool | int | float | np.generic):
        return type(state)(arrays[name][()])
    parts = {key: restored(part, arrays, like, f"{name}.{key}") for key, part in _parts(state, name)}
    known = tuple(f"{name}.{key}." for key in parts)
    added = [path for path in arrays if path.startswith(f"{name}.") and not f"{path}.".startswith(known)]
    if isinstance(state, dict):
        new = {path.removeprefix(f"{name}."): path for path in added}
        if any("." in key or key.isdecimal() for key in new):
            raise ValueError(_GROWN.format(name=name))
        return {**state, **parts, **{key: _added(arrays, like, path) for key, path in new.items()}}
    if added:
        raise ValueError(_GROWN.format(name=name))
    if not parts:
        return state
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        return dataclasses.replace(state, **parts)
    if hasattr(state, "_fields"):
        return type(state)(**parts)
    return type(state)(parts.values())


def _added(arrays: dict[str, NDArray[Any]], like: Array | None, name: str) -> Any:
    """Return a number or an array that the state did not have at the beginning; None if there is none."""
    if name not in arrays:
        if any(path.startswith(f"{name}.") for path in arrays):
            raise ValueError(_GROWN.format(name=name))
        return None
    array = arrays[name]
    if array.ndim == 0:
        return array.item()
    return array.copy() if like is None or not is_torch(like) else like.new_tensor(array)


def _parts(state: Any, name: str) -> Iterator[tuple[Any, Any]]:
    """Yield the named members of a container; nothing for constants."""
    if state is None or isinstance(state, str | Partition | Layout):
        return
    if isinstance(state, dict):
        yield from state.items()
    elif dataclasses.is_dataclass(state):
        yield from ((field.name, getattr(state, field.name)) for field in dataclasses.fields(state))
    elif hasattr(state, "_fields"):
        yield from zip(state._fields, state, strict=True)
    elif isinstance(state, list | tuple):
        yield from enumerate(state)
    else:
        kind = type(state).__name__
        raise TypeError(f"{name} is a {kind}; a checkpoint keeps arrays, numbers and containers of them")

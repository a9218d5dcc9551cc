"""The payload kinds of wire format 2, one file each, found by number, name or payload type."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from typing import Any

from qsgd_lab.wire.checks import Limits, require
from qsgd_lab.wire.kind import Kind


@cache
def kinds() -> tuple[Kind[Any], ...]:
    """Return the kinds, by their numbers: the ``KIND`` of every file in this folder."""
    modules = [
        importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)
    ]
    return tuple(sorted((module.KIND for module in modules), key=lambda kind: kind.number))


@cache
def _by_number() -> dict[int, Kind[Any]]:
    return {kind.number: kind for kind in kinds()}


@cache
def _by_type() -> dict[type, Kind[Any]]:
    return {payload: kind for kind in kinds() for payload in kind.payload_types}


def kind_of_number(number: int) -> Kind[Any]:
    """Return the kind of a number in a message; all private numbers are one kind.

    Raises
    ------
    MessageError
        If it is not known.
    """
    private = 128 <= number <= 254
    kind = _by_number().get(128 if private else number)
    require(kind is not None, "unknown", f"kind {number} is not known")
    assert kind is not None
    return kind


def kind_of(payload: Any) -> Kind[Any]:
    """Return the kind that carries a payload.

    Raises
    ------
    TypeError
        If its type is none of theirs.
    """
    kind = _by_type().get(type(payload))
    if kind is None:
        known = ", ".join(sorted(payload.__name__ for payload in _by_type()))
        raise TypeError(f"no kind carries a {type(payload).__name__}; payloads are {known}")
    return kind


@cache
def kind_names() -> tuple[str, ...]:
    """Return the names of the kinds, as `kinds=` takes them."""
    return tuple(kind.name for kind in kinds())


def limits_of(max_coordinates: int | None, kinds: Iterable[str] | None) -> Limits:
    """Return the limits of a receiver.

    Raises
    ------
    ValueError
        If a kind is unknown.
    """
    if kinds is None:
        return Limits(max_coordinates)
    allowed = frozenset([kinds] if isinstance(kinds, str) else kinds)
    unknown = sorted(map(str, allowed - set(kind_names())))
    if unknown:
        raise ValueError(f"unknown kind {unknown[0]!r}; known: {', '.join(kind_names())}")
    return Limits(max_coordinates, allowed)

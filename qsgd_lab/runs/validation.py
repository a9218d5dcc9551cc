"""Checks for JSON of unknown origin: each takes a value and its name, and returns the value or raises.

Whatever a run store holds may have been edited, truncated or made elsewhere; past these checks every number
is finite and of a sane size, and every string is short and free of control characters.
"""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

Check = Callable[[Any, str], Any]

MAX_TEXT_LENGTH = 500
MAX_LIST_LENGTH = 100
MAX_INTEGER = 2**63 - 1


def parse_json(text: str | bytes) -> Any:
    """Parse strict JSON: no NaN or Infinity, no name twice in an object, no nesting without end.

    Raises
    ------
    ValueError
        With the reason.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicates)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is given twice")
    return fields


def text(value: Any, name: str) -> str:
    """Accept a short printable string."""
    if not isinstance(value, str) or len(value) > MAX_TEXT_LENGTH or not value.isprintable():
        raise ValueError(f"{name} must be a short printable string")
    return value


def count(value: Any, name: str) -> int:
    """Accept an integer in [0, 2**63)."""
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise ValueError(f"{name} must be an integer from 0 up")
    return value


def number(value: Any, name: str) -> float:
    """Accept a finite number from 0 up; an integer stays one, so that the JSON written again is the same."""
    if type(value) is int:
        return count(value, name)
    if type(value) is not float or not math.isfinite(value) or value < 0.0:
        raise ValueError(f"{name} must be a finite number from 0 up")
    return value


def share(value: Any, name: str) -> float:
    """Accept a number in [0, 1]."""
    if number(value, name) > 1:
        raise ValueError(f"{name} must be between 0 and 1")
    return typing.cast(float, value)


def scalar(value: Any, name: str) -> str | float | bool | None:
    """Accept a flat value: a string, a number, true, false or null."""
    if value is None or isinstance(value, bool):
        return value
    return text(value, name) if isinstance(value, str) else number(value, name)


def optional(check: Check) -> Check:
    """Return `check`, but accept null as well."""
    return lambda value, name: None if value is None else check(value, name)


def mapping_of(check: Check) -> Check:
    """Return a check for an object of any names whose values all pass `check`."""

    def checked(value: Any, name: str) -> dict[str, Any]:
        fields = _object(value, name)
        return {text(key, f"a name in {name}"): check(item, f"{name}.{key}") for key, item in fields.items()}

    return checked


def list_of(check: Check) -> Check:
    """Return a check for a short list whose entries all pass `check`."""

    def checked(value: Any, name: str) -> list[Any]:
        if not isinstance(value, list) or len(value) > MAX_LIST_LENGTH:
            raise ValueError(f"{name} must be a short list")
        return [check(item, f"an entry of {name}") for item in value]

    return checked


def fields(value: Any, name: str, checks: Mapping[str, Check]) -> dict[str, Any]:
    """Accept an object with exactly the names of `checks`, each value passing its own."""
    given = _object(value, name)
    if missing := sorted(checks.keys() - given.keys()):
        raise ValueError(f"{name} lacks {', '.join(missing)}")
    if unknown := given.keys() - checks.keys():
        raise ValueError(f"{name} has {len(unknown)} unknown fields")
    return {key: check(given[key], f"{name}.{key}") for key, check in checks.items()}


def of_type(annotation: Any) -> Check:
    """Return the check for a field annotated with bool, int, float, str, None or a union of these."""
    united = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    allowed = typing.get_args(annotation) if united else (annotation,)

    def checked(value: Any, name: str) -> Any:
        # An int is a legal float, as everywhere in Python; a bool is neither.
        if type(value) not in allowed and not (type(value) is int and float in allowed):
            wanted = " or ".join("null" if kind is types.NoneType else kind.__name__ for kind in allowed)
            raise ValueError(f"{name} must be {wanted}")
        return scalar(value, name)

    return checked


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object")
    return value

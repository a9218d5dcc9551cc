"""Option types for lists of integers (``2,4,8``, ``1..8``, ``1..4,8``) and for dimensions (``2^20``).

Option type for a list of words out of a few: ``accuracy,epochs``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any

import click
from click.shell_completion import CompletionItem

from qsgd_lab.cli.options.completion import next_of
from qsgd_lab.runs.config import FULL_PRECISION_BITS

#: More entries than this are a slip of the keyboard, not a sweep.
MAX_LIST_LENGTH = 10_000
#: 2^40 float32 coordinates are 4 TiB.
MAX_DIMENSION = 2**40

LIST_FORMS = "write numbers and ranges such as 2,4,8 or 1..8 or 1..4,8"
DIMENSION_FORMS = "write a whole number such as 1048576, 2^20 or 1e6"

_NUMBER_OR_RANGE = re.compile(r"([0-9]{1,18})(?:\.\.([0-9]{1,18}))?")
_PLAIN = re.compile(r"[0-9]{1,18}")
_POWER = re.compile(r"([0-9]{1,9})\^([0-9]{1,2})")
_SCIENTIFIC = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?[eE]\+?[0-9]{1,2}")


def parse_int_list(
    text: str, *, minimum: int = 0, maximum: int | None = None, also: Collection[int] = ()
) -> tuple[int, ...]:
    """Read a list of non-negative integers, keeping its order and dropping duplicates.

    Parameters
    ----------
    text : str
        Numbers and inclusive ranges, separated by commas: ``2,4,8``, ``1..8``, ``1..4,8``.
    minimum, maximum : int
        Bounds on each entry, both inclusive; no upper bound if `maximum` is None.
    also : collection of int
        Entries allowed outside the bounds.

    Returns
    -------
    tuple of int
        At least one and at most `MAX_LIST_LENGTH` distinct integers.

    Raises
    ------
    ValueError
        If a part is empty, not a number or range, runs backwards or is out of bounds, or if the list
        is too long. The message names the right form.

    Examples
    --------
    >>> parse_int_list("1..4,8,2")
    (1, 2, 3, 4, 8)
    """
    entries: dict[int, None] = {}  # an ordered set
    for part in text.split(","):
        for number in _parse_part(part.strip()):
            if number not in also:
                _check_bounds(number, minimum, maximum, also)
            entries[number] = None
        if len(entries) > MAX_LIST_LENGTH:
            raise ValueError(f"{text!r} has more than {MAX_LIST_LENGTH} entries; {LIST_FORMS}")
    return tuple(entries)


def _parse_part(part: str) -> range:
    if not part:
        raise ValueError(f"the list is empty or has an empty part; {LIST_FORMS}")
    match = _NUMBER_OR_RANGE.fullmatch(part)
    if match is None:
        raise ValueError(f"{part!r} is neither a number nor a range; {LIST_FORMS}")
    first, last = int(match[1]), int(match[2] or match[1])
    if first > last:
        raise ValueError(f"the range {part!r} runs backwards; write {last}..{first}")
    if last - first >= MAX_LIST_LENGTH:
        raise ValueError(f"the range {part!r} has more than {MAX_LIST_LENGTH} entries; {LIST_FORMS}")
    return range(first, last + 1)


def _check_bounds(number: int, minimum: int, maximum: int | None, also: Collection[int]) -> None:
    if number >= minimum and (maximum is None or number <= maximum):
        return
    allowed = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    others = "".join(f" or {entry}" for entry in also)
    raise ValueError(f"{number} is out of bounds; each entry must be {allowed}{others}")


def parse_dimension(text: str) -> int:
    """Read a number of coordinates: ``1048576``, ``2^20`` or ``1e6``.

    Raises
    ------
    ValueError
        If `text` has none of these forms, is not a whole number, or is not in 1 .. `MAX_DIMENSION`.

    Examples
    --------
    >>> parse_dimension("2^20"), parse_dimension("1.5e3")
    (1048576, 1500)
    """
    value = _evaluate_dimension(text.strip())
    if value is None and text.strip().isdecimal():
        value = MAX_DIMENSION + 1
    if value is None or value != int(value):
        raise ValueError(f"{text!r} is not a number of coordinates; {DIMENSION_FORMS}")
    if not 1 <= value <= MAX_DIMENSION:
        raise ValueError(f"{text!r} is out of bounds; it must be between 1 and 2^40")
    return int(value)


def _evaluate_dimension(text: str) -> int | Decimal | None:
    if _PLAIN.fullmatch(text):
        return int(text)
    if match := _POWER.fullmatch(text):
        return int(int(match[1]) ** int(match[2]))
    return Decimal(text) if _SCIENTIFIC.fullmatch(text) else None


class IntListType(click.ParamType):  # type: ignore[type-arg]  # generic only since Click 8.4
    """Click type whose value is a ``tuple[int, ...]``; see `parse_int_list`.

    Parameters
    ----------
    minimum, maximum, also
        As for `parse_int_list`.
    """

    name = "list"

    def __init__(self, minimum: int = 0, maximum: int | None = None, also: Collection[int] = ()) -> None:
        self.minimum, self.maximum, self.also = minimum, maximum, also

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Parse a string; return a tuple, which is how a default may be given."""
        if isinstance(value, tuple):
            return value
        try:
            return parse_int_list(value, minimum=self.minimum, maximum=self.maximum, also=self.also)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class DimensionType(click.ParamType):  # type: ignore[type-arg]
    """Click type whose value is an ``int``; see `parse_dimension`."""

    name = "dimension"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse a string; return an integer, which is how a default may be given."""
        if isinstance(value, int):
            return value
        try:
            return parse_dimension(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


#: Magnitude bits b of the quantizer, 1..15, or 32 for fp32.
BITS_LIST = IntListType(minimum=1, maximum=15, also=(FULL_PRECISION_BITS,))
#: Numbers of nodes, N >= 1.
NODES_LIST = IntListType(minimum=1)
#: Seeds, >= 0.
SEEDS_LIST = IntListType()
#: A number of coordinates.
DIMENSION = DimensionType()


class WordsType(click.ParamType):  # type: ignore[type-arg]  # generic only since Click 8.4
    """Click type whose value is a ``tuple[str, ...]`` of known words, in the order given, without repeats.

    Parameters
    ----------
    known : iterable of str
        The words there are.
    """

    name = "words"

    def __init__(self, known: Iterable[str]) -> None:
        self.known = tuple(known)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Parse a string; return a tuple, which is how a default may be given."""
        if isinstance(value, tuple):
            return value
        words = tuple(dict.fromkeys(word.strip() for word in value.split(",")))
        for word in words:
            if word not in self.known:
                problem = f"{word!r} is not among them" if word else "the list has an empty part"
                self.fail(f"{problem}; write a list of: {', '.join(self.known)}", param, ctx)
        return words

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the words that are not in the list yet."""
        return next_of(self.known, incomplete)

"""Option type for a list of words out of a few: ``accuracy,epochs``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click


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
        """Parse a string; hand on a tuple, which is how a default may be given."""
        if isinstance(value, tuple):
            return value
        words = tuple(dict.fromkeys(word.strip() for word in value.split(",")))
        for word in words:
            if word not in self.known:
                problem = f"{word!r} is not among them" if word else "the list has an empty part"
                self.fail(f"{problem}; write a list of: {', '.join(self.known)}", param, ctx)
        return words

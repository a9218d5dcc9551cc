"""The text that names a method, cut into tokens; `qsgd_lab.registry` reads it."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\s*([A-Za-z0-9_.+-]+|[(),=])")


def cut_option(text: str, name: str) -> tuple[str, str | None]:
    """Return a method's text without one of its outermost options, and that option's value.

    Such as ``compressor`` of ``local-sgd(rounds=4,compressor=ef(top-k))``; None where it is not given.

    Raises
    ------
    ValueError
        If the text is malformed.
    """
    tokens, depth = tokens_of(text), 0
    for place, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token, 0)
        if depth == 1 and token == name and tokens[place + 1 : place + 2] == ["="]:
            if tokens[place + 2 : place + 3] in ([")"], [","], []):
                raise ValueError(f"cannot read {text!r}: {name}= has no value")
            end = place + 2 + value_length(tokens[place + 2 :])
            before, after = tokens[:place], tokens[end:]
            if after[:1] == [","]:
                after = after[1:]
            elif before[-1] == ",":
                before = before[:-1]
            if before[-1:] == ["("] and after[:1] == [")"]:
                before, after = before[:-1], after[1:]
            left = "".join(before + after)
            if cut_option(left, name)[1] is not None:
                raise ValueError(f"cannot read {text!r}: {name} is given twice")
            return left, "".join(tokens[place + 2 : end])
    return text, None


def tokens_of(text: str) -> list[str]:
    """Return the words, parentheses, commas and equals signs of a text.

    Raises
    ------
    ValueError
        If there is anything else.
    """
    tokens, position = [], 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(
                f"cannot read {text!r} at {text[position:]!r}; write it as name(option=value,...)"
            )
        tokens.append(match[1])
        position = match.end()
    return tokens


def value_length(tokens: list[str]) -> int:
    """Return how many tokens an option's value has: one, and a method's arguments in parentheses."""
    if tokens[1:2] != ["("]:
        return 1
    depth = 0
    for place, token in enumerate(tokens[1:], start=1):
        depth += {"(": 1, ")": -1}.get(token, 0)
        if depth == 0:
            return place + 1
    return len(tokens)

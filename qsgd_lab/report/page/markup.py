"""HTML written by hand: escaped text, elements, and JSON that cannot end its script element.

Names in a page come from untrusted files. Every string passes through `escape`, every
value for the script through `json_island`; nothing else writes a stored string into a page.
"""

from __future__ import annotations

import html
import json
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

_REPLACEMENT = "\ufffd"


def escape(value: object) -> str:
    """Return a stored value as text that is inert as content and as a quoted attribute.

    Control characters, and format characters that reverse or hide text, become U+FFFD.
    """
    text = str(value)
    if not text.isprintable():
        text = "".join(map(_visible, text))
    return html.escape(text, quote=True)


def _visible(character: str) -> str:
    if character in "\n\t":
        return character
    # Cc: control, Cf: format (bidirectional overrides), Cs: half a surrogate pair, Zl and Zp: separators
    return _REPLACEMENT if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else character


def element(tag: str, content: str = "", **attributes: object) -> str:
    """Return an element.

    Parameters
    ----------
    tag : str
    content : str
        Markup, not text: escape it first.
    **attributes : object
        Escaped here. ``class_`` and ``for_`` lose their underscore, other underscores become hyphens. True is
        an attribute without a value; False and None are left out.
    """
    return f"<{tag}{attribute_text(attributes)}>{content}</{tag}>"


def attribute_text(attributes: Mapping[str, object]) -> str:
    """Return attributes as a tag has them, each after a space."""
    written = ""
    for name, value in attributes.items():
        plain = name.rstrip("_").replace("_", "-")
        if value is True:
            written += f" {plain}"
        elif value is not False and value is not None:
            written += f' {plain}="{escape(value)}"'
    return written


def items(texts: Iterable[str]) -> str:
    """Return a list with an entry for each piece of markup."""
    return element("ul", "".join(element("li", text) for text in texts))


def pairs(mapping: Mapping[str, Any]) -> str:
    """Return names and values as a description list, in the order of the mapping; None is a dash."""
    entries = (
        element("div", element("dt", escape(name)) + element("dd", escape("—" if value is None else value)))
        for name, value in mapping.items()
    )
    return element("dl", "".join(entries))


def json_island(value: object) -> str:
    """Return JSON for a script element: ASCII, and without the characters that could end the element.

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")

"""Docstrings as reStructuredText: what has another meaning there is escaped.

|v| is an absolute value, never a substitution. A module's section "References" is a heading without an entry
in the table of contents. Aliases of generic types have no docstring of their own.
"""

from __future__ import annotations

import re
import types
from typing import Any

_CODE = re.compile(r"(``.*?``|`[^`]*`)")
_BAR = re.compile(r"(?<!\\)\|")
_SECTIONS = {"References", "Notes", "Examples"}


def _prepare(_app: Any, what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Edit a docstring's lines in place, before numpydoc reads them."""
    if what == "module":
        for i in range(len(lines) - 1):
            if lines[i] in _SECTIONS and lines[i + 1] and set(lines[i + 1]) == {"-"}:
                lines[i], lines[i + 1] = f".. rubric:: {lines[i]}", ""
    in_formula = False
    for i, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...")):
            continue
        in_formula = ".. math::" in line or (in_formula and (not line.strip() or line.startswith(" ")))
        if not in_formula:
            parts = _CODE.split(line)
            lines[i] = "".join(part if k % 2 else _BAR.sub(r"\\|", part) for k, part in enumerate(parts))


def _skip(_app: Any, _what: str, _name: str, member: Any, _skip: bool, _options: Any) -> bool | None:
    return True if isinstance(member, types.GenericAlias) else None


def setup(app: Any) -> dict[str, bool]:
    """Connect to autodoc, before numpydoc does (its priority is 500)."""
    app.connect("autodoc-process-docstring", _prepare, priority=400)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

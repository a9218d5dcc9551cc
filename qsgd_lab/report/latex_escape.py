"""Strings that LaTeX prints as they are, whatever they hold."""

from __future__ import annotations

import re

_SPECIALS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "ᵇ": r"$^b$",
    "γ": r"$\gamma$",
    "δ": r"$\delta$",
    "ω": r"$\omega$",
    "µ": r"$\mu$",
    "∞": r"$\infty$",
    "↓": r"$^\downarrow$",
    "↑": r"$^\uparrow$",
    "≈": r"$^\approx$",
}

# A lone N, n, k, s or b is a symbol; the lookbehind spares a genitive's s and what `escape` wrote.
_SYMBOL = re.compile(r"(?<![\w'\\^])([Nnksb])(=\d+)?(?!\w)")


def escape(text: str) -> str:
    """Return ``text`` so that LaTeX prints it and does nothing else.

    Printable ASCII and the lab's own signs come out as they are; any other character as ``U+`` and its
    number, because no font setup prints them all.
    """
    return "".join(
        _SPECIALS.get(char) or (char if " " <= char <= "~" else f"U+{ord(char):04X}") for char in text
    )


def with_symbols(text: str) -> str:
    """Return escaped text with the lone letters N, n, k, s and b set as mathematics."""
    return _SYMBOL.sub(r"$\1\2$", text)

"""Entries as LaTeX sets them: in siunitx's S columns, or as plain mathematics padded to the same width.

Strings that LaTeX prints as they are, whatever they hold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from qsgd_lab.report.tables.entries import Entry
from qsgd_lab.report.tables.options import Style

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


#: What a document needs for each style.
PACKAGES: dict[Style, tuple[str, ...]] = {"siunitx": ("booktabs", "siunitx"), "plain": ("booktabs",)}

_SWITCHES = ("separate-uncertainty", "retain-zero-uncertainty", "retain-explicit-plus", "detect-weight")
#: Set before each table. With `detect-weight` an S column obeys \bfseries.
_SETUP = ", ".join(f"{key}=true" for key in _SWITCHES) + ", table-align-uncertainty=false"


def setup(style: Style) -> list[str]:
    """Return the lines that a float needs before its first column."""
    return [rf"\sisetup{{{_SETUP}}}"] if style == "siunitx" else []


def column_format(entries: Sequence[Entry], style: Style) -> str:
    """Return the column: ``r``, or an S that reserves the digits which the entries have: ``2.1(1.1)``."""
    if style == "plain":
        return "r"
    digits = _digits([entry.mean for entry in entries if entry.mean])
    deviations = [entry.deviation for entry in entries if entry.deviation]
    return f"S[table-format={digits}{f'({_digits(deviations)})' if deviations else ''}]"


def cells(entries: Sequence[Entry], style: Style) -> list[str]:
    """Return the cells of a column; marks have no width, so that they cannot push numbers out of line."""
    if style == "siunitx":
        return [_for_siunitx(entry) for entry in entries]
    widest = max((entry.deviation for entry in entries), key=len, default="")
    return [_as_mathematics(entry, widest) for entry in entries]


def marks(entry: Entry) -> str:
    """Return what hangs over on a cell's right."""
    return escape(entry.marks) + (f"$^{{{entry.reached}}}$" if entry.reached else "")


def _for_siunitx(entry: Entry) -> str:
    overhang = _overhang(entry)
    if entry.word:
        return f"{{{escape(entry.word)}{overhang}}}"
    number = f"{entry.mean} +- {entry.deviation}" if entry.deviation else entry.mean
    bold = r"\bfseries " if entry.bold else ""
    if entry.reached and not entry.deviation:  # else k/n would follow an empty deviation
        return f"{{{bold}{entry.mean}{overhang}}}"
    return f"{bold}{number} {{{overhang}}}" if overhang else bold + number


def _as_mathematics(entry: Entry, widest: str) -> str:
    """Return a cell of a right-aligned column, padded to a deviation as long as ``widest``."""
    if entry.word:
        return escape(entry.word) + _overhang(entry)
    missing = len(widest) - len(entry.deviation)
    padding = rf"\phantom{{{'0' * missing}}}" if missing else ""
    number = rf"{entry.mean} \pm {padding}{entry.deviation}"
    if not entry.deviation:
        number = entry.mean + (rf"\phantom{{{{}}\pm {widest}}}" if widest else "")
    if entry.bold:
        number = rf"\mathbf{{{number}}}"
    return f"${number}${_overhang(entry)}"


def _overhang(entry: Entry) -> str:
    written = marks(entry)
    return rf"\rlap{{{written}}}" if written else ""


def _digits(numbers: Sequence[str]) -> str:
    """Return ``integer.decimal`` digits that hold all of ``numbers``, after ``+`` where any has a sign."""
    parts = [number.lstrip("+-").partition(".") for number in numbers]
    whole = max((len(before) for before, _, _ in parts), default=1)
    sign = "+" if any(number[0] in "+-" for number in numbers) else ""
    return f"{sign}{whole}.{max((len(after) for _, _, after in parts), default=0)}"

r"""Entries as LaTeX sets them: in siunitx's S columns, or as plain mathematics padded to the same width."""

from __future__ import annotations

from collections.abc import Sequence

from qsgd_lab.report.entries import Entry
from qsgd_lab.report.latex_escape import escape
from qsgd_lab.report.options import Style

#: What a document needs for each style.
PACKAGES: dict[Style, tuple[str, ...]] = {"siunitx": ("booktabs", "siunitx"), "plain": ("booktabs",)}

#: Set before each table. With `detect-weight` an S column obeys \bfseries.
_SETUP = (
    ", ".join(f"{key}=true" for key in ("separate-uncertainty", "retain-zero-uncertainty", "detect-weight"))
    + ", table-align-uncertainty=false"
)


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
    """Return the cells of a column; marks take no room, so that they cannot push numbers out of line."""
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
    if entry.reached and not entry.deviation:  # else k/n would stand beyond an empty deviation
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
    """Return ``integer.decimal`` digits that hold every one of ``numbers``."""
    parts = [number.partition(".") for number in numbers]
    whole = max((len(before) for before, _, _ in parts), default=1)
    return f"{whole}.{max((len(after) for _, _, after in parts), default=0)}"

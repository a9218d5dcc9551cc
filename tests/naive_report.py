"""Slow and obvious oracles for the report: a deviation by definition, and a small reader of LaTeX tables."""

from __future__ import annotations

import math
import re

KNOWN_MACROS = {
    *("begin", "end", "centering", "caption", "label", "footnotesize", "scriptsize", "sisetup", "parbox"),
    *("textwidth", "extracolsep", "fill", "toprule", "midrule", "bottomrule", "cmidrule", "addlinespace"),
    *("multicolumn", "rlap", "smallskip", "bigskip", "pm", "dagger", "ddagger", "gamma", "delta", "omega"),
    *("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar"),
    *("textasciigrave", "hspace"),
}


def deviation(values: list[float]) -> float:
    """Return the root of the sum of squared distances from the mean over n - 1."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def without_comments(source: str) -> str:
    """Return LaTeX source with everything from an unescaped % to its line's end gone."""
    return re.sub(r"(?<!\\)%.*", "", source)


def macros(source: str) -> set[str]:
    """Return the names of all control words."""
    return set(re.findall(r"\\([A-Za-z]+)", source.replace(r"\\", "")))


def unbalanced(source: str) -> list[str]:
    """Return the environments and braces that are not closed in the order they were opened."""
    open_now: list[str] = []
    plain = source.replace(r"\\", "").replace(r"\{", "").replace(r"\}", "")
    for begin, end, brace in re.findall(r"\\begin\{([^}]*)\}|\\end\{([^}]*)\}|([{}])", plain):
        if begin or brace == "{":
            open_now.append(begin or "{")
        elif not open_now or open_now.pop() != (end or "{"):
            return [*open_now, end or brace]
    return open_now


def tabulars(source: str) -> list[tuple[int, list[int]]]:
    """Return for each tabular* its number of columns and the number of cells of each of its rows."""
    found = []
    for preamble, body in re.findall(
        r"\\begin\{tabular\*\}\{\\textwidth\}\{([^\n]*)\}\n(.*?)\\end\{tabular\*\}", source, flags=re.DOTALL
    ):
        num_columns = len(re.findall(r"S\[|l ", preamble))
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        found.append((num_columns, [cells_of(row) for row in rows]))
    return found


def cells_of(row: str) -> int:
    """Return the number of columns that a row fills, spans counted."""
    separators = len(re.findall(r"(?<!\\)&", row))
    spans = [int(width) for width in re.findall(r"\\multicolumn\{(\d+)\}", row)]
    return 1 + separators + sum(spans) - len(spans)

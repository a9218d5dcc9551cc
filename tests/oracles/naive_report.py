"""Slow and obvious oracles for the report: a deviation by definition, and a small reader of LaTeX tables."""

from __future__ import annotations

import math
import re

KNOWN_MACROS = {
    *("begin", "end", "centering", "caption", "label", "footnotesize", "scriptsize", "sisetup", "parbox"),
    *("textwidth", "extracolsep", "fill", "toprule", "midrule", "bottomrule", "cmidrule", "addlinespace"),
    *("multicolumn", "rlap", "smallskip", "bigskip", "pm", "dagger", "ddagger", "gamma", "delta", "omega"),
    *("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar"),
    *("textasciigrave", "hspace", "shortstack", "bfseries", "mathbf", "phantom", "mu", "infty"),
    *("downarrow", "uparrow", "approx"),
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
        num_columns = len(re.findall(r"S\[|(?<![a-z\\])[lr](?![a-z])", preamble))
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        found.append((num_columns, [cells_of(row) for row in rows]))
    return found


def cells_of(row: str) -> int:
    """Return the number of columns that a row fills, spans counted."""
    separators = len(re.findall(r"(?<!\\)&", row))
    spans = [int(width) for width in re.findall(r"\\multicolumn\{(\d+)\}", row)]
    return 1 + separators + sum(spans) - len(spans)


def holm_rejections(p_values: list[float], level: float) -> list[bool]:
    """Return which hypotheses Holm rejects: the k-th smallest of m while it is at most level / (m - k)."""
    rejected = [False] * len(p_values)
    remaining = sorted(range(len(p_values)), key=lambda i: p_values[i])
    while remaining and p_values[remaining[0]] * len(remaining) <= level:
        rejected[remaining.pop(0)] = True
    return rejected


def latex_cells(source: str) -> list[str]:
    """Return every cell of every row of LaTeX tables, but for the first of a row, which is its label."""
    rows = re.findall(r"^[^%\\].* \\\\$", source, flags=re.MULTILINE)
    return [cell for row in rows for cell in row.removesuffix(r" \\").split(" & ")[1:]]


def markdown_cells(source: str) -> list[str]:
    """Return every cell of every row of pipe tables, but for the first of a row, which is its label."""
    rows = re.findall(r"^\| .* \|$", source, flags=re.MULTILINE)
    return [cell for row in rows for cell in row.removesuffix(" |").split(" | ")[1:]]


def without_markup(cell: str) -> str:
    """Return the number of a cell as text prints it, without marks, padding, bold print and mathematics."""
    for markup in (
        r"\\phantom\{(\{\}\\pm [\d.]+|0*)\}",  # padding of a deviation, and of one that is not there
        r"\\rlap\{.*\}",
        r"\\bfseries |\\mathbf|\*\*",
        r"[${}γδω†‡≈↓↑]",
        r" \(\d+/\d+\)$",  # how many seeds reached the target
    ):
        cell = re.sub(markup, "", cell)
    return re.sub(r" *(\+-|\\pm|±) *", " ± ", cell).strip()

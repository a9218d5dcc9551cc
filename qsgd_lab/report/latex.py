r"""LaTeX: one ``table*`` float a table, with booktabs rules and siunitx columns.

The document needs ``\usepackage{booktabs}`` and ``\usepackage{siunitx}`` (version 2 or 3). Numbers come
rounded; siunitx only sets them, so that LaTeX shows the digits that every other format shows.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

import qsgd_lab
from qsgd_lab.report.entries import Entry
from qsgd_lab.report.grouping import Group
from qsgd_lab.report.layout import METHOD_HEADING, Column, Panel, Row, Table, lay_out

#: Columns of mean and deviation that fit in the text width of IEEEtran's two columns.
MAX_COLUMNS = 6

COMMENT_WIDTH = 100

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
}

# A lone N, n, k, s or b is a symbol; the lookbehind spares a genitive's s and what `escape` wrote.
_SYMBOL = re.compile(r"(?<![\w'\\^])([Nnksb])(=\d+)?(?!\w)")


_SIUNITX = "separate-uncertainty=true, table-align-uncertainty=false, retain-zero-uncertainty=true"


def write_latex(groups: Sequence[Group]) -> str:
    r"""Return a float a group, to be read by ``\input``."""
    tables = lay_out(groups, max_columns=MAX_COLUMNS)
    labels = _labels(tables)
    header = [
        f"% made by: qsgd-lab {qsgd_lab.__version__} table",
        r"% needs: \usepackage{booktabs} \usepackage{siunitx}",
    ]
    floats = [_float(table, label) for table, label in zip(tables, labels, strict=True)]
    return "\n".join(header) + "\n" + "\n".join(floats)


def escape(text: str) -> str:
    """Return ``text`` so that LaTeX prints it and does nothing else.

    Printable ASCII and the lab's own signs come out as they are; any other character as ``U+`` and its
    number, because no font setup prints them all.
    """
    return "".join(
        _SPECIALS.get(char) or (char if " " <= char <= "~" else f"U+{ord(char):04X}") for char in text
    )


def _float(table: Table, label: str) -> str:
    panels = "\n\n\\bigskip\n".join(_panel(panel) for panel in table.panels)
    notes = "\n".join(_with_symbols(escape(note)) for note in table.notes)
    return "\n".join(
        [
            *_comment(f"runs: {' '.join(table.group.run_keys)}"),
            r"\begin{table*}[tbp]",
            r"\centering",
            rf"\caption{{{_with_symbols(escape(table.caption))}}}",
            rf"\label{{{label}}}",
            r"\footnotesize",
            rf"\sisetup{{{_SIUNITX}}}",
            panels,
            "",
            r"\smallskip",
            rf"\parbox{{\textwidth}}{{\scriptsize {notes}}}",
            r"\end{table*}",
            "",
        ]
    )


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, COMMENT_WIDTH, initial_indent="% ", subsequent_indent="%   ")


def _labels(tables: Sequence[Table]) -> list[str]:
    """Return ``tab:preset-dataset-model`` a table, and a hash of the rest where that is not unique."""
    names = []
    for table in tables:
        words = "-".join(str(table.group.shared[name]) for name in ("preset", "dataset", "model"))
        names.append("tab:" + (re.sub(r"[^A-Za-z0-9-]+", "-", words).strip("-") or "runs"))
    repeated = Counter(names)
    digests = [hashlib.sha256(table.caption.encode()).hexdigest()[:6] for table in tables]
    return [
        f"{name}-{digest}" if repeated[name] > 1 else name
        for name, digest in zip(names, digests, strict=True)
    ]


def _panel(panel: Panel) -> str:
    formats = [_column_format([row.entries[i] for row in panel.rows]) for i in range(len(panel.columns))]
    headings = [f"{{{_with_symbols(escape(column.heading))}}}" for column in panel.columns]
    # Marks have no width of their own: those of the last column need room inside the rules.
    margin = r"\hspace{2em}" if any(_marks(row.entries[-1]) for row in panel.rows) else ""
    lines = [
        rf"\begin{{tabular*}}{{\textwidth}}{{@{{\extracolsep{{\fill}}}}l {' '.join(formats)}@{{{margin}}}}}",
        r"\toprule",
        *_span_lines(panel.columns),
        rf"{METHOD_HEADING} & {' & '.join(headings)} \\",
        r"\midrule",
        *(line for row in panel.rows for line in _row_lines(row)),
        r"\bottomrule",
        r"\end{tabular*}",
    ]
    return "\n".join(lines)


def _column_format(entries: Sequence[Entry]) -> str:
    """Return the S column that reserves the digits which its entries have, such as ``2.1(1.1)``."""
    digits = _digits([entry.mean for entry in entries if entry.mean])
    deviations = [entry.deviation for entry in entries if entry.deviation]
    return f"S[table-format={digits}{f'({_digits(deviations)})' if deviations else ''}]"


def _digits(numbers: Sequence[str]) -> str:
    """Return ``integer.decimal`` digits that hold every one of ``numbers``."""
    parts = [number.partition(".") for number in numbers]
    whole = max((len(before) for before, _, _ in parts), default=1)
    return f"{whole}.{max((len(after) for _, _, after in parts), default=0)}"


def _span_lines(columns: Sequence[Column]) -> Iterator[str]:
    """Yield the line of spanning headings and the rules under them, if any column has one."""
    if not any(column.span for column in columns):
        return
    heads, rules, start = [], [], 2
    for span, members in groupby(columns, key=lambda column: column.span):
        width = len(list(members))
        heads += [rf"\multicolumn{{{width}}}{{c}}{{{escape(span)}}}"] if span else [""] * width
        if span:
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    yield rf" & {' & '.join(heads)} \\"
    yield " ".join(rules)


def _row_lines(row: Row) -> Iterator[str]:
    if row.opens_block:
        yield r"\addlinespace[2pt]"
    yield rf"{escape(row.label)} & {' & '.join(_entry(entry) for entry in row.entries)} \\"


def _entry(entry: Entry) -> str:
    """Return a cell; its marks take no room, so that they cannot push numbers out of line."""
    marks = _marks(entry)
    overhang = rf"\rlap{{{marks}}}" if marks else ""
    if entry.word:
        return f"{{{entry.word}{overhang}}}"
    number = f"{entry.mean} +- {entry.deviation}" if entry.deviation else entry.mean
    return f"{number} {{{overhang}}}" if overhang else number


def _marks(entry: Entry) -> str:
    return escape(entry.marks) + (f"$^{{{entry.reached}}}$" if entry.reached else "")


def _with_symbols(text: str) -> str:
    return _SYMBOL.sub(r"$\1\2$", text)

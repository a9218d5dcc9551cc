r"""LaTeX: one ``table*`` float a table, or a few where it is longer than a page, with booktabs rules.

The document needs ``\usepackage{booktabs}`` and, but for the style ``plain``, ``\usepackage{siunitx}``
(version 3). Numbers come rounded; siunitx only sets them: LaTeX shows the digits of every other format.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

import qsgd_lab
from qsgd_lab.report.analysis.grouping import Group
from qsgd_lab.report.formats.latex_numbers import (
    PACKAGES,
    cells,
    column_format,
    escape,
    marks,
    setup,
    with_symbols,
)
from qsgd_lab.report.tables.layout import Column, Panel, Table, lay_out
from qsgd_lab.report.tables.options import DEFAULT_OPTIONS, Style, TableOptions

__all__ = ["escape", "write_latex"]

#: Columns of mean and deviation that fit in the text width of IEEEtran's two columns.
MAX_COLUMNS = 6
#: Lines of panels that leave room for caption and legend on one page.
MAX_LINES = 48
#: A heading longer than this is broken after its first comma.
MAX_HEADING = 12

COMMENT_WIDTH = 100


def write_latex(groups: Sequence[Group], options: TableOptions = DEFAULT_OPTIONS) -> str:
    r"""Return the tables as floats, to be read by ``\input``."""
    tables = lay_out(groups, options, max_columns=MAX_COLUMNS)
    labels = _labels(tables, "" if options.by == "nodes" else f"-by-{options.by}")
    needed = " ".join(rf"\usepackage{{{package}}}" for package in PACKAGES[options.style])
    header = [f"% made by: qsgd-lab {qsgd_lab.__version__} table", f"% needs: {needed}"]
    floats = [
        text
        for table, label in zip(tables, labels, strict=True)
        for text in _floats(table, label, options.style)
    ]
    return "\n".join(header) + "\n" + "\n".join(floats)


def _floats(table: Table, label: str, style: Style) -> Iterator[str]:
    """Yield the floats of one table: the caption goes on, the legend comes last."""
    pages = list(_pages(table.panels))
    legend = "\n".join(with_symbols(escape(note)) for note in table.notes)
    for number, panels in enumerate(pages):
        going_on = " (continued)" if number else ""
        name = f"{label}-{number + 1}" if number else label
        lines = [
            *(_comment(f"runs: {' '.join(table.run_keys)}") if number == 0 else ()),
            r"\begin{table*}[tbp]",
            r"\centering",
            rf"\caption{{{with_symbols(escape(table.caption + going_on))}}}",
            rf"\label{{{name}}}",
            r"\footnotesize",
            *setup(style),
            "\n\n\\bigskip\n".join(_panel(panel, style) for panel in panels),
            "",
        ]
        if number == len(pages) - 1:
            lines += [r"\smallskip", rf"\parbox{{\textwidth}}{{\scriptsize {legend}}}"]
        yield "\n".join([*lines, r"\end{table*}", ""])


def _pages(panels: Sequence[Panel]) -> Iterator[list[Panel]]:
    page: list[Panel] = []
    used = 0
    for panel in panels:
        lines = len(panel.rows) + 5  # its headings, rules and the space above it
        if page and used + lines > MAX_LINES:
            yield page
            page, used = [], 0
        page.append(panel)
        used += lines
    yield page


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, COMMENT_WIDTH, initial_indent="% ", subsequent_indent="%   ")


def _labels(tables: Sequence[Table], suffix: str) -> list[str]:
    """Return ``tab:preset-dataset-model`` a table, and a hash of its runs where that is not unique."""
    names = []
    for table in tables:
        values = [
            [str(group.shared[name]) for group in table.groups] for name in ("preset", "dataset", "model")
        ]
        words = "-".join(several[0] for several in values if len(set(several)) == 1)
        names.append("tab:" + (re.sub(r"[^A-Za-z0-9-]+", "-", words).strip("-") or "runs") + suffix)
    repeated = Counter(names)
    digests = [hashlib.sha256(" ".join(table.run_keys).encode()).hexdigest()[:6] for table in tables]
    return [
        f"{name}-{digest}" if repeated[name] > 1 else name
        for name, digest in zip(names, digests, strict=True)
    ]


def _panel(panel: Panel, style: Style) -> str:
    columns = [[row.entries[i] for row in panel.rows] for i in range(len(panel.columns))]
    formats = [column_format(entries, style) for entries in columns]
    bodies = zip(*(cells(entries, style) for entries in columns), strict=True)
    headings = [_heading(column.heading) for column in panel.columns]
    # Marks have no width of their own: those of the last column need room inside the rules.
    margin = r"\hspace{2em}" if any(marks(entry) for entry in columns[-1]) else ""
    lines = [
        rf"\begin{{tabular*}}{{\textwidth}}{{@{{\extracolsep{{\fill}}}}l {' '.join(formats)}@{{{margin}}}}}",
        r"\toprule",
        *_span_lines(panel.columns),
        rf"{with_symbols(escape(panel.stub))} & {' & '.join(headings)} \\",
        r"\midrule",
    ]
    for row, body in zip(panel.rows, bodies, strict=True):
        if row.opens_block:
            lines.append(r"\addlinespace[2pt]")
        lines.append(rf"{with_symbols(escape(row.label))} & {' & '.join(body)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular*}"])


def _heading(text: str) -> str:
    """Return a heading, in braces for an S column, and on two lines where it is long."""
    first, comma, rest = text.partition(", ")
    written = with_symbols(escape(text))
    if comma and len(text) > MAX_HEADING:
        written = rf"\shortstack{{{with_symbols(escape(first))},\\{with_symbols(escape(rest))}}}"
    return f"{{{written}}}"


def _span_lines(columns: Sequence[Column]) -> Iterator[str]:
    """Yield the line of spanning headings and the rules under them, if any column has one."""
    if not any(column.span for column in columns):
        return
    heads, rules, start = [], [], 2
    for span, members in groupby(columns, key=lambda column: column.span):
        width = len(list(members))
        heads += [rf"\multicolumn{{{width}}}{{c}}{{{with_symbols(escape(span))}}}"] if span else [""] * width
        if span:
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    yield rf" & {' & '.join(heads)} \\"
    yield " ".join(rules)

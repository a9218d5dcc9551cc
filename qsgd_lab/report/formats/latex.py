r"""LaTeX: one float a table, or a few where it is longer than a page, with booktabs rules.

Floats are ``table*`` across both columns of IEEEtran, or for narrower pages ``table``.

The document needs ``\usepackage{booktabs}`` and, but for the style ``plain``, ``\usepackage{siunitx}``
(version 3). Numbers come rounded; siunitx only sets them: LaTeX shows the digits of every other format.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby, pairwise

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
from qsgd_lab.report.tables.options import DEFAULT_OPTIONS, PAGES, Page, Style, TableOptions

__all__ = ["escape", "write_latex"]

#: Points in ``\footnotesize``: a column of mean and deviation, one of a number, the methods' names.
_COLUMN, _NUMBER, _STUB = 66.0, 42.0, 105.0
#: A table that is no wider than this fits one column of the page.
_ONE_COLUMN = 400.0
#: A heading longer than this is broken after its first comma.
MAX_HEADING = 12

COMMENT_WIDTH = 100


def write_latex(groups: Sequence[Group], options: TableOptions = DEFAULT_OPTIONS) -> str:
    r"""Return the tables as floats, to be read by ``\input``."""
    page = PAGES[options.page]
    is_narrow = page.width <= _ONE_COLUMN
    max_columns = max(1, int((page.width - _STUB) / _COLUMN))
    tables = lay_out(groups, options, max_columns=max_columns, traffic_apart=is_narrow)
    labels = _labels(tables, "" if options.by == "nodes" else f"-by-{options.by}")
    needed = " ".join(rf"\usepackage{{{package}}}" for package in PACKAGES[options.style])
    header = [f"% made by: qsgd-lab {qsgd_lab.__version__} table", f"% needs: {needed}"]
    floats = [
        text
        for table, label in zip(tables, labels, strict=True)
        for text in _floats(table, label, options.style, page)
    ]
    return "\n".join(header) + "\n" + "\n".join(floats)


def _floats(table: Table, label: str, style: Style, page: Page) -> Iterator[str]:
    """Yield the floats of one table: the caption goes on, the legend comes last."""
    is_narrow = page.width <= _ONE_COLUMN
    environment, width = ("table", r"\linewidth") if is_narrow else ("table*", r"\textwidth")
    parts = [part for panel in table.panels for part in _narrow_panels(panel, page)]
    pages = list(_pages(parts, page.lines))
    legend = "\n".join(with_symbols(escape(note)) for note in table.notes)
    for number, panels in enumerate(pages):
        going_on = " (continued)" if number else ""
        name = f"{label}-{number + 1}" if number else label
        lines = [
            *(_comment(f"runs: {' '.join(table.run_keys)}") if number == 0 else ()),
            rf"\begin{{{environment}}}[tbp]",
            r"\centering",
            rf"\caption{{{with_symbols(escape(table.caption + going_on))}}}",
            rf"\label{{{name}}}",
            r"\footnotesize",
            *setup(style),
            "\n\n\\bigskip\n".join(_panel(panel, style, width) for panel in panels),
            "",
        ]
        if number == len(pages) - 1:
            lines += [r"\smallskip", rf"\parbox{{{width}}}{{\scriptsize {legend}}}"]
        yield "\n".join([*lines, rf"\end{{{environment}}}", ""])


def _narrow_panels(panel: Panel, page: Page) -> Iterator[Panel]:
    """Yield the panel, on a narrow page in parts of as many numbers as fit."""
    most = int((page.width - _STUB) / _NUMBER)
    if page.width > _ONE_COLUMN or len(panel.columns) <= most:
        yield panel
        return
    count = -(-len(panel.columns) // most)
    edges = [part * len(panel.columns) // count for part in range(count + 1)]
    for start, stop in pairwise(edges):
        rows = tuple(replace(row, entries=row.entries[start:stop]) for row in panel.rows)
        yield replace(panel, columns=panel.columns[start:stop], rows=rows)


def _pages(panels: Sequence[Panel], max_lines: int) -> Iterator[list[Panel]]:
    page: list[Panel] = []
    used = 0
    for panel in panels:
        lines = len(panel.rows) + 5  # its headings, rules and the space above it
        if page and used + lines > max_lines:
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


def _panel(panel: Panel, style: Style, width: str) -> str:
    columns = [[row.entries[i] for row in panel.rows] for i in range(len(panel.columns))]
    formats = [column_format(entries, style) for entries in columns]
    bodies = zip(*(cells(entries, style) for entries in columns), strict=True)
    headings = [_heading(column.heading) for column in panel.columns]
    # Marks have no width of their own: those of the last column need space inside the rules.
    margin = r"\hspace{2em}" if any(marks(entry) for entry in columns[-1]) else ""
    lines = [
        rf"\begin{{tabular*}}{{{width}}}{{@{{\extracolsep{{\fill}}}}l {' '.join(formats)}@{{{margin}}}}}",
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

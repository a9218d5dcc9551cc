"""GitHub-flavoured Markdown: a pipe table a panel."""

from __future__ import annotations

import re
from collections.abc import Sequence

from qsgd_lab.report.analysis.grouping import Group
from qsgd_lab.report.tables.entries import Entry
from qsgd_lab.report.tables.layout import Column, Panel, Table, lay_out
from qsgd_lab.report.tables.options import DEFAULT_OPTIONS, TableOptions

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#&~$])")


def write_markdown(groups: Sequence[Group], options: TableOptions = DEFAULT_OPTIONS) -> str:
    """Return a table a group as Markdown: the caption, a pipe table a panel, and the legend as a list."""
    return "\n".join(_table(table) for table in lay_out(groups, options))


def escape(text: str) -> str:
    """Return ``text`` without effect as markup."""
    return _SPECIAL.sub(r"\\\1", text)


def _table(table: Table) -> str:
    blocks = [f"**{escape(table.caption)}**", *map(_panel, table.panels)]
    blocks.append("\n".join(f"* {escape(note)}" for note in table.notes))
    return "\n\n".join(blocks) + "\n"


def _panel(panel: Panel) -> str:
    heads = [panel.stub, *(_heading(column, panel.title) for column in panel.columns)]
    rows = [[escape(row.label), *map(_entry, row.entries)] for row in panel.rows]
    ruler = ["---", *["---:"] * len(panel.columns)]
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, ruler, *rows)]
    return "\n".join([f"{escape(panel.title)}:", "", *lines])


def _heading(column: Column, title: str) -> str:
    """Return a heading with its span, since a pipe table has one heading line; the title says its own."""
    if column.span in ("", title):
        return escape(column.heading)
    return escape(f"{column.span}, {column.heading}")


def _entry(entry: Entry) -> str:
    number = f"**{escape(entry.number)}**" if entry.bold else escape(entry.number)
    return number + escape(entry.marks + (f" ({entry.reached})" if entry.reached else ""))

"""The tables of a page: the panels of `qsgd_lab.report.tables.layout`, with the same strings and marks."""

from __future__ import annotations

from itertools import groupby

from qsgd_lab.report.page.markup import element, escape, items
from qsgd_lab.report.tables.entries import CODE_LETTERS, DIVERGED, FEWER_SEEDS, SOME_DIVERGED, Entry
from qsgd_lab.report.tables.layout import Panel, Table

#: What a mark says, for a reader who points at it; the legend says it at length.
_MEANINGS = {
    SOME_DIVERGED: "some seeds diverged",
    FEWER_SEEDS: "fewer seeds",
    "↓": "worse than fp32",
    "↑": "better than fp32",
    "≈": "equivalent to fp32",
    **{letter: f"{code} code" for code, letter in CODE_LETTERS.items()},
}


def table_markup(table: Table) -> str:
    """Return caption, panels and legend of a table."""
    panels = "".join(map(_panel, table.panels))
    legend = element("summary", "How to read the tables") + items(map(escape, table.notes))
    return (
        element("p", escape(table.caption), class_="caption")
        + element("div", panels, class_="panels")
        + element("details", legend, class_="legend", open=True)
    )


def scroll_box(table: str, label: str, *, class_: str = "scroll") -> str:
    """Return a table in a box that scrolls by itself, also by keyboard, where the page is too narrow."""
    return element("div", table, class_=class_, tabindex="0", role="region", aria_label=label)


def _panel(panel: Panel) -> str:
    heads = element("th", escape(panel.stub), scope="col") + "".join(
        element("th", escape(column.heading), scope="col") for column in panel.columns
    )
    rows = "\n".join(
        element(
            "tr",
            element("th", escape(row.label), scope="row") + "".join(map(_entry, row.entries)),
            class_="opens" if row.opens_block else None,
        )
        for row in panel.rows
    )
    table = (
        element("caption", escape(panel.title))
        + element("thead", _spans(panel) + element("tr", heads))
        + element("tbody", rows)
    )
    return scroll_box(element("table", table, class_="numbers"), panel.title)


def _spans(panel: Panel) -> str:
    """Return the row of headings that span several columns; nothing where there are none to tell apart."""
    spans = [column.span for column in panel.columns]
    if not any(span and span != panel.title for span in spans):
        return ""
    cells = "".join(
        element("th", escape(span), scope="colgroup", colspan=len(list(members)))
        for span, members in groupby(spans)
    )
    return element("tr", "<td></td>" + cells)


def _entry(entry: Entry) -> str:
    number = escape(entry.number)
    if entry.bold:
        number = element("strong", number)
    if entry.marks:
        meaning = "; ".join(_MEANINGS[mark] for mark in entry.marks if mark in _MEANINGS)
        number += element("abbr", escape(entry.marks), class_="mark", title=meaning)
    if entry.reached:
        number += " " + element("small", escape(f"({entry.reached})"))
    return element("td", number, class_="diverged" if entry.word == DIVERGED else None)

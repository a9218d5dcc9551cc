"""Plain text for a terminal of 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import groupby

from qsgd_lab.report.analysis.grouping import Group
from qsgd_lab.report.tables.entries import Entry
from qsgd_lab.report.tables.layout import Panel, Shape, Table, lay_out
from qsgd_lab.report.tables.options import DEFAULT_OPTIONS, TableOptions

WIDTH = 100
#: Stands before the marks of an entry that other formats print bold.
BOLD_SIGN = "*"

#: Ways to lay a table out, the preferred first: the first that fits is taken.
_SHAPES: tuple[Shape, ...] = (
    {"max_columns": 5},
    {"max_columns": 4},
    {"max_columns": 5, "traffic_apart": True},
    {"max_columns": 4, "traffic_apart": True, "mean_apart": True},
    {"max_columns": 3, "traffic_apart": True, "mean_apart": True},
    {"max_columns": 2, "traffic_apart": True, "mean_apart": True},
)

_GAP = "  "
_RULE = "─"


def write_text(groups: Sequence[Group], options: TableOptions = DEFAULT_OPTIONS) -> str:
    """Return a table a group as aligned text, a blank line between them."""
    shaped = [
        [_table(table) for table in lay_out(groups, options, bold_sign=BOLD_SIGN, **shape)]
        for shape in _SHAPES
    ]
    return "\n\n".join(_narrow_enough(versions) for versions in zip(*shaped, strict=True))


def _narrow_enough(versions: Sequence[str]) -> str:
    """Return the first version that fits the width, or else the last."""
    fitting = (text for text in versions if max(map(len, text.splitlines())) <= WIDTH)
    return next(fitting, versions[-1])


def _table(table: Table) -> str:
    caption = textwrap.fill(table.caption, WIDTH)
    panels = "\n".join(_panel(panel) + "\n" for panel in table.panels)
    notes = "\n".join(textwrap.fill(note, WIDTH, subsequent_indent=_GAP) for note in table.notes)
    return f"{caption}\n\n{panels}\n{notes}\n"


def _panel(panel: Panel) -> str:
    labels = [panel.stub, *(row.label for row in panel.rows)]
    width = max(map(len, labels))
    columns = [
        _column(column.heading, [row.entries[i] for row in panel.rows])
        for i, column in enumerate(panel.columns)
    ]
    heads, columns = _under_spans(panel, columns)
    body = [_GAP.join([label.ljust(width), *cells]) for label, *cells in zip(labels, *columns, strict=True)]
    lines = [" " * width + _GAP + _GAP.join(heads), body[0], _RULE * len(body[0]), *body[1:]]
    return "\n".join(line.rstrip() for line in lines)


def _column(heading: str, entries: Sequence[Entry]) -> list[str]:
    """Return heading and entries as strings of one width, with the numbers' points in line."""
    # A word longer than every number spans mean and deviation instead of pushing them to the right.
    whole = max((len(entry.mean) for entry in entries if entry.mean), default=0)
    deviation = max(len(entry.deviation) for entry in entries)
    marks = max(len(_marks(entry)) for entry in entries)
    numbers = [_number(entry, whole, deviation) for entry in entries]
    width = max(len(heading), *map(len, numbers))
    # Headings end where the numbers end, left of the marks.
    cells = [number.rjust(width) + _marks(entry) for number, entry in zip(numbers, entries, strict=True)]
    return [cell.ljust(width + marks) for cell in (heading.rjust(width), *cells)]


def _number(entry: Entry, whole: int, deviation: int) -> str:
    number = (entry.mean or entry.word).rjust(whole)
    if entry.deviation:
        return f"{number} ± {entry.deviation.rjust(deviation)}"
    if not deviation:
        return number
    return number.ljust(whole + len(" ± ") + deviation)


def _marks(entry: Entry) -> str:
    bold = BOLD_SIGN if entry.bold else ""
    return bold + entry.marks + (f" ({entry.reached})" if entry.reached else "")


def _under_spans(panel: Panel, columns: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Return the spanning headings, and the columns widened where a heading is wider than what it spans."""
    heads: list[str] = []
    widened: list[list[str]] = []
    for span, members in groupby(zip(panel.columns, columns, strict=True), key=lambda member: member[0].span):
        block = [cells for _, cells in members]
        room = len(_GAP.join(cells[0] for cells in block))
        head = f"{_RULE} {span} {_RULE}" if span else ""
        if len(head) > room:
            block[0] = [cell.rjust(len(cell) + len(head) - room) for cell in block[0]]
            room = len(head)
        heads.append(head.center(room, _RULE) if span else " " * room)
        widened += block
    return heads, widened

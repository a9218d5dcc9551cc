"""Plain text for a terminal of any width: panels beside each other as far as they fit, else in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise

from qsgd_lab.report.analysis.grouping import Group
from qsgd_lab.report.tables.entries import Entry
from qsgd_lab.report.tables.layout import Panel, Shape, Table, lay_out
from qsgd_lab.report.tables.options import DEFAULT_OPTIONS, TableOptions
from qsgd_lab.terminal import fill

#: Written before the marks of an entry that other formats print bold.
BOLD_SIGN = "*"

#: Ways to lay a table out, the preferred first: the first that fits is taken.
_SHAPES = tuple(
    Shape(max_columns=columns, traffic_apart=traffic, mean_apart=mean)
    for columns in (8, 6, 4)
    for traffic, mean in ((False, False), (True, False), (True, True))
)

_GAP = "  "
_RULE = "─"


def write_text(groups: Sequence[Group], options: TableOptions = DEFAULT_OPTIONS) -> str:
    """Return a table a group as aligned text of `options.width` columns, a blank line between them."""
    shaped = (lay_out(groups, options, bold_sign=BOLD_SIGN, **shape) for shape in _SHAPES)
    return "\n\n".join(
        _table(_fitting(versions, options.width), options.width) for versions in zip(*shaped, strict=True)
    )


def _fitting(versions: Sequence[Table], width: int) -> Table:
    """Return the first version whose panels fit the width, or else the last, whose panels come in blocks."""
    return next(
        (version for version in versions if max(map(_panel_width, version.panels)) <= width), versions[-1]
    )


def _panel_width(panel: Panel) -> int:
    return max(map(len, _lines(panel)))


def _table(table: Table, width: int) -> str:
    caption = fill(table.caption, width)
    panels = "\n".join(_in_blocks(panel, width) + "\n" for panel in table.panels)
    notes = "\n".join(fill(note, width, hanging=_GAP) for note in table.notes)
    return f"{caption}\n\n{panels}\n{notes}\n"


def _in_blocks(panel: Panel, width: int) -> str:
    """Return the panel, cut between columns into the fewest equal blocks that fit, one below the other."""
    for count in range(1, len(panel.columns) + 1):
        edges = [part * len(panel.columns) // count for part in range(count + 1)]
        blocks = [_part(panel, slice(*edge)) for edge in pairwise(edges)]
        if max(map(_panel_width, blocks)) <= width:
            break
    return "\n\n".join("\n".join(_lines(block)) for block in blocks)


def _part(panel: Panel, columns: slice) -> Panel:
    rows = tuple(replace(row, entries=row.entries[columns]) for row in panel.rows)
    return replace(panel, columns=panel.columns[columns], rows=rows)


def _lines(panel: Panel) -> list[str]:
    labels = [panel.stub, *(row.label for row in panel.rows)]
    width = max(map(len, labels))
    columns = [
        _column(column.heading, [row.entries[i] for row in panel.rows])
        for i, column in enumerate(panel.columns)
    ]
    heads, columns = _under_spans(panel, columns)
    body = [_GAP.join([label.ljust(width), *cells]) for label, *cells in zip(labels, *columns, strict=True)]
    lines = [" " * width + _GAP + _GAP.join(heads), body[0], _RULE * len(body[0]), *body[1:]]
    return [line.rstrip() for line in lines]


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
        width = len(_GAP.join(cells[0] for cells in block))
        head = f"{_RULE} {span} {_RULE}" if span else ""
        if len(head) > width:
            block[0] = [cell.rjust(len(cell) + len(head) - width) for cell in block[0]]
            width = len(head)
        heads.append(head.center(width, _RULE) if span else " " * width)
        widened += block
    return heads, widened

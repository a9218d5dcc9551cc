"""The format-independent table: panels of typed entries, a caption and a legend."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypedDict

from qsgd_lab.report.analysis.grouping import Group, Method
from qsgd_lab.report.notes.captions import caption, family_caption
from qsgd_lab.report.notes.legend import notes
from qsgd_lab.report.notes.significance import any_differences
from qsgd_lab.report.tables.columns_by_cell import DIFFERENCE_TITLE, CellMeasure, Place, cell_measures
from qsgd_lab.report.tables.columns_by_method import BITS_TITLE, MethodMeasure, method_measures
from qsgd_lab.report.tables.columns_published import published_measures
from qsgd_lab.report.tables.entries import MISSING, Entry
from qsgd_lab.report.tables.options import DEFAULT_OPTIONS, DEFAULT_SHOW, DIFFERENCE, TableOptions
from qsgd_lab.report.tables.sheets import METHOD_STUB, Found, RowHead, Sheet, SheetColumn, sheets
from qsgd_lab.runs.config import FULL_PRECISION_BITS

_NOTHING = Entry(word=MISSING)


@dataclass(frozen=True)
class Column:
    """A column of numbers; neighbours with the same non-empty ``span`` share it as their heading."""

    heading: str
    span: str = ""


@dataclass(frozen=True)
class Row:
    """A row's label and one entry for each column; ``opens_block`` where the bits change."""

    label: str
    entries: tuple[Entry, ...]
    opens_block: bool = False


@dataclass(frozen=True)
class Panel:
    """A rectangle of entries under a title of its own; ``stub`` is the heading of its rows' labels."""

    title: str
    stub: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """All that some runs have to say.

    Attributes
    ----------
    groups : tuple of Group
        What the table was made from, unrounded; several where they are side by side.
    caption : str
    panels : tuple of Panel
        What is shown, together or apart as space allows.
    notes : tuple of str
        The legend, a paragraph each.
    """

    groups: tuple[Group, ...]
    caption: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...]

    @property
    def run_keys(self) -> tuple[str, ...]:
        """Sorted keys of all the runs in the table."""
        return tuple(sorted({key for group in self.groups for key in group.run_keys}))


class Shape(TypedDict, total=False):
    """The choices that `lay_out` leaves to a format."""

    max_columns: int | None
    traffic_apart: bool
    mean_apart: bool


def lay_out(
    groups: Sequence[Group],
    options: TableOptions = DEFAULT_OPTIONS,
    *,
    max_columns: int | None = None,
    traffic_apart: bool = False,
    mean_apart: bool = False,
    bold_sign: str = "Bold",
) -> tuple[Table, ...]:
    """Return one table a group, or a family of groups side by side.

    Parameters
    ----------
    groups : sequence of Group
    options : TableOptions
    max_columns : int, optional
        Widest a panel may be, in columns of mean and deviation: with more columns it goes on in further
        panels, with half as many two measures are side by side. None: any width, apart.
    traffic_apart : bool
        Whether the measured bits get a panel of their own, not columns of the first one.
    mean_apart : bool
        Whether the differences' mean over N gets a panel of its own.
    bold_sign : str
        How the format shows, and its legend names, an entry that is bold.

    Returns
    -------
    tuple of Table
        In the groups' order.
    """
    return tuple(
        Table(
            groups=sheet.groups,
            caption=_caption(sheet, groups),
            panels=tuple(_panels(sheet, options, max_columns, traffic_apart, mean_apart)),
            notes=tuple(notes(sheet, groups, options, bold_sign)),
        )
        for sheet in sheets(groups, options.by, options.sort)
    )


def _caption(sheet: Sheet, others: Sequence[Group]) -> str:
    return caption(sheet.groups[0], others) if len(sheet.groups) == 1 else family_caption(sheet.groups)


def _panels(
    sheet: Sheet, options: TableOptions, max_columns: int | None, traffic_apart: bool, mean_apart: bool
) -> Iterator[Panel]:
    panels: list[Panel] = []
    for is_difference, shows in groupby(options.show, lambda show: show == DIFFERENCE):
        if is_difference:
            panels += _difference_panels(sheet, options, max_columns, mean_apart)
            continue
        of_cells = [m for show in shows for m in cell_measures(show, sheet.groups, options)]
        for measures in _pairs(sheet, of_cells, max_columns):
            panels += _cell_panels(sheet, measures, options, max_columns)
    of_methods = [
        (show, panel)
        for show in (*options.show, *(("published",) if options.published else ()))
        if show != DIFFERENCE
        for panel in _method_panels(sheet, *_of_methods(show, sheet.groups), max_columns)
    ]
    if not panels and not of_methods:  # fp32 alone has no differences from itself
        for measures in _pairs(sheet, cell_measures("accuracy", sheet.groups, options), max_columns):
            panels += _cell_panels(sheet, measures, options, max_columns)
    is_whole = bool(panels) and len(panels[0].rows) == len(sheet.rows)
    if is_whole and not traffic_apart and sheet.has_method_rows and len(sheet.groups) == 1:
        beside = [panel for show, panel in of_methods if show == "bits"]
        panels[0] = _beside(panels[0], *beside)
        of_methods = [(show, panel) for show, panel in of_methods if show != "bits"]
    yield from panels
    yield from (panel for _, panel in of_methods)


def _difference_panels(
    sheet: Sheet, options: TableOptions, max_columns: int | None, mean_apart: bool
) -> Iterator[Panel]:
    """Yield the differences from fp32, without fp32 itself, and their mean over N beside them or apart.

    A table that did not ask for them has none where nothing was tested.
    """
    if options.show == DEFAULT_SHOW and not any_differences(sheet.groups):
        return
    (measure,) = cell_measures(DIFFERENCE, sheet.groups, options)
    columns = [i for i, column in enumerate(sheet.columns) if not _is_baseline(column.cells)]
    rows = [i for i in range(len(sheet.rows)) if not _is_baseline([c.cells[i] for c in sheet.columns])]
    parts = _parts(len(columns), max_columns, sheet.block) if columns and rows else ()
    panels = [
        _of_rows(_cell_panel(sheet, measure, options, [columns[i] for i in part]), rows) for part in parts
    ]
    of_means = _method_panels(sheet, DIFFERENCE_TITLE, method_measures(DIFFERENCE, sheet.groups), max_columns)
    own_rows = [
        i for i, row in enumerate(sheet.methods) if any(m and m.bits != FULL_PRECISION_BITS for m in row)
    ]
    means = [_of_rows(panel, own_rows) for panel in of_means]
    has_room = panels and (max_columns is None or len(panels[-1].columns) < max_columns)
    if means and has_room and not mean_apart and sheet.has_method_rows and len(sheet.groups) == 1:
        panels[-1:] = [_beside(panels[-1], *means)]
        means = []
    yield from (*panels, *means)


def _is_baseline(cells: Sequence[Found | None]) -> bool:
    """Whether a row or column has nothing but fp32."""
    return all(found is None or found[1].bits == FULL_PRECISION_BITS for found in cells)


def _of_rows(panel: Panel, rows: Sequence[int]) -> Panel:
    kept = [panel.rows[i] for i in rows]
    opening = [dataclasses.replace(row, opens_block=False) for row in kept[:1]]
    return dataclasses.replace(panel, rows=(*opening, *kept[1:]))


def _pairs(
    sheet: Sheet, measures: Sequence[CellMeasure], max_columns: int | None
) -> Iterator[Sequence[CellMeasure]]:
    """Yield the measures in their order, two together where both fit."""
    rest = list(measures)
    while rest:
        width = sum(_width(sheet, measure) for measure in rest[:2]) * len(sheet.columns)
        count = 2 if max_columns is not None and width <= max_columns else 1
        yield rest[:count]
        rest = rest[count:]


def _width(sheet: Sheet, measure: CellMeasure) -> float:
    """Return a column's width in those of mean and deviation: less for numbers alone under one title."""
    return 1.0 if measure.is_statistic or len(sheet.groups) > 1 else 0.75


def _cell_panels(
    sheet: Sheet, measures: Sequence[CellMeasure], options: TableOptions, max_columns: int | None
) -> Iterator[Panel]:
    """Yield a panel of all the measures, or if it is one alone and too wide, as many as it takes."""
    if len(measures) > 1:
        everything = range(len(sheet.columns))
        yield _beside(*(_cell_panel(sheet, measure, options, everything) for measure in measures))
    else:
        for part in _parts(len(sheet.columns), max_columns, sheet.block):
            yield _cell_panel(sheet, measures[0], options, part)


def _of_methods(show: str, groups: Sequence[Group]) -> tuple[str, Sequence[MethodMeasure]]:
    """Return the title and the measures of what belongs to methods."""
    if show == "published":
        return "Published", published_measures(groups)
    return BITS_TITLE, method_measures(show, groups)


def _parts(num_columns: int, at_most: int | None, block: int) -> Iterator[range]:
    """Cut the columns into the fewest parts of nearly equal width, between blocks where these fit."""
    if at_most is None:
        yield range(num_columns)
        return
    unit = block if block <= at_most else 1
    num_units = num_columns // unit
    num_parts = -(-num_units // (at_most // unit))
    for part in range(num_parts):
        yield range(part * num_units // num_parts * unit, (part + 1) * num_units // num_parts * unit)


def _cell_panel(sheet: Sheet, measure: CellMeasure, options: TableOptions, part: Iterable[int]) -> Panel:
    columns = [sheet.columns[i] for i in part]
    entries = [
        tuple(_cell_entry(measure, column.cells[row], options) for column in columns)
        for row in range(len(sheet.rows))
    ]
    heads = tuple(Column(column.heading, _under(measure.title, column)) for column in columns)
    return Panel(measure.title, sheet.stub, heads, _rows(sheet.rows, entries))


def _under(title: str, column: SheetColumn) -> str:
    return f"{title}, {column.under}" if column.under else title


def _cell_entry(measure: CellMeasure, found: Found | None, options: TableOptions) -> Entry:
    return _NOTHING if found is None else measure.entry(Place(*found, options))


def _method_panels(
    sheet: Sheet, title: str, measures: Sequence[MethodMeasure], max_columns: int | None
) -> Iterator[Panel]:
    """Yield the panel of what belongs to methods: columns of it, one for each group, or rows of it."""
    if not measures:
        return
    if len(sheet.groups) == 1:
        heads = tuple(Column(measure.heading, measure.span) for measure in measures)
        entries = [_entries(sheet, row, measures) for row in sheet.methods]
        yield Panel(title, METHOD_STUB, heads, _rows(sheet.method_rows, entries))
    else:
        yield from _joined((_side_by_side(sheet, measure) for measure in measures), max_columns)


def _joined(panels: Iterable[Panel], max_columns: int | None) -> Iterator[Panel]:
    """Yield the panels beside each other as far as they fit."""
    row: list[Panel] = []
    for panel in panels:
        width = sum(len(each.columns) for each in [*row, panel])
        if row and max_columns is not None and width > max_columns:
            yield _beside(*row)
            row = []
        row.append(panel)
    yield _beside(*row)


def _side_by_side(sheet: Sheet, measure: MethodMeasure) -> Panel:
    """Return the panel of one measure for each group, or once where it is about the model that they share."""
    title, rows = _full_heading(measure), sheet.method_rows
    entries = [_entries(sheet, row, [measure]) for row in sheet.methods]
    if measure.is_of_model and len({group.shared["model"] for group in sheet.groups}) == 1:
        found = [(next((entry for entry in row if entry != _NOTHING), _NOTHING),) for row in entries]
        return Panel(title, METHOD_STUB, (Column(measure.heading, measure.span),), _rows(rows, found))
    heads = tuple(Column(name, title) for name in sheet.names)
    return Panel(title, METHOD_STUB, heads, _rows(rows, entries))


def _full_heading(measure: MethodMeasure) -> str:
    return f"{measure.span}, {measure.heading}" if measure.span else measure.heading


def _entries(
    sheet: Sheet, row: Sequence[Method | None], measures: Sequence[MethodMeasure]
) -> tuple[Entry, ...]:
    """Return a row's entries: each measure of each group's method."""
    return tuple(
        _NOTHING if method is None else measure.entry(group, method)
        for group, method in zip(sheet.groups, row, strict=True)
        for measure in measures
    )


def _beside(*panels: Panel) -> Panel:
    """Return one panel with the columns of all, under the first one's title."""
    rows = tuple(
        dataclasses.replace(parts[0], entries=tuple(entry for part in parts for entry in part.entries))
        for parts in zip(*(panel.rows for panel in panels), strict=True)
    )
    columns = tuple(column for panel in panels for column in panel.columns)
    return dataclasses.replace(panels[0], columns=columns, rows=rows)


def _rows(heads: Sequence[RowHead], entries: Sequence[tuple[Entry, ...]]) -> tuple[Row, ...]:
    return tuple(Row(head.label, cells, head.opens_block) for head, cells in zip(heads, entries, strict=True))

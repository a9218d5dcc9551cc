"""The format-independent table: panels of typed entries, a caption and a legend."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

from qsgd_lab.report.captions import caption, notes, target_percent
from qsgd_lab.report.entries import (
    Entry,
    accuracy_entry,
    bits_entry,
    count_entry,
    epochs_entry,
    ratio_entry,
)
from qsgd_lab.report.grouping import Group, Method

METHOD_HEADING = "Method"
ACCURACY_TITLE = "Test accuracy (%)"
TRAFFIC_TITLE = "Bits/coord."


@dataclass(frozen=True)
class Column:
    """A column of numbers; neighbours with the same non-empty ``span`` stand under it together."""

    heading: str
    span: str = ""


@dataclass(frozen=True)
class Row:
    """A method's label and one entry for each column; ``opens_block`` where the bits change."""

    label: str
    entries: tuple[Entry, ...]
    opens_block: bool = False


@dataclass(frozen=True)
class Panel:
    """A rectangle of entries under a title of its own."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """All that a group of runs has to say.

    Attributes
    ----------
    group : Group
        What the table was made from, unrounded.
    caption : str
    panels : tuple of Panel
        Test accuracy, epochs to the target and measured bits, together or apart as there is room.
    notes : tuple of str
        The legend, a paragraph each.
    """

    group: Group
    caption: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...]


class Shape(TypedDict, total=False):
    """The choices that `lay_out` leaves to a format."""

    max_columns: int | None
    traffic_apart: bool


def lay_out(
    groups: Sequence[Group], *, max_columns: int | None = None, traffic_apart: bool = False
) -> tuple[Table, ...]:
    """Return one table a group.

    Parameters
    ----------
    groups : sequence of Group
    max_columns : int, optional
        Widest a panel may be, in columns of mean and deviation: with more numbers of nodes it goes on in
        further panels, with half as many the epochs stand beside the accuracy. None: any width, apart.
    traffic_apart : bool
        Whether the measured bits get a panel of their own instead of standing in the first one.

    Returns
    -------
    tuple of Table
        In the groups' order; no two captions are the same.
    """
    return tuple(
        Table(
            group=group,
            caption=caption(group, groups),
            panels=tuple(_panels(group, max_columns, traffic_apart)),
            notes=tuple(notes(group)),
        )
        for group in groups
    )


def epochs_title(group: Group) -> str:
    """Return the heading of the convergence columns, which names the target."""
    return f"Epochs to {target_percent(group)} %"


def epochs_decimals(group: Group) -> int:
    """Return how many decimals a mean number of epochs gets: none where no cell is a mean."""
    return 0 if len(group.seeds) == 1 else 1


def _panels(group: Group, max_columns: int | None, traffic_apart: bool) -> Iterator[Panel]:
    parts = list(_parts(len(group.nodes), max_columns))
    accuracy = [_accuracy_panel(group, part) for part in parts]
    epochs = [_epochs_panel(group, part) for part in parts]
    if max_columns is not None and 2 * len(group.nodes) <= max_columns:
        accuracy, epochs = [_beside(accuracy[0], epochs[0])], []
    if traffic_apart:
        return iter([*accuracy, *epochs, _traffic_panel(group)])
    return iter([_beside(accuracy[0], _traffic_panel(group)), *accuracy[1:], *epochs])


def _parts(num_columns: int, at_most: int | None) -> Iterator[range]:
    """Cut the columns into the fewest parts of nearly equal width."""
    num_parts = -(-num_columns // at_most) if at_most else 1
    for part in range(num_parts):
        yield range(part * num_columns // num_parts, (part + 1) * num_columns // num_parts)


def _accuracy_panel(group: Group, part: range) -> Panel:
    columns = tuple(Column(f"N={group.nodes[i]}", ACCURACY_TITLE) for i in part)
    entries = [tuple(accuracy_entry(method.cells[i]) for i in part) for method in group.methods]
    return Panel(ACCURACY_TITLE, columns, _rows(group, entries))


def _epochs_panel(group: Group, part: range) -> Panel:
    title, decimals = epochs_title(group), epochs_decimals(group)
    columns = tuple(Column(f"N={group.nodes[i]}", title) for i in part)
    entries = [tuple(epochs_entry(method.cells[i], decimals) for i in part) for method in group.methods]
    return Panel(title, columns, _rows(group, entries))


def _traffic_panel(group: Group) -> Panel:
    columns = (Column("s"), Column("fixed", TRAFFIC_TITLE), Column("Elias", TRAFFIC_TITLE), Column("Ratio"))
    return Panel(TRAFFIC_TITLE, columns, _rows(group, [traffic_entries(method) for method in group.methods]))


def _beside(left: Panel, right: Panel) -> Panel:
    """Return one panel with the columns of both."""
    rows = tuple(
        dataclasses.replace(mine, entries=mine.entries + more.entries)
        for mine, more in zip(left.rows, right.rows, strict=True)
    )
    return Panel(left.title, left.columns + right.columns, rows)


def traffic_entries(method: Method) -> tuple[Entry, Entry, Entry, Entry]:
    """Return a method's levels, fixed-width bits, Elias bits and compression ratio."""
    traffic = method.traffic
    return (
        count_entry(method.num_levels),
        bits_entry(traffic.fixed),
        bits_entry(traffic.elias, traffic.elias_code),
        ratio_entry(traffic.ratio),
    )


def _rows(group: Group, entries: Sequence[tuple[Entry, ...]]) -> tuple[Row, ...]:
    bits = [method.bits for method in group.methods]
    return tuple(
        Row(method.label, cells, opens_block=i > 0 and bits[i] != bits[i - 1])
        for i, (method, cells) in enumerate(zip(group.methods, entries, strict=True))
    )

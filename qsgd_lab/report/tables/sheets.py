"""The views: which groups share a table, and which row and column each cell has."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from qsgd_lab.report.analysis.cells import Cell
from qsgd_lab.report.analysis.grouping import Group, Method
from qsgd_lab.report.tables.options import Order, View

#: Fields of the quantizer; models side by side must agree in them, but each has its own learning rate.
QUANTIZER_FIELDS = ("norm", "bucket_size", "convention", "raw_tensors_up_to", "flaws")

#: A cell, with the group and the method it belongs to.
Found = tuple[Group, Method, Cell]


#: Heading of the rows' labels where the rows are methods.
METHOD_STUB = "Method"


@dataclass(frozen=True)
class RowHead:
    """A row's label; ``opens_block`` where the bits change."""

    label: str
    opens_block: bool = False


@dataclass(frozen=True)
class SheetColumn:
    """A column's heading, what its span adds to the measure's title, and the cell in each row, if any."""

    heading: str
    under: str
    cells: tuple[Found | None, ...]


@dataclass(frozen=True)
class Sheet:
    """The places of one table.

    Attributes
    ----------
    groups : tuple of Group
        Those in the table.
    names : tuple of str
        What each is called as a column; one empty name for a single group.
    stub : str
        Heading of the rows' labels.
    rows : tuple of RowHead
    columns : tuple of SheetColumn
    block : int
        Columns are cut into panels only after a multiple of this, where it fits.
    methods : tuple of tuple
        A row for each method that occurs: the method of each group, or None.
    method_rows : tuple of RowHead
        The labels of these.
    """

    groups: tuple[Group, ...]
    names: tuple[str, ...]
    stub: str
    rows: tuple[RowHead, ...]
    columns: tuple[SheetColumn, ...]
    block: int
    methods: tuple[tuple[Method | None, ...], ...]
    method_rows: tuple[RowHead, ...]

    @property
    def has_method_rows(self) -> bool:
        """Whether the rows are methods, rather than numbers of nodes."""
        return self.stub == METHOD_STUB


def sheets(groups: Sequence[Group], view: View, order: Order = "method") -> list[Sheet]:
    """Return the tables of a view, in the order of their first groups."""
    if order == "bits":
        groups = [dataclasses.replace(group, methods=by_bits(group.methods)) for group in groups]
    if view == "nodes":
        return [_by_nodes(group) for group in groups]
    if view == "method":
        return [_by_method(group) for group in groups]
    families: dict[Any, list[Group]] = {}
    for group in groups:
        families.setdefault(_FAMILIES[view](group), []).append(group)
    return [
        _side_by_side(tuple(family), view, order) if len(family) > 1 else _by_nodes(family[0])
        for family in families.values()
    ]


def by_bits(methods: Iterable[Method]) -> tuple[Method, ...]:
    """Return methods by the bits a coordinate that they send, most first; at the end those without any."""
    return tuple(sorted(methods, key=lambda method: -bits_sent(method)))


def bits_sent(method: Method) -> float:
    """Return the bits a coordinate of whole messages, else of a code; 0 if none was measured."""
    traffic = method.traffic
    return traffic.sent or traffic.elias or traffic.fixed or 0.0


def _alike_but_for_model(group: Group) -> tuple[Any, ...]:
    shared = group.shared
    return (
        group.is_current,
        *(repr(shared[name]) for name in ("preset", "dataset", "scaling", *QUANTIZER_FIELDS)),
    )


def _of_one_model(group: Group) -> tuple[Any, ...]:
    return group.is_current, group.shared["dataset"], group.shared["model"]


def _alike_but_for_task(group: Group) -> tuple[Any, ...]:
    shared = group.shared
    return group.is_current, *(repr(shared[name]) for name in ("scaling", *QUANTIZER_FIELDS))


#: View -> what the groups of one of its tables have in common.
_FAMILIES: dict[View, Callable[[Group], tuple[Any, ...]]] = {
    "model": _alike_but_for_model,
    "setting": _of_one_model,
    "task": _alike_but_for_task,
}


def _by_nodes(group: Group) -> Sheet:
    return Sheet(
        groups=(group,),
        names=("",),
        stub=METHOD_STUB,
        rows=_method_rows(group.methods),
        columns=tuple(
            SheetColumn(f"N={nodes}", "", tuple((group, m, m.cells[i]) for m in group.methods))
            for i, nodes in enumerate(group.nodes)
        ),
        block=1,
        methods=tuple((method,) for method in group.methods),
        method_rows=_method_rows(group.methods),
    )


def _by_method(group: Group) -> Sheet:
    return Sheet(
        groups=(group,),
        names=("",),
        stub="N",
        rows=tuple(RowHead(str(nodes)) for nodes in group.nodes),
        columns=tuple(
            SheetColumn(method.label, "", tuple((group, method, cell) for cell in method.cells))
            for method in group.methods
        ),
        block=1,
        methods=tuple((method,) for method in group.methods),
        method_rows=_method_rows(group.methods),
    )


def _side_by_side(family: tuple[Group, ...], view: View, order: Order) -> Sheet:
    orders = sorted({method.order for group in family for method in group.methods})
    lookup = [{method.order: method for method in group.methods} for group in family]
    methods = tuple(tuple(by_order.get(place) for by_order in lookup) for place in orders)
    if order == "bits":  # of the first group that has the method
        methods = tuple(sorted(methods, key=lambda row: -next(bits_sent(m) for m in row if m)))
    names = column_names(family, first=view)
    rows = _method_rows([next(method for method in row if method) for row in methods])
    nodes = sorted({count for group in family for count in group.nodes})
    return Sheet(
        groups=family,
        names=names,
        stub=METHOD_STUB,
        rows=rows,
        columns=tuple(
            SheetColumn(name, f"N={count}", tuple(_find(group, row[i], count) for row in methods))
            for count in nodes
            for i, (group, name) in enumerate(zip(family, names, strict=True))
        ),
        block=len(family),
        methods=methods,
        method_rows=rows,
    )


def _find(group: Group, method: Method | None, nodes: int) -> Found | None:
    if method is None or nodes not in group.nodes:
        return None
    return group, method, method.cells[group.nodes.index(nodes)]


def _method_rows(methods: Sequence[Method]) -> tuple[RowHead, ...]:
    bits = [method.bits for method in methods]
    return tuple(
        RowHead(method.label, opens_block=i > 0 and bits[i] != bits[i - 1])
        for i, method in enumerate(methods)
    )


def column_names(family: Sequence[Group], first: str) -> tuple[str, ...]:
    """Return a short name for each group: the fields that are needed to tell all of them apart.

    Parameters
    ----------
    family : sequence of Group
    first : {"model", "setting", "task"}
        Whether the model is always named, or the preset where it differs, or the data set.
    """
    fields = [name for name in family[0].shared if len({repr(g.shared[name]) for g in family}) > 1]
    chosen = ["dataset"] if first == "task" else ["model"] if first == "model" or not fields else []
    names = _names(family, chosen)
    ranks = _TASK_NAMING if first == "task" else _NAMING
    for field in sorted(fields, key=lambda field: ranks.index(field) if field in ranks else len(ranks)):
        if len(set(names)) == len(family):
            break
        if len(set(_names(family, [*chosen, field]))) > len(set(names)):
            chosen.append(field)
            names = _names(family, chosen)
    return names


#: The fields that name a column first, where they differ.
_NAMING = ("model", "preset", "norm", "bucket_size")
_TASK_NAMING = ("dataset", "split", "model", "preset")


def _names(family: Iterable[Group], fields: Sequence[str]) -> tuple[str, ...]:
    return tuple(", ".join(_word(field, group.shared[field]) for field in fields) for group in family)


def _word(field: str, value: Any) -> str:
    plain: dict[str, Callable[[Any], str]] = {
        "dataset": str,
        "split": str,
        "model": str,
        "preset": str,
        "norm": lambda norm: norm or "no norm",
        "bucket_size": lambda size: f"per {size}" if isinstance(size, str) else f"buckets {size}",
    }
    if field in plain:
        return plain[field](value)
    return f"{field.replace('_', ' ')} {field_words(value)}"


def field_words(value: Any) -> str:
    """Return a configuration value as a caption writes it."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)

"""Groups of runs that share a table: groups that share everything but method, nodes and seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qsgd_lab.compressors.registry import COMPRESSORS
from qsgd_lab.data.registry import DATASETS, dataset_origins
from qsgd_lab.errors import IntegrityError
from qsgd_lab.levels import num_levels
from qsgd_lab.report.analysis.cells import Cell, cell_of
from qsgd_lab.report.analysis.communication import Traffic, traffic_of
from qsgd_lab.report.analysis.significance import averaged, judged
from qsgd_lab.report.analysis.statistics import EQUIVALENCE_MARGIN
from qsgd_lab.report.analysis.verdict import Contrast
from qsgd_lab.runs.config import ALL_GATHER, FULL_PRECISION_BITS, SYNCHRONOUS, RunConfig

if TYPE_CHECKING:
    from qsgd_lab.runs.record import RunRecord

#: The fields that vary inside a table: a row's, a column's, and a cell's own.
METHOD_FIELDS = ("bits", "rounding", "error_feedback", "compressor", "algorithm", "plugins")
INNER_FIELDS = (*METHOD_FIELDS, "nodes", "seed")

#: Order of the rows at equal bits.
VARIANT_ORDER = (("stochastic", True), ("stochastic", False), ("nearest", False), ("nearest", True))


@dataclass(frozen=True)
class Method:
    """One row of a table.

    Attributes
    ----------
    label : str
        Such as ``2 bit, stochastic + EF``, or the registry's name of the method.
    bits : int or None
        Magnitude bits b, or 32 for fp32; None for methods of another kind.
    rounding : str or None
    error_feedback : bool
    num_levels : int or None
        s, by the convention of the runs; None for fp32.
    order : tuple
        What identifies the row among those of any group, and its place.
    cells : tuple of Cell
        One for each number of nodes of the table, in its order.
    traffic : Traffic
        Measured bits, averaged over the cells.
    mean_over_nodes : Contrast or None
        Difference of the accuracy from fp32, averaged over the numbers of nodes; None where it is not tested.
    """

    label: str
    bits: int | None
    rounding: str | None
    error_feedback: bool
    order: tuple[Any, ...]
    num_levels: int | None
    cells: tuple[Cell, ...]
    traffic: Traffic
    mean_over_nodes: Contrast | None = None


@dataclass(frozen=True)
class Group:
    """One table's worth of runs.

    Attributes
    ----------
    shared : mapping of str to value
        The configuration fields that all the quantized runs have in common.
    is_current : bool
        False for runs whose key shows another version of the lab's components.
    num_parameters : tuple of int
        Sizes of the model as recorded; one value unless records disagree.
    seeds, nodes : tuple of int
        All that occur, ascending.
    methods : tuple of Method
        In the fixed order: fp32, then bits descending, within them `VARIANT_ORDER`, then other methods.
    margin : float
        How near to each other two accuracies count as alike, in percentage points; fixed before the runs.
    """

    shared: Mapping[str, Any]
    is_current: bool
    num_parameters: tuple[int, ...]
    seeds: tuple[int, ...]
    nodes: tuple[int, ...]
    methods: tuple[Method, ...]
    margin: float = EQUIVALENCE_MARGIN

    @property
    def run_keys(self) -> tuple[str, ...]:
        """Sorted keys of all the runs in the table."""
        return tuple(sorted(key for method in self.methods for cell in method.cells for key in cell.run_keys))


def group_records(
    records: Iterable[RunRecord], margins: Mapping[str, float] = MappingProxyType({})
) -> tuple[Group, ...]:
    """Sort run records into the groups that a table may show together.

    Runs whose configurations differ in anything but method, nodes and seed never share a group. Runs of
    methods without norm and buckets, fp32 among them, join every group that they otherwise agree with.

    Parameters
    ----------
    records : iterable of RunRecord
        In any order.
    margins : mapping of str to float
        Preset -> `Group.margin`, where it is not `statistics.EQUIVALENCE_MARGIN`.

    Returns
    -------
    tuple of Group
        Sorted by preset, data set, model, and then the remaining fields.

    Raises
    ------
    IntegrityError
        If two records of one group are the same method, nodes and seed.
    """
    records = list(records)
    labels = distinct_labels(record.config for record in records)
    members: dict[_Identity, list[RunRecord]] = {}
    baselines: dict[_Identity, list[RunRecord]] = {}
    hosts: dict[_Identity, set[_Identity]] = {}
    for record in records:
        identity = _identity(record, record.config)
        if not record.config.has_quantizer_fields:
            baselines.setdefault(identity, []).append(record)
        else:
            members.setdefault(identity, []).append(record)
            hosts.setdefault(_identity(record, record.config.baseline()), set()).add(identity)
    for identity, runs in baselines.items():
        for host in hosts.get(identity, {identity}):
            members.setdefault(host, []).extend(runs)
    return tuple(
        _group(identity, members[identity], margins, labels) for identity in sorted(members, key=_sort_key)
    )


_Identity = tuple[bool, tuple[tuple[str, Any], ...]]


def _identity(record: RunRecord, config: RunConfig) -> _Identity:
    """Return what a record of this configuration shares with its group: its version, and outer fields."""
    canonical = config.canonical()
    names = (field.name for field in dataclasses.fields(canonical))
    outer = tuple((name, getattr(canonical, name)) for name in names if name not in INNER_FIELDS)
    return not record.is_stale, outer


def _sort_key(identity: _Identity) -> tuple[Any, ...]:
    """Order identities whose fields may be of several types (a bucket size is an integer or a word)."""
    is_current, outer = identity
    return (not is_current, *((type(value).__name__, "" if value is None else value) for _, value in outer))


def _group(
    identity: _Identity,
    records: list[RunRecord],
    margins: Mapping[str, float],
    labels: Mapping[tuple[Any, ...], str],
) -> Group:
    is_current, outer = identity
    shared = dict(outer)
    margin = margins.get(shared["preset"], EQUIVALENCE_MARGIN)
    seeds = tuple(sorted({record.config.seed for record in records}))
    nodes = tuple(sorted({record.config.nodes for record in records}))
    _refuse_duplicates(records)
    rows: dict[tuple[Any, ...], list[RunRecord]] = {}
    for record in records:
        rows.setdefault(method_order(record.config), []).append(record)
    return Group(
        shared=shared,
        is_current=is_current,
        num_parameters=tuple(sorted({record.result["num_parameters"] for record in records})),
        seeds=seeds,
        nodes=nodes,
        methods=_judged(
            [_method(rows[order], nodes, seeds, labels[order]) for order in sorted(rows)],
            margin,
            accuracy_step(records),
        ),
        margin=margin,
    )


def _judged(methods: list[Method], margin: float, step: float) -> tuple[Method, ...]:
    """Return the methods with what the tests say of them and of their cells."""
    baseline = next((i for i, method in enumerate(methods) if method.bits == FULL_PRECISION_BITS), None)
    rows = [method.cells for method in methods]
    means = averaged(rows, baseline, margin, step)
    return tuple(
        dataclasses.replace(method, cells=cells, mean_over_nodes=mean)
        for method, cells, mean in zip(methods, judged(rows, baseline, margin, step), means, strict=True)
    )


def accuracy_step(records: Iterable[RunRecord]) -> float:
    """Return by how many points one test image moves an accuracy, or 0 where the test set's size is unknown.

    The records say how many test images there were; older ones are of data sets whose size is known by name.
    """
    sizes: set[int | None] = set()
    for record in records:
        entry = DATASETS.get(record.config.dataset)
        known = entry.sizes[-1] if entry and not dataset_origins(entry.name) else None
        sizes.add(record.result.get("num_test") or known)
    size = sizes.pop() if len(sizes) == 1 else None
    return 100 / size if size else 0.0


def method_order(config: RunConfig) -> tuple[Any, ...]:
    """Return the sort key of a run's row, which also identifies it among those of any group."""
    variant = (config.rounding or "", config.error_feedback)
    rank = VARIANT_ORDER.index(variant) if variant in VARIANT_ORDER else len(VARIANT_ORDER)
    others = (
        config.algorithm != SYNCHRONOUS,
        config.algorithm,
        config.compressor or "",
        config.collective != ALL_GATHER,
        config.plugins,
    )
    return (
        others[0],
        others[1],
        config.compressor is not None,
        -(config.bits or 0),
        rank,
        *variant,
        *others[2:],
    )


def method_label(config: RunConfig) -> str:
    """Return the row's name: by the registry where it knows the method, else the text of the configuration.

    A table of stored runs needs no plug-in to be loaded.
    """
    if config.compressor is None:
        return config.method
    try:
        label = COMPRESSORS.parse(config.compressor).label
    except ValueError:
        return config.method
    return label + config.method_suffix


def distinct_labels(configs: Iterable[RunConfig]) -> dict[tuple[Any, ...], str]:
    """Return the rows' names by `method_order`, each once.

    Rows of plug-ins that share a name with another row have their text behind it, and where that is the same,
    too, the versions of the plug-ins.
    """
    rows = {method_order(config): config for config in configs}
    by_label: dict[str, list[tuple[Any, ...]]] = {}
    for order, config in rows.items():
        by_label.setdefault(method_label(config.canonical()), []).append(order)
    named = {}
    for label, orders in by_label.items():
        alike = [rows[order] for order in orders]
        for order in orders:
            config = rows[order]
            name = label
            if config.plugins and len({other.method for other in alike}) > 1:
                name += f" [{config.method}]"
            same = [other.plugins for other in alike if other.method == config.method]
            if own := [plugin for plugin in config.plugins if not all(plugin in each for each in same)]:
                name += f" ({', '.join(plugin.partition('=')[2] for plugin in own)})"
            named[order] = name
    return named


def _method(records: list[RunRecord], nodes: tuple[int, ...], seeds: tuple[int, ...], label: str) -> Method:
    config = records[0].config.canonical()
    return Method(
        label=label,
        order=method_order(config),
        bits=config.bits,
        rounding=config.rounding,
        error_feedback=config.error_feedback,
        num_levels=_num_levels(config),
        cells=tuple(cell_of(n, (run for run in records if run.config.nodes == n), seeds) for n in nodes),
        traffic=traffic_of(records),
    )


def _num_levels(config: RunConfig) -> int | None:
    if config.bits is None:
        return None
    try:
        return num_levels(config.bits, config.convention or "magnitude")
    except ValueError:  # fp32, and what a record may claim but no quantizer does
        return None


def _refuse_duplicates(records: list[RunRecord]) -> None:
    seen: dict[RunConfig, str] = {}
    for record in sorted(records, key=lambda record: record.key):
        config = record.config.canonical()
        if config in seen:
            raise IntegrityError(
                f"runs {seen[config]} and {record.key} have the same configuration, so a table cannot tell "
                "which to show; move one of the two folders away"
            )
        seen[config] = record.key

"""Columns of a table, one measure of each cell: name, heading with unit, number, and its printed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from qsgd_lab.report.analysis.cells import FULL_PRECISION_CODE, Cell, Statistic, summarize
from qsgd_lab.report.analysis.communication import (
    Exchange,
    NodeWork,
    compute_seconds,
    counted_runs,
    exchange_of,
    modelled_step,
    node_work,
    pays_between,
    speed_up,
)
from qsgd_lab.report.analysis.grouping import Group, Method
from qsgd_lab.report.tables.entries import (
    MISSING,
    Entry,
    accuracy_entry,
    difference_entry,
    epochs_entry,
    number_entry,
    statistic_entry,
)
from qsgd_lab.report.tables.options import TableOptions
from qsgd_lab.report.tables.units import format_bandwidth, format_pays

if TYPE_CHECKING:
    from qsgd_lab.runs.record import RunRecord

ACCURACY_TITLE = "Test accuracy (%)"
DIFFERENCE_TITLE = "Difference from fp32 (points)"
BYTES_DECIMALS = 2
MILLISECONDS_DECIMALS = 2
SPEED_UP_DECIMALS = 2

#: Unit -> bytes; a panel takes the largest in which all its numbers are at least 1, or 0.
_BYTE_UNITS = {"GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1.0}
#: Parts of a run's time in `RunRecord.timing`, in the order of a step.
_TIME_PARTS = ("compute_s", "quantize_s", "other_s")
#: Seconds of one message, which are not part of the step, in the same place -> heading.
_MESSAGE_TIMES = {
    "encode_message_s": "Encoding one message (ms)",
    "decode_message_s": "Decoding one message (ms)",
}


@dataclass(frozen=True)
class Place:
    """A cell with all that a measure may look at."""

    group: Group
    method: Method
    cell: Cell
    options: TableOptions


@dataclass(frozen=True)
class CellMeasure:
    """One number of each cell.

    Attributes
    ----------
    field : str
        Its name in CSV and JSON, with the unit of `value`.
    title : str
        Its heading, with the unit of `entry`.
    value : callable
        Place -> the unrounded number or statistic; None where there is none.
    entry : callable
        Place -> what is printed.
    is_statistic : bool
        Whether `value` is a mean over the seeds.
    """

    field: str
    title: str
    value: Callable[[Place], Statistic | float | str | None]
    entry: Callable[[Place], Entry]
    is_statistic: bool = False


def cell_measures(show: str, groups: Sequence[Group], options: TableOptions) -> list[CellMeasure]:
    """Return the measures that one of `tables.options.SHOWS` consists of, none for those of methods.

    Parameters
    ----------
    show : str
    groups : sequence of Group
        Those of one table, which share headings and units.
    options : TableOptions
    """
    match show:
        case "accuracy":
            return [_accuracy()]
        case "difference":
            return [_difference()]
        case "epochs":
            return [_epochs(groups)]
        case "traffic":
            return _traffic(groups, options)
        case "time":
            return _time(groups)
        case "network":
            return _network(options)
        case _:
            return []


def target_percent(groups: Sequence[Group]) -> str:
    """Return the target accuracy in percent, as short as it can be written, if all groups have the same."""
    targets = {f"{100 * group.shared['target_accuracy']:g} %" for group in groups}
    return targets.pop() if len(targets) == 1 else "the target"


def _accuracy() -> CellMeasure:
    return CellMeasure(
        "test_accuracy_percent",
        ACCURACY_TITLE,
        lambda place: place.cell.accuracy,
        lambda place: accuracy_entry(place.cell),
        is_statistic=True,
    )


def _difference() -> CellMeasure:
    return CellMeasure(
        "points_above_fp32",
        DIFFERENCE_TITLE,
        lambda place: place.cell.verdict.difference,
        lambda place: difference_entry(place.cell),
        is_statistic=True,
    )


def _epochs(groups: Sequence[Group]) -> CellMeasure:
    # No decimals where no cell is a mean.
    decimals = 0 if all(len(group.seeds) == 1 for group in groups) else 1
    return CellMeasure(
        "epochs_to_target",
        f"Epochs to {target_percent(groups)}",
        lambda place: place.cell.epochs,
        lambda place: epochs_entry(place.cell, decimals),
        is_statistic=True,
    )


def _traffic(groups: Sequence[Group], options: TableOptions) -> list[CellMeasure]:
    values: dict[str, tuple[str, Callable[[Place], float | None]]] = {
        "sent_bytes_per_step": ("Sent per step", _sent_per_step),
        "moved_bytes_per_step": ("Moved per step", _moved_per_step),
        "sent_bytes": ("Sent in all", _sent_in_all),
    }
    places = [
        Place(group, method, cell, options)
        for group in groups
        for method in group.methods
        for cell in method.cells
    ]
    return [_bytes_measure(field, title, value, places) for field, (title, value) in values.items()]


def _bytes_measure(
    field: str, title: str, value: Callable[[Place], float | None], places: Sequence[Place]
) -> CellMeasure:
    smallest = min((count for place in places if (count := value(place))), default=0.0)
    unit = next((unit for unit, size in _BYTE_UNITS.items() if smallest >= size), "B")
    scale = _BYTE_UNITS[unit]

    def entry(place: Place) -> Entry:
        count = value(place)
        return number_entry(None if count is None else count / scale, BYTES_DECIMALS)

    return CellMeasure(field, f"{title} ({unit})", value, entry)


def _sent_per_step(place: Place) -> float | None:
    exchange = exchange_of(place.cell.runs)
    return exchange.message_bytes if exchange else None


def _moved_per_step(place: Place) -> float | None:
    exchange = exchange_of(place.cell.runs)
    return exchange.moved_bytes if exchange else None


def _sent_in_all(place: Place) -> float | None:
    exchange = exchange_of(place.cell.runs)
    if exchange is None:
        return None
    runs = counted_runs(place.cell.runs)
    each = [(exchange_of([run], exchange.code), run.result["steps"]) for run in runs]
    return fmean(own.message_bytes * steps if own else 0.0 for own, steps in each)


def _time(groups: Sequence[Group]) -> list[CellMeasure]:
    recorded = {
        name
        for group in groups
        for method in group.methods
        for cell in method.cells
        for run in cell.runs
        for name in run.timing
    }
    parts = [part for part in _TIME_PARTS if part in recorded]
    titles = {"total_s": "Measured time per step (ms)"} | {
        part: f"Of that, {part.removesuffix('_s')} (ms)" for part in parts
    }
    of_step = [
        _time_measure(f"measured_{part.removesuffix('_s')}_ms_per_step", title, part, is_of_step=True)
        for part, title in titles.items()
    ]
    of_message = [
        _time_measure(f"measured_{part.removesuffix('_s')}_ms", title, part, is_of_step=False)
        for part, title in _MESSAGE_TIMES.items()
        if part in recorded
    ]
    return of_step + of_message


def _time_measure(field: str, title: str, part: str, *, is_of_step: bool) -> CellMeasure:
    def value(place: Place) -> Statistic | None:
        runs = [run for run in place.cell.runs if part in run.timing and run.result["steps"]]
        counts = [run.result["steps"] if is_of_step else 1 for run in runs]
        return summarize([1000 * run.timing[part] / count for run, count in zip(runs, counts, strict=True)])

    return CellMeasure(
        field,
        title,
        value,
        lambda place: statistic_entry(value(place), MILLISECONDS_DECIMALS),
        is_statistic=True,
    )


def _network(options: TableOptions) -> list[CellMeasure]:
    link, overlap = options.link, options.overlap

    def milliseconds(place: Place) -> Statistic | None:
        """Return the model at the cell's medians, and its deviation over runs, each at what it measured."""
        modelled = _modelled(place)
        if modelled is None:
            return None
        total = 1000 * modelled_step(*modelled, link, overlap).total
        single = [one for run in place.cell.runs if (one := _modelled_run(place, run))]
        spread = summarize([1000 * modelled_step(*one, link, overlap).total for one in single])
        return Statistic(total, spread.deviation if spread else None, len(single))

    def gain(place: Place) -> float | None:
        modelled = _modelled(place)
        return speed_up(*modelled, link, overlap) if modelled else None

    return [
        CellMeasure(
            "modelled_ms_per_step",
            "Modelled time per step (ms)",
            milliseconds,
            lambda place: statistic_entry(milliseconds(place), MILLISECONDS_DECIMALS),
            is_statistic=True,
        ),
        CellMeasure(
            "modelled_speed_up",
            "Modelled speed-up",
            gain,
            lambda place: number_entry(gain(place), SPEED_UP_DECIMALS),
        ),
        CellMeasure("pays", "Pays below", _pays, _pays_entry),
    ]


def _modelled(place: Place) -> tuple[Exchange, NodeWork] | None:
    """Return exchange and work of a cell; a node computes the same under every method of its N."""
    compute = place.options.compute
    if compute is None:
        column = place.group.nodes.index(place.cell.nodes)
        compute = compute_seconds(run for method in place.group.methods for run in method.cells[column].runs)
    return _exchange_and_work(place, place.cell.runs, compute)


def _modelled_run(place: Place, run: RunRecord) -> tuple[Exchange, NodeWork] | None:
    """Return exchange and work as one run has measured them."""
    return _exchange_and_work(place, [run], place.options.compute)


def _exchange_and_work(
    place: Place, runs: Sequence[RunRecord], compute: float | None
) -> tuple[Exchange, NodeWork] | None:
    exchange, work = exchange_of(runs), node_work(runs, compute)
    if not exchange or not work:
        return None
    given = place.options.quantize
    is_quantized = exchange.code != FULL_PRECISION_CODE
    return exchange, NodeWork(work.compute, given) if given is not None and is_quantized else work


def _pays(place: Place) -> str | None:
    modelled = _modelled(place)
    if modelled is None or place.method.num_levels is None:
        return None
    return format_pays(pays_between(*modelled, place.options.link.latency))


def _pays_entry(place: Place) -> Entry:
    modelled = _modelled(place)
    if modelled is None or place.method.num_levels is None:
        return Entry(word=MISSING)
    between = pays_between(*modelled, place.options.link.latency)
    words = format_pays(between)
    if between is not None and words.startswith("below"):
        return Entry(word=format_bandwidth(between[1]))
    return Entry(word=words)

"""Published figures beside measured ones: which figure belongs to which row, and what to know about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from qsgd_lab.report.analysis.cells import Statistic
from qsgd_lab.report.analysis.grouping import Group, Method
from qsgd_lab.report.published import PublishedFigure, Source, published_figures
from qsgd_lab.report.tables.columns_by_method import MethodMeasure
from qsgd_lab.report.tables.entries import ACCURACY_DECIMALS, Entry, count_entry, statistic_entry
from qsgd_lab.runs.config import FULL_PRECISION_BITS

#: Sources that quantized with error feedback, or meant to.
_WITH_ERROR_FEEDBACK = frozenset({"2023 report"})


def published_measures(groups: Sequence[Group]) -> list[MethodMeasure]:
    """Return accuracy, and epochs where they were published, of each source that knows one of the models."""
    found: list[MethodMeasure] = []
    for source in _sources(groups):
        span = f"Published: {source.name}"
        found.append(_measure(source, span, "accuracy (%)", _accuracy))
        if any(figure.epochs for group in groups for figure in _figures(group, source)):
            found.append(_measure(source, span, "epochs", _epochs))
    return found


def published_notes(groups: Sequence[Group]) -> Iterator[str]:
    """Yield where the published figures come from, and what keeps them from being compared without care."""
    sources = _sources(groups)
    for source in sources:
        shown = [
            figure
            for group in groups
            for method in group.methods
            if (figure := figure_for(source, group, method))
        ]
        remarks = dict.fromkeys(figure.note for figure in shown if figure.note)
        nodes = sorted({figure.nodes for figure in shown if figure.nodes})
        count = [f"N = {', '.join(map(str, nodes))}"] if nodes else []
        written = "; ".join([source.reference, *count, *remarks])
        yield f"Published, not measured here, {source.name}: {written}."
    if not sources:
        yield "No published figure is known for this model on these data."


def published_figures_of(group: Group) -> list[dict[str, Any]]:
    """Return the figures of a group's model as JSON-ready values, each with the method whose row it is in."""
    return [
        {
            "method": method.label,
            "source": source.name,
            "reference": source.reference,
            "accuracy_percent": figure.accuracy,
            "accuracy_percent_std": figure.deviation,
            "num_runs": figure.num_runs,
            "is_best_of_runs": figure.is_best,
            "nodes": figure.nodes,
            "num_levels": figure.num_levels,
            "epochs": figure.epochs,
            "note": figure.note,
        }
        for source in _sources([group])
        for method in group.methods
        if (figure := figure_for(source, group, method))
    ]


def figure_for(source: Source, group: Group, method: Method) -> PublishedFigure | None:
    """Return the figure of ``source`` that belongs in a row: a mean rather than a best, None without one.

    The row of a quantized figure is that of stochastic rounding with the same number of levels, with error
    feedback as the source had it if there is such a row.
    """
    candidates = [figure for figure in _figures(group, source) if _row_of(figure, group) is method]
    return min(candidates, key=lambda figure: figure.is_best, default=None)


def _row_of(figure: PublishedFigure, group: Group) -> Method | None:
    wanted = figure.source.name in _WITH_ERROR_FEEDBACK
    rows = [method for method in group.methods if _is_alike(figure, method)]
    return min(rows, key=lambda method: method.error_feedback != wanted, default=None)


def _is_alike(figure: PublishedFigure, method: Method) -> bool:
    if FULL_PRECISION_BITS in (figure.bits, method.bits):
        return figure.bits == method.bits
    if method.rounding != "stochastic" or figure.num_levels is None:
        return False
    # A source whose bits are a magnitude's, as the lab's are, may have one level more at the same bits.
    means_magnitude = figure.num_levels in (2**figure.bits - 1, 2**figure.bits)
    return method.bits == figure.bits if means_magnitude else method.num_levels == figure.num_levels


def _sources(groups: Sequence[Group]) -> list[Source]:
    """Return the sources with a figure in some row, in the order of the data."""
    figures = (figure for group in groups for figure in _figures(group) if _row_of(figure, group))
    return list(dict.fromkeys(figure.source for figure in figures))


def _figures(group: Group, source: Source | None = None) -> list[PublishedFigure]:
    figures = published_figures(group.shared["dataset"], group.shared["model"])
    return [figure for figure in figures if source in (None, figure.source)]


def _measure(
    source: Source, span: str, heading: str, entry: Callable[[PublishedFigure | None], Entry]
) -> MethodMeasure:
    def show(group: Group, method: Method) -> Entry:
        return entry(figure_for(source, group, method))

    return MethodMeasure("published", heading, span, _no_number, show, is_of_model=True)


def _no_number(_group: Group, _method: Method) -> None:
    return None


def _accuracy(figure: PublishedFigure | None) -> Entry:
    if figure is None:
        return statistic_entry(None, ACCURACY_DECIMALS)
    return statistic_entry(Statistic(figure.accuracy, figure.deviation, figure.num_runs), ACCURACY_DECIMALS)


def _epochs(figure: PublishedFigure | None) -> Entry:
    return count_entry(figure.epochs if figure else None)

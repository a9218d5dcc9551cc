"""Columns of a table, one measure of each method: its levels, and the bits that it sends under every code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from qsgd_lab.report.analysis.cells import ELIAS_CODES, FULL_PRECISION_CODE
from qsgd_lab.report.analysis.communication import WHOLE_MESSAGE, mean_bits
from qsgd_lab.report.analysis.grouping import Group, Method
from qsgd_lab.report.tables.columns_by_cell import DIFFERENCE_TITLE
from qsgd_lab.report.tables.entries import (
    Entry,
    bits_entry,
    count_entry,
    mean_difference_entry,
    ratio_entry,
)
from qsgd_lab.runs.config import FULL_PRECISION_BITS

BITS_TITLE = "Bits/coord."
FIXED_CODE = "fixed"
#: The codes in their order as columns; others follow by name.
_CODE_ORDER = (FIXED_CODE, *ELIAS_CODES, "auto")


@dataclass(frozen=True)
class MethodMeasure:
    """One number of each method, averaged over its numbers of nodes.

    Attributes
    ----------
    field : str
        Its name in CSV and JSON.
    heading, span : str
        Its heading, and the one above that it shares with its neighbours; empty where there is none.
    value, entry : callable
        Group and method -> the unrounded number, and what is printed.
    is_of_model : bool
        Whether it is known of the model, whatever the setting of the runs.
    """

    field: str
    heading: str
    span: str
    value: Callable[[Group, Method], float | int | None]
    entry: Callable[[Group, Method], Entry]
    is_of_model: bool = False


#: Levels; bits at fixed width, under the shortest Elias code and in whole messages; the compression ratio.
BITS_MEASURES = (
    MethodMeasure("num_levels", "s", "", lambda _, m: m.num_levels, lambda _, m: count_entry(m.num_levels)),
    MethodMeasure(
        "fixed_bits_per_coordinate",
        "fixed",
        BITS_TITLE,
        lambda _, m: m.traffic.fixed,
        lambda _, m: bits_entry(m.traffic.fixed),
    ),
    MethodMeasure(
        "elias_bits_per_coordinate",
        "Elias",
        BITS_TITLE,
        lambda _, m: m.traffic.elias,
        lambda _, m: bits_entry(m.traffic.elias, m.traffic.elias_code),
    ),
    MethodMeasure(
        f"{WHOLE_MESSAGE}_bits_per_coordinate",
        "sent",
        BITS_TITLE,
        lambda _, m: m.traffic.sent,
        lambda _, m: bits_entry(m.traffic.sent),
    ),
    MethodMeasure(
        "compression_ratio",
        "Ratio",
        "",
        lambda _, m: m.traffic.ratio,
        lambda _, m: ratio_entry(m.traffic.ratio),
    ),
)

MEAN_DIFFERENCE = MethodMeasure(
    "points_above_fp32_mean_over_nodes",
    "mean over N",
    DIFFERENCE_TITLE,
    lambda _, m: m.mean_over_nodes.difference if m.mean_over_nodes else None,
    lambda _, m: mean_difference_entry(m.mean_over_nodes),
)


def method_measures(show: str, groups: Sequence[Group]) -> Sequence[MethodMeasure]:
    """Return the measures of methods in one of `qsgd_lab.report.tables.options.SHOWS`."""
    if show == "difference":
        has_means = any(method.mean_over_nodes for group in groups for method in group.methods)
        return [MEAN_DIFFERENCE] if has_means else []
    if show == "bits":
        return [m for m in BITS_MEASURES if m.heading != "sent" or measured_messages(groups)]
    return [_code_measure(code) for code in codes_of(groups)] if show == "codes" else []


def measured_messages(groups: Sequence[Group]) -> bool:
    """Whether some quantized method has the length of whole messages."""
    return any(m.traffic.sent and m.bits != FULL_PRECISION_BITS for group in groups for m in group.methods)


def codes_of(groups: Sequence[Group]) -> list[str]:
    """Return the codes whose lengths some run has recorded, in their usual order; fp32 is not a code."""
    recorded = {
        code
        for group in groups
        for method in group.methods
        for cell in method.cells
        for run in cell.runs
        for code in run.result["bits_per_coordinate"]
    }
    usual = [code for code in _CODE_ORDER if code in recorded]
    # Where all runs are fp32 their 32 bits are shown under fixed width, so that the table has a column.
    return usual + sorted(recorded - {*_CODE_ORDER, FULL_PRECISION_CODE}) or [FIXED_CODE]


def _code_measure(code: str) -> MethodMeasure:
    value = partial(_bits, code)
    return MethodMeasure(
        f"{code}_bits_per_coordinate", code, BITS_TITLE, value, lambda group, m: bits_entry(value(group, m))
    )


def _bits(code: str, _group: Group, method: Method) -> float | None:
    bits = mean_bits(run for cell in method.cells for run in cell.runs)
    if code == FIXED_CODE and FULL_PRECISION_CODE in bits:
        return bits[FULL_PRECISION_CODE]
    return bits.get(code)

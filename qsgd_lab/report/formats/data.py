"""CSV and JSON: the printed numbers beside the unrounded ones, seed by seed, and the runs they come from."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import qsgd_lab
from qsgd_lab.report.analysis.cells import Cell, Statistic
from qsgd_lab.report.analysis.grouping import Group, Method
from qsgd_lab.report.analysis.verdict import Contrast
from qsgd_lab.report.tables.columns_by_cell import CellMeasure, Place, cell_measures
from qsgd_lab.report.tables.columns_by_method import BITS_MEASURES, method_measures
from qsgd_lab.report.tables.columns_published import published_figures_of
from qsgd_lab.report.tables.entries import MISSING, difference_entry, mean_difference_entry
from qsgd_lab.report.tables.layout import Table, lay_out
from qsgd_lab.report.tables.options import (
    DEFAULT_OPTIONS,
    DEFAULT_SHOW,
    DIFFERENCE,
    TIMED_SHOWS,
    TableOptions,
)

#: Raise when a field of the JSON document changes its name or meaning.
JSON_SCHEMA = 2

#: How the printed forms of these are named, apart from the unrounded ones.
_PRINTED_NAMES = {
    "fixed_bits_per_coordinate": "printed_fixed_bits",
    "elias_bits_per_coordinate": "printed_elias_bits",
    "compression_ratio": "printed_ratio",
}


def write_json(groups: Sequence[Group], options: TableOptions = DEFAULT_OPTIONS) -> str:
    """Return one document: ``{"schema", "made_by", "tables": [{"config", "methods": [{"cells"}]}]}``.

    There is an object a group whatever `options.by` says. Numbers are unrounded; beside each, ``printed_...``
    is the string that the other formats show. Accuracies are percentages. What does not exist is null.
    """
    by_nodes = _by_nodes(options)
    document = {
        "schema": JSON_SCHEMA,
        "made_by": f"qsgd-lab {qsgd_lab.__version__} table",
        "tables": [_table(table, by_nodes) for table in lay_out(groups, by_nodes)],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_csv(groups: Sequence[Group], options: TableOptions = DEFAULT_OPTIONS) -> str:
    """Return one line a cell, of all the groups, with the configuration that its group shares.

    ``printed_...`` are the strings that the other formats show; ``..._by_seed`` has a value a seed, in the
    order of ``seeds``; lists are joined by spaces.
    """
    rows = [row for group in groups for row in _csv_rows(group, groups, _by_nodes(options))]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().replace("\r\n", "\n")


def _by_nodes(options: TableOptions) -> TableOptions:
    """Return what these formats show: the usual, and what else was asked for."""
    show = tuple(dict.fromkeys((*DEFAULT_SHOW, *options.show)))
    return dataclasses.replace(options, show=show, by="nodes", style="siunitx")


def _table(table: Table, options: TableOptions) -> dict[str, Any]:
    (group,) = table.groups
    published = {"published": published_figures_of(group)} if options.published else {}
    return {
        "caption": table.caption,
        "notes": list(table.notes),
        "config": dict(group.shared),
        "is_stale": not group.is_current,
        "margin_points": group.margin,
        "num_parameters": list(group.num_parameters),
        "seeds": list(group.seeds),
        "nodes": list(group.nodes),
        **published,
        "methods": [
            {
                **_method_fields(group, method, [group], options),
                "cells": [_cell(Place(group, method, cell, options)) for cell in method.cells],
            }
            for method in group.methods
        ],
    }


def _method_fields(
    group: Group, method: Method, groups: Sequence[Group], options: TableOptions
) -> dict[str, Any]:
    measures = {m.field: m for m in BITS_MEASURES}
    if "codes" in options.show:
        measures |= {m.field: m for m in method_measures("codes", groups)}
    printed = [field for field in measures if field != "num_levels"]
    return {
        "method": method.label,
        "bits": method.bits,
        "rounding": method.rounding,
        "error_feedback": method.error_feedback,
        **{field: measure.value(group, method) for field, measure in measures.items()},
        "elias_code": method.traffic.elias_code,
        **_mean_over_nodes(method),
        **{
            _PRINTED_NAMES.get(field, f"printed_{field}"): measures[field].entry(group, method).number
            for field in printed
        },
    }


def _cell(place: Place) -> dict[str, Any]:
    cell, options = place.cell, place.options
    timed = bool(TIMED_SHOWS & set(options.show))
    # The difference from fp32 is in any case there, with all that the tests found.
    shows = [show for show in options.show if show != DIFFERENCE]
    measures = [m for show in shows for m in cell_measures(show, [place.group], options)]
    return {
        "nodes": cell.nodes,
        "state": _state(cell),
        "num_seeds": cell.num_seeds,
        "num_diverged": cell.num_diverged,
        "num_reached": cell.num_reached,
        "seeds": list(cell.seeds),
        "missing_seeds": list(cell.missing_seeds),
        **{name: value for measure in measures for name, value in _measured(measure, place).items()},
        **_verdict(place.group, cell),
        "run_keys": list(cell.run_keys),
        "runs": [_run(run, timed) for run in cell.runs],
    }


def _measured(measure: CellMeasure, place: Place) -> dict[str, Any]:
    value = measure.value(place)
    printed = {f"printed_{measure.field}": measure.entry(place).number}
    if isinstance(value, Statistic):
        return {f"{measure.field}_mean": value.mean, f"{measure.field}_std": value.deviation} | printed
    if measure.is_statistic:
        return {f"{measure.field}_mean": None, f"{measure.field}_std": None} | printed
    return {measure.field: value} | printed


def _verdict(group: Group, cell: Cell) -> dict[str, Any]:
    verdict = cell.verdict
    blocker = None if verdict.blocked_by is None else group.methods[verdict.blocked_by].label
    return {
        "test_against_fp32": verdict.test or None,
        "printed_difference": difference_entry(cell).number,
        **_contrast(verdict),
        "p_divergence": verdict.p_divergence,
        "p_divergence_holm": verdict.p_divergence_holm,
        "claim": verdict.claim,
        "p_not_near": verdict.p_not_near,
        "p_not_near_holm": verdict.p_not_near_holm,
        "p_beaten": verdict.p_beaten,
        "blocked_by": blocker,
        "is_bold": verdict.is_bold,
    }


def _contrast(contrast: Contrast | None) -> dict[str, Any]:
    """Return a difference from fp32 in points, with its 95 % interval and p-values; null where not tested."""
    comparison = contrast.comparison if contrast else None
    low, high = (contrast.interval if contrast else None) or (None, None)
    return {
        "points_above_fp32": comparison.difference if comparison else None,
        "interval_low": low,
        "interval_high": high,
        "num_pairs": comparison.num_pairs if comparison else None,
        "seeds_below": comparison.num_below if comparison else None,
        "seeds_above": comparison.num_above if comparison else None,
        "p_different": comparison.p_different if comparison else None,
        "p_different_holm": contrast.p_different_holm if contrast else None,
        "p_not_equivalent": comparison.p_not_equivalent if comparison else None,
        "p_not_equivalent_holm": contrast.p_not_equivalent_holm if contrast else None,
    }


def _mean_over_nodes(method: Method) -> dict[str, Any]:
    """Return the test of a method's mean over N, each field's name led by ``mean_over_nodes``."""
    mean = method.mean_over_nodes
    fields = {
        "printed_difference": mean_difference_entry(mean).number,
        **_contrast(mean),
        "claim": mean.claim if mean else None,
    }
    return {f"mean_over_nodes_{name}": value for name, value in fields.items()}


def _run(run: Any, timed: bool) -> dict[str, Any]:
    result = run.result
    fields = {
        "key": run.key,
        "seed": run.config.seed,
        "status": run.status,
        "test_accuracy_percent": 100 * result["test_accuracy"],
        "validation_accuracy_percent": 100 * result["validation_accuracy"],
        "best_epoch": result["best_epoch"],
        "epochs_to_target": result["epochs_to_target"],
        "steps_to_target": result["steps_to_target"],
        "steps": result["steps"],
        "bits_per_coordinate": dict(sorted(result["bits_per_coordinate"].items())),
    }
    return fields | ({"timing": dict(sorted(run.timing.items()))} if timed else {})


def _state(cell: Cell) -> str:
    """Return ``missing``, ``diverged`` (every seed), ``some diverged`` or ``done``."""
    if not cell.seeds:
        return "missing"
    if cell.all_diverged:
        return "diverged"
    return "some diverged" if cell.num_diverged else "done"


def _csv_rows(group: Group, groups: Sequence[Group], options: TableOptions) -> Iterator[dict[str, Any]]:
    shared = {**group.shared, "is_stale": not group.is_current, "num_parameters": list(group.num_parameters)}
    published = _published_fields(group) if options.published else {}
    for method in group.methods:
        for cell in method.cells:
            fields = _cell(Place(group, method, cell, options))
            runs = fields.pop("runs")
            by_seed = {
                f"{name}_by_seed": [MISSING if run[name] is None else run[name] for run in runs]
                for name in ("status", "test_accuracy_percent", "epochs_to_target")
            }
            row = {
                **shared,
                **_method_fields(group, method, groups, options),
                **fields,
                **by_seed,
                **published.get(method.label, {}),
            }
            yield {name: _joined(value) for name, value in row.items()}


def _published_fields(group: Group) -> dict[str, dict[str, float]]:
    """Return for each method's label the published accuracies, a field a source."""
    found: dict[str, dict[str, float]] = {}
    for figure in published_figures_of(group):
        source = re.sub(r"\W+", "_", figure["source"].lower()).strip("_")
        name = f"published_{source}_accuracy_percent"
        found.setdefault(figure["method"], {})[name] = figure["accuracy_percent"]
    return found


def _joined(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value

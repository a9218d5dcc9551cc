"""The rows that ``qsgd-lab link`` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qsgd_lab.cli.measure.rows_output import Table, as_csv, as_json, as_latex, as_text
from qsgd_lab.report.analysis.link import Question, Row
from qsgd_lab.report.tables.units import format_bandwidth, format_bytes, format_pays, format_seconds


def render(rows: Sequence[Row], question: Question, format_name: str) -> str:
    """Return the rows as ``text``, ``json``, ``csv`` or ``latex``, ending in a newline."""
    if format_name in ("json", "csv"):
        records = [_record(row, question) for row in rows]
        return (as_json if format_name == "json" else as_csv)(records)
    table = _table(rows, two_level=question.network.devices > 1)
    if format_name == "latex":
        return as_latex(table, command="link", caption=describe(question))
    return as_text([describe(question), table, _warning(rows, question)])


def _record(row: Row, question: Question) -> dict[str, object]:
    network, step = question.network, question.step
    low, high = row.pays if row.pays is not None else (None, None)
    return {
        "nodes": row.nodes,
        "devices_per_machine": network.devices,
        "parameters": question.parameters,
        "sends": row.sends,
        "bits_per_coordinate": row.bits_per_coordinate,
        "collective": row.collective,
        "level": row.level,
        "link_bytes": row.link_bytes,
        "inner_bytes": row.inner_bytes,
        "network_s": row.network_s,
        "step_s": row.step_s,
        "speed_up": row.speed_up,
        "is_faster": row.speed_up > 1,
        "pays_above_bytes_per_s": low,
        "pays_below_bytes_per_s": None if high is None or math.isinf(high) else high,
        "pays": format_pays(row.pays),
        "bandwidth_bytes_per_s": network.bandwidth,
        "latency_s": network.latency,
        "compute_s": step.compute,
        "quantize_s": step.extra,
        "overlap": step.overlap,
    }


def _table(rows: Sequence[Row], *, two_level: bool) -> Table:
    levels = ["level"] if two_level else []
    header = ["N", "sends", "collective", *levels, "on the link", "network", "step", "speed-up", "pays"]
    cells = [
        [
            str(row.nodes),
            row.sends,
            row.collective,
            *([row.level] if two_level else []),
            format_bytes(row.link_bytes),
            format_seconds(row.network_s),
            format_seconds(row.step_s),
            f"{row.speed_up:.3g}",
            format_pays(row.pays),
        ]
        for row in rows
    ]
    return Table(header, cells, left=(1, 2, *([3] if two_level else []), -1), keys=3)


def describe(question: Question) -> str:
    """Return the conditions in a sentence."""
    network, step = question.network, question.step
    machines = ""
    if network.devices > 1:
        machines = (
            f"; machines of {network.devices} devices, {format_bandwidth(network.inner_bandwidth)} and "
            f"{format_seconds(network.inner_latency)} within"
        )
    overlap = ", nothing overlapped"
    if step.overlap == 1:
        overlap = ", all of it overlapped by the network"
    elif step.overlap:
        overlap = f", {100 * step.overlap:.3g} % of it overlapped by the network"
    return (
        f"{question.parameters} parameters; {format_bandwidth(network.bandwidth)}, "
        f"{format_seconds(network.latency)} a message{machines}; compute {format_seconds(step.compute)}"
        f"{overlap}; quantizing {format_seconds(step.extra)}. Modelled, not measured."
    )


def _warning(rows: Sequence[Row], question: Question) -> str:
    """Return what a reader must not miss: where quantizing does not pay, and what is left out."""
    lines = []
    for nodes in dict.fromkeys(row.nodes for row in rows):
        quantized = [row for row in rows if row.nodes == nodes and row.sends.endswith("bit")]
        best = max(quantized, key=lambda row: row.speed_up)
        if best.speed_up <= 1:
            lines.append(
                f"N = {nodes}: a loss is to be expected; no row of bits is faster than float32 here."
            )
    if not question.step.extra:
        lines.append("What quantizing and coding take is left out (--quantize); on fast links it decides.")
    return "\n".join(lines) or "Two-phase rounds twice; its effect on accuracy is not modelled."

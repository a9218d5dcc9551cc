"""How ``qsgd-lab link measure`` prints its rows."""

from __future__ import annotations

from qsgd_lab.cli.measure.rows_output import NONE, Table, as_csv, as_json, as_latex, as_text
from qsgd_lab.link_lab.measurement import Measured, Outcome
from qsgd_lab.report.tables.units import format_bandwidth, format_bytes, format_seconds


def render(outcome: Outcome, format_name: str) -> str:
    """Return the rows as ``text``, ``json``, ``csv`` or ``latex``, ending in a newline."""
    if format_name in ("json", "csv"):
        records = [_record(row, outcome) for row in outcome.rows]
        return (as_json if format_name == "json" else as_csv)(records)
    table = _table(outcome)
    if format_name == "latex":
        return as_latex(table, command="link measure", caption=_describe(outcome))
    return as_text([_describe(outcome), table, _warning(outcome)])


def _record(row: Measured, outcome: Outcome) -> dict[str, object]:
    asked = outcome.asked
    return {
        **row._asdict(),
        "speed_up": outcome.speed_up(row),
        "nodes": asked.nodes,
        "bandwidth_bytes_per_s": asked.bandwidth,
        "model": asked.model,
        "batch": asked.batch,
        "parameters": outcome.parameters,
        "compute_s": outcome.compute_s,
        "latency_s": outcome.latency_s,
        "load": outcome.load,
        "cores": outcome.cores,
        "is_calm": outcome.is_calm,
    }


def _table(outcome: Outcome) -> Table:
    times = ["step", "±", "least", "modelled", "processor"]
    header = ["method", "n", *times, "sent", "counted", "formula", "speed-up"]
    cells = [
        [
            row.method.replace(":", " bit, ", 1).replace(":", ", "),
            str(row.steps),
            format_seconds(row.median_s),
            format_seconds(row.deviation_s),
            format_seconds(row.least_s),
            NONE if row.modelled_s is None else format_seconds(row.modelled_s),
            format_seconds(row.processor_s),
            format_bytes(row.sent_bytes),
            NONE if row.counted_bytes is None else format_bytes(row.counted_bytes),
            NONE if row.modelled_bytes is None else format_bytes(row.modelled_bytes),
            NONE if (ratio := outcome.speed_up(row)) is None else f"{ratio:.2f}",
        ]
        for row in outcome.rows
    ]
    return Table(header, cells, left=(0,), keys=1)


def _describe(outcome: Outcome) -> str:
    asked = outcome.asked
    rate = "loopback" if asked.bandwidth is None else f"links of {format_bandwidth(asked.bandwidth)}"
    return (
        f"{asked.nodes} processes, {rate}, {format_seconds(outcome.latency_s)} a message; {asked.model}, "
        f"{outcome.parameters} parameters, {asked.batch} images a process; a step without exchange "
        f"{format_seconds(outcome.compute_s)}. Medians of the slowest rank; {outcome.cores} cores, of "
        f"which others used {outcome.load:.1f}."
    )


def _warning(outcome: Outcome) -> str:
    lines = []
    if not outcome.is_calm:
        lines.append(
            f"No ratios: others used {outcome.load:.1f} of {outcome.cores} cores, which is too much beside "
            f"{outcome.asked.nodes} processes, and times are of the load."
        )
    unequal = [row.method for row in outcome.rows if not row.is_equal]
    if unequal:
        lines.append(f"Ranks ended with different parameters under: {', '.join(unequal)}.")
    return "\n".join(lines)

"""Where the time of a step goes, measured and modelled, and where quantization starts to pay."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from paper_runs import PaperRuns

from qsgd_lab.report.analysis.communication import (
    Exchange,
    Link,
    NodeWork,
    compute_seconds,
    exchange_of,
    node_work,
    pays_between,
    speed_up,
)
from qsgd_lab.report.formats.latex import escape
from qsgd_lab.report.tables.entries import rounded
from qsgd_lab.report.tables.units import format_bandwidth, format_pays

LATENCY = 50e-6
#: Bytes a second of the links that the table shows.
BANDWIDTHS = (1.25e7, 1.25e8, 1.25e9)


def step_milliseconds(runs: PaperRuns, part: str, nodes: int) -> float | None:
    """Return the median milliseconds a step of one part of the timing, over all methods at one N."""
    times = [
        1e3 * record.timing[part] / record.result["steps"]
        for record in runs.in_group
        if record.config.nodes == nodes and part in record.timing and record.result["steps"]
    ]
    return statistics.median(times) if times else None


def quantize_shares(runs: PaperRuns, nodes: int) -> list[float]:
    """Return, for each quantized method, its median time of quantizing over that of forward and backward."""
    shares = []
    for method in runs.quantized:
        records = [r for r in runs.of(method.label, nodes) if {"quantize_s", "compute_s"} <= r.timing.keys()]
        if records:
            ratios = [record.timing["quantize_s"] / record.timing["compute_s"] for record in records]
            shares.append(statistics.median(ratios))
    return shares


def modelled(runs: PaperRuns, label: str, nodes: int) -> tuple[Exchange, NodeWork] | None:
    """Return how a method's nodes exchange and work, or None where that was not measured."""
    records = runs.of(label, nodes)
    exchange = exchange_of(records)
    methods = {method.label for method in runs.modelled}
    compute = compute_seconds(
        run for run in runs.in_group if run.config.nodes == nodes and run.config.method in methods
    )
    work = node_work(records, compute)
    return (exchange, work) if exchange and work else None


def speed_table(runs: PaperRuns) -> str:
    """Return modelled speed-ups and the bandwidths at which quantization pays as a LaTeX float."""
    several = [nodes for nodes in runs.group.nodes if nodes > 1]
    ends = list(dict.fromkeys([several[0], several[-1]])) if several else []
    rows = [_row(runs, method.label, method.bits, ends) for method in runs.with_feedback]
    links = " & ".join(_short(format_bandwidth(width)) for width in BANDWIDTHS)
    counts = "".join(f" & $N = {nodes}$" for nodes in ends)
    last = 1 + len(BANDWIDTHS)
    most = ends[-1] if ends else runs.group.nodes[-1]
    spread = " r" * (len(BANDWIDTHS) + len(ends))
    return "\n".join(
        [
            r"\begin{table}[tbp]",
            r"\centering",
            rf"\caption{{Modelled step of {escape(runs.group.shared['model'])}, stochastic rounding with "
            rf"feedback: speed-up over float32 at $N = {most}$ by bandwidth, and the bandwidths at which "
            rf"quantization pays (bit/s; latency {LATENCY * 1e6:g}~$\mu$s a message).}}",
            r"\label{tab:speed}",
            r"\footnotesize",
            r"\setlength{\tabcolsep}{0pt}",
            rf"\begin{{tabular*}}{{\columnwidth}}{{@{{\extracolsep{{\fill}}}}l{spread}@{{}}}}",
            r"\toprule",
            rf"& \multicolumn{{{len(BANDWIDTHS)}}}{{c}}{{Speed-up, $N = {most}$}}"
            + (rf" & \multicolumn{{{len(ends)}}}{{c}}{{Pays}}" if ends else "")
            + r" \\",
            rf"\cmidrule(lr){{2-{last}}}"
            + (rf" \cmidrule(l){{{last + 1}-{last + len(ends)}}}" if ends else ""),
            rf"$b$ & {links}{counts} \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular*}",
            r"\end{table}",
            "",
        ]
    )


def _row(runs: PaperRuns, label: str, bits: int, ends: Sequence[int]) -> str:
    most = modelled(runs, label, ends[-1]) if ends else None
    gains = [rounded(speed_up(*most, Link(width, LATENCY)), 2) if most else "--" for width in BANDWIDTHS]
    pays = [
        _short(format_pays(pays_between(*found, LATENCY)))
        if (found := modelled(runs, label, nodes))
        else "--"
        for nodes in ends
    ]
    return f"{bits} & {' & '.join([*gains, *pays])} " + r"\\"


def _short(text: str) -> str:
    """Return a bandwidth without the unit that the caption names, its space kept from breaking."""
    return text.removesuffix("bit/s").replace(" ", "~")

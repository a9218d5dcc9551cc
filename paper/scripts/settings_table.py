"""Training in the configuration of QSGD's theorems and in that of its experiments, by the same code.

The runs are in paper/setting-runs.jsonl. The commands that made them differ in norm and buckets alone::

    qsgd-lab reproduce --bits 2,4,8 --no-error-feedback --nodes 1,8 --seeds 0..4 --norm l2 --bucket-size model
    qsgd-lab reproduce --bits 2,4,8 --no-error-feedback --nodes 1,8 --seeds 0..4 --norm max --bucket-size 512
"""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

from paper_runs import PAPER
from quantizer_table import significant

from qsgd_lab.compressors import QSGD
from qsgd_lab.report.analysis.grouping import Group, Method, group_records
from qsgd_lab.report.formats.latex_numbers import cells
from qsgd_lab.report.tables.entries import Entry, accuracy_entry, bits_entry
from qsgd_lab.runs.store import RunStore

SETTING_RUNS = PAPER / "setting-runs.jsonl"
THEOREMS, EXPERIMENTS = "l2", "max"


@cache
def settings(store: Path = SETTING_RUNS) -> dict[str, Group]:
    """Return the groups of runs by norm."""
    return {group.shared["norm"]: group for group in group_records(RunStore(store).records())}


def quantized(norm: str) -> list[Method]:
    """Return the rows of one configuration but float32's, from the most bits down."""
    return [method for method in settings()[norm].methods if method.num_levels]


def worst_factor(norm: str, method: Method) -> float:
    """Return the bound of the variance factor of every gradient of the model in this configuration."""
    group = settings()[norm]
    quantizer = QSGD(method.bits, norm=norm, bucket_size=group.shared["bucket_size"])
    return quantizer.variance_factor(group.num_parameters[0])


def settings_table() -> str:
    """Return the comparison as a LaTeX float."""
    theorems, experiments = (settings()[norm] for norm in (THEOREMS, EXPERIMENTS))
    columns: list[list[str]] = [[str(method.bits) for method in quantized(THEOREMS)]]
    columns.append([str(method.num_levels) for method in quantized(THEOREMS)])
    for norm in (THEOREMS, EXPERIMENTS):
        rows = quantized(norm)
        columns.append([significant(worst_factor(norm, method)) for method in rows])
        for place in range(len(theorems.nodes)):
            columns.append(_set([accuracy_entry(method.cells[place]) for method in rows]))
        sent = [m.traffic.sent if norm == THEOREMS else m.traffic.fixed for m in rows]
        columns.append(_set([bits_entry(bits) for bits in sent]))
    lines = [" & ".join(row) + r" \\" for row in zip(*columns, strict=True)]
    width = len(theorems.nodes) + 2
    heads = " & ".join([r"$\omega$", *(f"$N = {count}$" for count in theorems.nodes), "Bits/coord."])
    floats = _set([accuracy_entry(cell) for cell in theorems.methods[0].cells])
    baseline = ", ".join(
        f"{mean} at $N = {count}$" for mean, count in zip(floats, theorems.nodes, strict=True)
    )
    bucket = experiments.shared["bucket_size"]
    return "\n".join(
        [
            r"\begin{table*}[tbp]",
            r"\centering",
            rf"\caption{{Training without feedback in both configurations, {len(theorems.seeds)} seeds: "
            r"variance bound $\omega$ for every gradient, test accuracy (\%), and bits that are sent. "
            rf"Float32 reaches {baseline}; div.: every seed diverged; $\dagger$: some did.}}",
            r"\label{tab:settings}",
            r"\footnotesize",
            rf"\begin{{tabular*}}{{\textwidth}}{{@{{\extracolsep{{\fill}}}}{'r ' * len(columns)}@{{}}}}",
            r"\toprule",
            rf"& & \multicolumn{{{width}}}{{c}}{{Euclidean norm, one bucket, whole messages}} "
            rf"& \multicolumn{{{width}}}{{c}}{{Max norm, buckets of {bucket}, fixed width}} \\",
            rf"\cmidrule(lr){{3-{width + 2}}} \cmidrule(l){{{width + 3}-{2 * width + 2}}}",
            rf"$b$ & $s$ & {heads} & {heads} \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular*}",
            r"\end{table*}",
            "",
        ]
    )


def _set(entries: list[Entry]) -> list[str]:
    """Return entries as LaTeX, none of them bold: nothing is compared here."""
    return cells([dataclasses.replace(entry, bold=False) for entry in entries], "plain")

"""How ``qsgd-lab variance`` prints its rows: text, JSON, CSV and LaTeX of the same figures."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

from qsgd_lab import __version__
from qsgd_lab.theory.checks.quantization import QuantizationCheck

_WIDTH = 100
_NONE = "--"

#: The first columns of the variance table, for stochastic rounding and for nearest, which has no spread.
_HEADERS = {
    "stochastic": ("b", "s", "measured", "± (95 %)", "exact", "least bound", "paper's bound", "bias z"),
    "nearest": ("b", "s", "measured", "exact", "least bound"),
}
_NONZEROS_HEADER = ("b", "s", "measured", "exact", "least bound", "paper's bound", "z")


@dataclass(frozen=True)
class Conditions:
    """What the rows have in common beyond their own fields: the vector's source, the seed, the trials."""

    source: str
    seed: int
    trials: int


def render(checks: Sequence[QuantizationCheck], conditions: Conditions, output_format: str) -> str:
    """Return the rows as ``text``, ``json``, ``csv`` or ``latex``, ending in a newline.

    Parameters
    ----------
    checks : sequence of QuantizationCheck
        At least one, of one vector source.
    conditions : Conditions
    output_format : {"text", "json", "csv", "latex"}
    """
    writers = {"text": _text, "json": _json, "csv": _csv, "latex": _latex}
    return writers[output_format](checks, conditions)


def _records(checks: Sequence[QuantizationCheck], conditions: Conditions) -> list[dict[str, object]]:
    return [{**dataclasses.asdict(check), "source": conditions.source} for check in checks]


def _json(checks: Sequence[QuantizationCheck], conditions: Conditions) -> str:
    return json.dumps(_records(checks, conditions), indent=1, allow_nan=False) + "\n"


def _csv(checks: Sequence[QuantizationCheck], conditions: Conditions) -> str:
    records = _records(checks, conditions)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, records[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def _text(checks: Sequence[QuantizationCheck], conditions: Conditions) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    stream = io.StringIO()
    console = Console(file=stream, width=_WIDTH, highlight=False, markup=False, emoji=False)
    console.print(f"{_describe(checks[0], conditions)}\n{_conclusion(checks)}\n")
    variance = Table(
        *map(_two_lines, _HEADERS[checks[0].rounding]),
        "verdict",
        box=SIMPLE_HEAD,
        title=_spread_name(checks[0]),
    )
    nonzeros = Table(*map(_two_lines, _NONZEROS_HEADER), box=SIMPLE_HEAD, title="Non-zeros, % of coordinates")
    for table in (variance, nonzeros):
        table.title_justify, table.pad_edge = "left", False
        for column in table.columns:
            column.justify, column.no_wrap = "right", True
    variance.columns[-1].justify, variance.columns[-1].no_wrap = "left", False
    for check in checks:
        variance.add_row(*_variance_cells(check), check.verdict)
        nonzeros.add_row(*_nonzeros_cells(check))
    console.print(variance, nonzeros, _legend(checks[0]))
    lines = (line.rstrip() for line in stream.getvalue().splitlines())
    return "\n".join(lines) + "\n"


def _latex(checks: Sequence[QuantizationCheck], conditions: Conditions) -> str:
    from qsgd_lab.report.latex import escape

    header = _HEADERS[checks[0].rounding]
    symbols = {"b": "$b$", "s": "$s$", "bias z": "bias $z$", "± (95 %)": r"$\pm$ (95\,\%)"}
    spread = _spread_name(checks[0]).split(",")[0]
    lines = [
        f"% made by: qsgd-lab {__version__} variance",
        r"% needs: \usepackage{booktabs}",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{spread} $\|Q(v) - v\|^2 / \|v\|^2$: {escape(_describe(checks[0], conditions))}}}",
        rf"\begin{{tabular}}{{{'r' * len(header)}l}}",
        r"\toprule",
        " & ".join((*(symbols.get(name, name) for name in header), "verdict")) + r" \\",
        r"\midrule",
        *(" & ".join((*_variance_cells(check), escape(check.verdict))) + r" \\" for check in checks),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _describe(check: QuantizationCheck, conditions: Conditions) -> str:
    trials = f"{conditions.trials} trials" if check.rounding == "stochastic" else "one trial"
    buckets = "one bucket" if check.bucket_size == check.dim else f"buckets of {check.bucket_size}"
    return (
        f"{conditions.source} vector, {check.dim} coordinates, {buckets}, {check.norm} norm, "
        f"{check.rounding} rounding, {trials}, seed {conditions.seed}"
    )


def _conclusion(checks: Sequence[QuantizationCheck]) -> str:
    failed = [check for check in checks if not check.passed]
    if failed:
        bits = ", ".join(str(check.bits) for check in failed)
        return f"{len(failed)} of {len(checks)} rows FAIL (b = {bits}): see the verdict."
    if checks[0].rounding == "nearest":
        return "Every row has exactly the error of rounding to nearest, and keeps below the bounds."
    return "Every row is unbiased, agrees with its exact value and keeps below the bounds."


def _spread_name(check: QuantizationCheck) -> str:
    name = "variance" if check.rounding == "stochastic" else "squared error"
    return f"Relative {name}, ||Q(v) - v||^2 / ||v||^2"


def _legend(check: QuantizationCheck) -> str:
    lines = [
        "b: magnitude bits, the sign apart; s = 2^b - 1 levels. exact: for this very vector.",
        "least bound: the smallest value that holds for every vector; --distribution worst-case attains it",
        "or nearly. paper's bound: QSGD, Lemma 3.1, for stochastic rounding under the l2 norm:",
        "min(d/s^2, sqrt(d)/s), and s(s + sqrt(d)) non-zeros a bucket of d coordinates.",
    ]
    if check.rounding == "stochastic":
        lines += [
            "± (95 %): half the confidence interval, from the trials alone. z: distance from the exact value",
            "in exact standard deviations (bias z: along the vector itself).",
            "A correct quantizer fails with probability below 10^-6, over all rows together.",
        ]
    return "\n".join(lines)


def _two_lines(header: str) -> str:
    return header.replace(" bound", "\nbound")


def _variance_cells(check: QuantizationCheck) -> tuple[str, ...]:
    start = (str(check.bits), str(check.levels), _figure(check.relative_variance))
    end = (_figure(check.exact), _figure(check.bound_tight))
    if check.rounding == "nearest":
        return (*start, *end)
    half_width = f"{(check.ci_high - check.ci_low) / 2:.1g}"
    return (*start, half_width, *end, _figure(check.bound_paper), _score(check.bias_z))


def _nonzeros_cells(check: QuantizationCheck) -> tuple[str, ...]:
    counts = (check.nonzeros, check.nonzeros_exact, check.nonzeros_bound_tight, check.nonzeros_bound_paper)
    shares = (None if count is None else 100 * count / check.dim for count in counts)
    return (str(check.bits), str(check.levels), *map(_figure, shares), _score(check.nonzeros_z))


def _figure(value: float | None) -> str:
    return _NONE if value is None else f"{value:#.4g}"


def _score(z: float | None) -> str:
    return _NONE if z is None else f"{round(z, 1) + 0.0:.1f}"  # without -0.0

"""The rows of ``qsgd-lab variance`` as text, JSON, CSV and LaTeX of the same figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from qsgd_lab.cli.measure.rows_output import Table, as_csv, as_json, as_latex, as_text, figure, score
from qsgd_lab.theory.checks.quantization import QuantizationCheck

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
    if output_format in ("json", "csv"):
        return (as_json if output_format == "json" else as_csv)(_records(checks, conditions))
    return (_text if output_format == "text" else _latex)(checks, conditions)


def _records(checks: Sequence[QuantizationCheck], conditions: Conditions) -> list[dict[str, object]]:
    return [{**dataclasses.asdict(check), "source": conditions.source} for check in checks]


def _text(checks: Sequence[QuantizationCheck], conditions: Conditions) -> str:
    heading = f"{_describe(checks[0], conditions)}\n{_conclusion(checks)}\n"
    nonzeros = Table(
        _NONZEROS_HEADER, [_nonzeros_cells(check) for check in checks], "Non-zeros, % of coordinates"
    )
    return as_text([heading, _variance_table(checks), nonzeros, _legend(checks[0])])


def _latex(checks: Sequence[QuantizationCheck], conditions: Conditions) -> str:
    from qsgd_lab.report.formats.latex import escape

    spread = _spread_name(checks[0]).split(",")[0]
    return as_latex(
        _variance_table(checks),
        command="variance",
        caption=rf"{spread} $\|Q(v) - v\|^2 / \|v\|^2$: {escape(_describe(checks[0], conditions))}",
        symbols={"b": "$b$", "s": "$s$", "bias z": "bias $z$", "± (95 %)": r"$\pm$ (95\,\%)"},
    )


def _variance_table(checks: Sequence[QuantizationCheck]) -> Table:
    return Table(
        (*_HEADERS[checks[0].rounding], "verdict"),
        [(*_variance_cells(check), check.verdict) for check in checks],
        _spread_name(checks[0]),
        left=(-1,),
    )


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
    return " ".join(lines)


def _variance_cells(check: QuantizationCheck) -> tuple[str, ...]:
    start = (str(check.bits), str(check.levels), figure(check.relative_variance))
    end = (figure(check.exact), figure(check.bound_tight))
    if check.rounding == "nearest":
        return (*start, *end)
    half_width = f"{(check.ci_high - check.ci_low) / 2:.1g}"
    return (*start, half_width, *end, figure(check.bound_paper), score(check.bias_z))


def _nonzeros_cells(check: QuantizationCheck) -> tuple[str, ...]:
    counts = (check.nonzeros, check.nonzeros_exact, check.nonzeros_bound_tight, check.nonzeros_bound_paper)
    shares = (None if count is None else 100 * count / check.dim for count in counts)
    return (str(check.bits), str(check.levels), *map(figure, shares), score(check.nonzeros_z))

"""The rows that ``qsgd-lab convergence`` prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from qsgd_lab.cli.measure.rows_output import Table, as_csv, as_json, as_latex, as_text
from qsgd_lab.theory.checks.convergence import QSVRG, ConvergenceCheck

_SGD_HEADER = (
    "method",
    "s",
    "K",
    "T",
    "gap",
    "bound",
    "gap over; bound",
    "bits a; coord.",
    "verdict",
)
_QSVRG_HEADER = (
    "K",
    "epoch",
    "gap",
    "bound",
    "bits an; epoch",
    "proved bound",
    "paper's bound",
    "verdict",
)


def render(checks: Sequence[ConvergenceCheck], output_format: str) -> str:
    """Return the rows as ``text``, ``json``, ``csv`` or ``latex``, ending in a newline; at least one row."""
    if output_format in ("json", "csv"):
        records = [dataclasses.asdict(check) for check in checks]
        return (as_json if output_format == "json" else as_csv)(records)
    tables = [table for name in _problems(checks) for table in _tables(checks, name) if table.rows]
    if output_format == "latex":
        return "\n".join(_latex(table, checks[0]) for table in tables)
    return as_text([f"{_describe(checks[0])}\n{_conclusion(checks)}\n", *tables, _LEGEND])


def _problems(checks: Sequence[ConvergenceCheck]) -> list[str]:
    return list(dict.fromkeys(check.problem for check in checks))


def _tables(checks: Sequence[ConvergenceCheck], problem: str) -> tuple[Table, Table]:
    rows = [check for check in checks if check.problem == problem]
    sgd = [_sgd_cells(check) for check in rows if check.method != QSVRG]
    qsvrg = [_qsvrg_cells(check) for check in rows if check.method == QSVRG]
    return (
        Table(_SGD_HEADER, sgd, f"{problem}, SGD and QSGD: f - f* at the mean iterate", left=(0, -1), keys=4),
        Table(_QSVRG_HEADER, qsvrg, f"{problem}, QSVRG: f - f* after each epoch", left=(-1,)),
    )


def _describe(check: ConvergenceCheck) -> str:
    return f"Digits, 1797 examples; {check.trials} runs of each method, seed {check.seed}"


def _conclusion(checks: Sequence[ConvergenceCheck]) -> str:
    failed = sum(not check.passed for check in checks)
    return f"{failed} of {len(checks)} rows EXCEED their bound." if failed else "Every row keeps its bound."


def _sgd_cells(check: ConvergenceCheck) -> tuple[str, ...]:
    return (
        check.method,
        "--" if check.levels is None else str(check.levels),
        str(check.workers),
        str(check.steps),
        f"{check.gap:.2e}",
        f"{check.bound:.2e}",
        f"{check.ratio:.3f}",
        f"{check.bits_per_coordinate:.2f}",
        check.verdict,
    )


def _qsvrg_cells(check: ConvergenceCheck) -> tuple[str, ...]:
    return (
        str(check.workers),
        str(check.epoch),
        f"{check.gap:.2e}",
        f"{check.bound:.2e}",
        f"{check.bits:.0f}",
        f"{check.bits_bound:.0f}",
        f"{check.bits_bound_paper:.0f}",
        check.verdict,
    )


def _latex(table: Table, check: ConvergenceCheck) -> str:
    from qsgd_lab.report.formats.latex import escape

    symbols = {"s": "$s$", "K": "$K$", "T": "$T$"}
    caption = f"{escape(table.title)}. {escape(_describe(check))}".replace("f - f*", "$f - f^*$")
    return as_latex(table, command="convergence", caption=caption, symbols=symbols)


_LEGEND = (
    "bound: R sqrt(2 V / (K T)) + L R^2 / T with V = sigma^2 + omega B, all constants from the data; of "
    "QSVRG: rho^epoch times the first gap, rho = 0.875. Printed step: 1 / (L + sqrt(K) / gamma), as in the "
    "paper's parallel theorem, held against the bound of 1 / (L + 1 / (sqrt(K) gamma)). bits an epoch: what "
    "a worker sends, dense omega code, the full gradient in float32; the paper's bound has 2.8 n + 32 a "
    "vector, the proved one 4 n + 32."
)

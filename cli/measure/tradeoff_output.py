"""The rows that ``qsgd-lab tradeoff`` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qsgd_lab.cli.measure.rows_output import NONE, Table, as_csv, as_json, as_latex, as_text, figure
from qsgd_lab.theory.checks.distributions import WORST_CASE
from qsgd_lab.theory.tradeoff import CODES, TradeoffRow

#: The codes of text and LaTeX; JSON and CSV have all.
_SHOWN = ("fixed", "gamma_dense", "omega_dense", "gamma_sparse", "omega_sparse", "ideal")
_BIASED = "*"


@dataclass(frozen=True)
class Conditions:
    """What the rows have in common: the vector's source, its length n, the bucket size d, the seed."""

    source: str
    dim: int
    bucket_size: int
    seed: int

    @property
    def is_worst_case(self) -> bool:
        """Whether the rows are bounds for every vector."""
        return self.source == WORST_CASE


def render(rows: Sequence[TradeoffRow], conditions: Conditions, output_format: str) -> str:
    """Return the rows as ``text``, ``json``, ``csv`` or ``latex``, ending in a newline."""
    if output_format in ("json", "csv"):
        records = [_record(row, conditions) for row in rows]
        return (as_json if output_format == "json" else as_csv)(records)
    if output_format == "latex":
        return as_latex(
            _table(rows),
            command="tradeoff",
            caption=f"Bits a coordinate against relative variance: {describe(conditions)}; "
            f"{_BIASED} marks biased methods, whose figure is a squared error",
        )
    return as_text([describe(conditions), _table(rows), _legend(conditions)])


def _record(row: TradeoffRow, conditions: Conditions) -> dict[str, object]:
    return {
        "method": row.method,
        "setting": row.setting,
        "biased": row.biased,
        "relative_variance": row.error,
        "damped_error": row.damped_error,
        "comparable_variance": _finite(row.comparable_variance),
        "lower_bound": _finite(row.lower_bound),
        **{f"bits_{code}": row.bits.get(code) for code in CODES},
        "dim": conditions.dim,
        "bucket_size": conditions.bucket_size,
        "source": conditions.source,
        "seed": conditions.seed,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _table(rows: Sequence[TradeoffRow]) -> Table:
    header = ("method", "setting", "relative; variance", *(code.replace("_", "; ") for code in _SHOWN))
    return Table((*header, "lower bound"), [_cells(row) for row in rows], left=(0, 1))


def _cells(row: TradeoffRow) -> tuple[str, ...]:
    mark = _BIASED if row.biased else ""
    return (
        row.method,
        row.setting,
        figure(row.error) + mark,
        *(_bits(row.bits.get(code)) for code in _SHOWN),
        _bits(row.lower_bound),
    )


def _bits(value: float | None) -> str:
    return NONE if value is None or not math.isfinite(value) else f"{value:.3f}"


def describe(conditions: Conditions) -> str:
    """Return what the rows are about, in one line."""
    buckets = (
        "one bucket" if conditions.bucket_size == conditions.dim else f"buckets of {conditions.bucket_size}"
    )
    if conditions.is_worst_case:
        return f"upper bounds for every vector of {conditions.dim} coordinates, {buckets}"
    drawn = f", seed {conditions.seed}" if not conditions.source.endswith(".npy") else ""
    return f"{conditions.source} vector, {conditions.dim} coordinates, {buckets}{drawn}"


def _legend(conditions: Conditions) -> str:
    what = "of this vector, exactly" if not conditions.is_worst_case else "at most, for every vector"
    ideal = "ideal: the entropy of the levels"
    if conditions.is_worst_case:
        ideal += " (worst case: a fixed prior that suffices for every vector)"
    return "\n".join(
        [
            f"Variance and bits a coordinate {what}; norms (32 bits) and positions are counted.",
            f"{_BIASED} biased: a squared error, which does not average out over steps or nodes.",
            f"dense: every level is coded; sparse: gaps and non-zeros; {ideal}.",
            "lower bound: no compressor of this variance, damped to its best, takes fewer bits on normal "
            "vectors. Delta codes are in json and csv.",
        ]
    )

"""``--compressor`` of ``tradeoff``: real messages of any methods at equal bits, on one vector or on three."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsgd_lab.cli.measure.rows_output import Table, as_csv, as_json, as_latex, as_text, figure
from qsgd_lab.cli.measure.vector_source import GRADIENT, VectorSource
from qsgd_lab.errors import UsageError
from qsgd_lab.theory.checks.distributions import WORST_CASE, draw
from qsgd_lab.theory.checks.equal_bits import (
    EqualBitsRow,
    compare_at_equal_bits,
    measure_at_equal_bits,
    settings_of,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qsgd_lab.compressors import Layout

#: The vectors that are compared where none is named.
SOURCES = ("normal", "lognormal", GRADIENT)

LEGEND = (
    "bits: of whole messages, measured, a coordinate. error: the mean of ||Q(v) - v||^2 / ||v||^2, which is "
    "at least 4^-bits on normal vectors (rate-distortion). variance: the same after the best scaling, so "
    "that methods that need error feedback (*, biased) are set beside unbiased ones. bound: the least "
    "variance of any compressor at these bits on normal vectors, 1 / (4^bits - 1); on other vectors it may "
    "be less. One node's first message; PowerSGD's is one step from a random start, and fp32 and PowerSGD "
    "send bare numbers.\n"
)


def measured_rows(
    texts: Sequence[str], sources: Sequence[VectorSource], *, trials: int, seed: int
) -> Iterator[EqualBitsRow]:
    """Yield the rows, vector by vector.

    Raises
    ------
    UsageError
        If the worst case is asked for, or a text names nothing.
    """
    from qsgd_lab.cli.errors import argument_errors

    with argument_errors("--compressor"):
        chosen = settings_of(texts)
        for source in sources:
            vector, layout = vector_of(source, seed)
            for text in chosen:
                yield measure_at_equal_bits(
                    text, vector, source=source.name, layout=layout, trials=trials, seed=seed
                )


def vector_of(source: VectorSource, seed: int) -> tuple[NDArray[np.float32], Layout | None]:
    """Return the vector, and its tensors where they are known."""
    if source.vector is not None:
        return source.vector, source.layout
    if source.distribution == WORST_CASE:
        raise UsageError("the worst case is known of QSGD alone; leave out --distribution or --compressor")
    scheme: dict[str, Any] = {"num_levels": 1, "norm": "max", "bucket_size": 1}  # of the worst case alone
    return draw(source.distribution, source.dim, seed=seed, **scheme), None


def render(rows: Sequence[EqualBitsRow], output_format: str) -> str:
    """Return the rows as ``text``, ``json``, ``csv`` or ``latex``, ending in a newline."""
    if output_format in ("json", "csv"):
        return (as_json if output_format == "json" else as_csv)([record_of(row) for row in rows])
    tables = [_table(rows, source) for source in dict.fromkeys(row.source for row in rows)]
    if output_format == "latex":
        caption = "Error against bits a coordinate of whole messages; * marks biased methods: "
        return "".join(as_latex(t, command="tradeoff", caption=caption + t.title) for t in tables)
    return as_text([*tables, LEGEND, *_sentences(rows)])


def record_of(row: EqualBitsRow) -> dict[str, object]:
    """Return a row's figures, with both bounds; what is infinite is None."""
    variance = row.variance if math.isfinite(row.variance) else None
    return {
        **dataclasses.asdict(row),
        "variance": variance,
        "least_error": row.least_error,
        "least_variance": row.least_variance,
    }


def read_rows(path: Path) -> list[EqualBitsRow]:
    """Return the rows of a file that ``tradeoff --compressor ... --format csv`` printed."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            EqualBitsRow(
                compressor=record["compressor"],
                label=record["label"],
                method=record["method"],
                unbiased=record["unbiased"] == "True",
                source=record["source"],
                dim=int(record["dim"]),
                trials=int(record["trials"]),
                seed=int(record["seed"]),
                bits=float(record["bits"]),
                error=float(record["error"]),
                variance=float(record["variance"] or math.inf),
            )
            for record in csv.DictReader(file)
        ]


def _table(rows: Sequence[EqualBitsRow], source: str) -> Table:
    own = [row for row in rows if row.source == source]
    cells = [
        (
            row.compressor,
            f"{row.bits:.3f}",
            figure(row.error) + ("" if row.unbiased else "*"),
            figure(row.variance if math.isfinite(row.variance) else None),
            figure(row.least_variance),
            figure(times_bound(row)),
        )
        for row in own
    ]
    title = f"{source}, {own[0].dim} coordinates, {own[0].trials} trials, seed {own[0].seed}"
    header = ("method", "bits/coord.", "error", "variance", "bound", "times the bound")
    return Table(header, cells, title, left=(0,), keys=1)


def times_bound(row: EqualBitsRow) -> float | None:
    """Return the variance over the least possible; None where nothing is lost, or nothing of v is sent."""
    return row.variance / row.least_variance if 0 < row.variance < math.inf else None


def _sentences(rows: Sequence[EqualBitsRow]) -> Iterator[str]:
    for source in dict.fromkeys(row.source for row in rows):
        found = compare_at_equal_bits([row for row in rows if row.source == source])
        if found:
            parts = ", ".join(f"{one.ratio:.1f} times at {one.bits:.2f} bits" for one in found)
            yield f"QSGD's variance over EDEN's, {source}: {parts}.\n"

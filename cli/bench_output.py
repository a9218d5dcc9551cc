"""How ``qsgd-lab bench`` prints its figures: text and JSON."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Sequence

import numba
import numpy as np

from qsgd_lab import __version__
from qsgd_lab.bench.suite import Figure
from qsgd_lab.cli.rows_output import NONE, Table, as_text

#: What other coders are set against.
YARDSTICK = "dense omega"


def render(figures: Sequence[Figure], dim: int, repeats: int, output_format: str) -> str:
    """Return the figures as ``text`` or ``json``, ending in a newline."""
    conditions = {
        "coordinates": dim,
        "bucket_size": 512,
        "repeats": repeats,
        "qsgd_lab": __version__,
        "numpy": np.__version__,
        "numba": numba.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    if output_format == "json":
        rows = [dataclasses.asdict(figure) for figure in figures]
        return json.dumps({"conditions": conditions, "figures": rows}, indent=1, allow_nan=False) + "\n"
    described = ", ".join(f"{name} {value}" for name, value in conditions.items())
    legend = (
        "ns a coordinate: the best of all calls, in one thread's processor time. Bits of ours hold header, "
        "norms, directory and checksums. Encoding and decoding are set against dense omega, quantizing "
        "against ours.\n"
    )
    return as_text([described + "\n", _table(figures), legend])


def _yardstick(figures: Sequence[Figure], figure: Figure) -> float | None:
    """Return the time that a figure is set against."""
    for other in figures:
        same = (other.num_levels, other.operation) == (figure.num_levels, figure.operation)
        if same and other.ours and (figure.operation not in ("encode", "decode") or other.name == YARDSTICK):
            return other.ns
    return None


def _table(figures: Sequence[Figure]) -> Table:
    copy = next(figure.ns for figure in figures if figure.operation == "copy")
    rows = []
    for figure in figures:
        reference = _yardstick(figures, figure)
        rows.append(
            [
                NONE if figure.num_levels is None else str(figure.num_levels),
                figure.operation,
                figure.name,
                f"{figure.ns:.3f}",
                NONE if figure.bits is None else f"{figure.bits:.3f}",
                NONE if reference is None else f"{figure.ns / reference:.2f}",
                f"{copy / figure.ns:.2f}",
            ]
        )
    header = ("s", "operation", "by", "ns", "bits", "ratio", "of copy's rate")
    return Table(header, rows, left=(1, 2))

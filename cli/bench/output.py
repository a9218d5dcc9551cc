"""The figures of ``qsgd-lab bench`` as text and JSON."""

from __future__ import annotations

import dataclasses
import json
import platform
import time
from collections.abc import Sequence

import numba
import numpy as np

from qsgd_lab import __version__
from qsgd_lab.bench.end_to_end import Share
from qsgd_lab.bench.rivals import PACKAGES
from qsgd_lab.bench.scaling import Scaling
from qsgd_lab.bench.suite import Figure
from qsgd_lab.cli.measure.rows_output import NONE, Table, as_text
from qsgd_lab.kernels.cpu.messages.ranged_turns import FORM
from qsgd_lab.runs.environment import installed_version, processor

SCALING_LEGEND = (
    "Speed of several threads over that of one, each thread on a gradient of its own. By processor time: "
    "rates summed, what threads do to each other; by the clock: what one sees, on an idle machine.\n"
)
SHARE_LEGEND = (
    "Processor time of one thread for a step of AlexNet on 128 images, and for eight nodes to agree on a "
    "gradient of its size: by messages (quantize, encode, decode and add), or fused (the same sum and sizes "
    "without a message).\n"
)
#: What other coders are set against.
YARDSTICK = "dense omega"


def render(
    figures: Sequence[Figure],
    scalings: Sequence[Scaling],
    shares: Sequence[Share],
    dim: int,
    repeats: int,
    output_format: str,
    absent: Sequence[str] = (),
) -> str:
    """Return the figures as ``text`` or ``json``, ending in a newline; `absent` rivals are named."""
    conditions: dict[str, object] = {
        "coordinates": dim,
        "bucket_size": 512,
        "repeats": repeats,
        "qsgd_lab": __version__,
        "numpy": np.__version__,
        "numba": numba.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": processor(),
        "ranged_form": FORM or "scalar",
        "date": time.strftime("%Y-%m-%d"),
        "packages": {name: installed_version(name) for name in dict.fromkeys(PACKAGES.values())},
    }
    if absent:
        conditions["not_installed"] = list(absent)
    if output_format == "json":
        measured = {
            "figures": [dataclasses.asdict(row) | {"gigabytes": row.gigabytes} for row in figures],
            "threads": [dataclasses.asdict(row) for row in scalings],
            "end_to_end": [dataclasses.asdict(row) for row in shares],
        }
        return json.dumps({"conditions": conditions} | measured, indent=1, allow_nan=False) + "\n"
    lists = ("not_installed", "packages")
    described = ", ".join(f"{name} {value}" for name, value in conditions.items() if name not in lists)
    if absent:
        described += f"\nNot installed, left out: {', '.join(absent)}"
    legend = (
        "ns a coordinate: the best of all calls, in one thread's processor time. Bits of ours hold header, "
        "norms, directory and checksums. Encoding and decoding are set against dense omega, quantizing "
        "against ours. GB/s are of the float32 gradient, 4 bytes a coordinate.\n"
    )
    paragraphs: list[str | Table] = [described + "\n", _table(figures), legend]
    if scalings:
        paragraphs += [_scaling_table(scalings), SCALING_LEGEND]
    if shares:
        paragraphs += [_share_table(shares), SHARE_LEGEND]
    return as_text(paragraphs)


def _scaling_table(scalings: Sequence[Scaling]) -> Table:
    rows = [
        [str(row.num_levels), row.operation, str(row.threads), f"{row.processor:.2f}", f"{row.wall:.2f}"]
        for row in scalings
    ]
    return Table(("s", "operation", "threads", "by processor time", "by the clock"), rows, left=(1,), keys=3)


def _share_table(shares: Sequence[Share]) -> Table:
    rows = [
        [
            NONE if row.num_levels is None else str(row.num_levels),
            row.name,
            f"{row.milliseconds:.1f}",
            f"{100 * row.share:.1f} %",
        ]
        for row in shares
    ]
    return Table(("s", "what", "ms", "of the step"), rows, left=(1,))


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
                f"{figure.gigabytes:.1f}",
                f"{copy / figure.ns:.2f}",
            ]
        )
    header = ("s", "operation", "by", "ns", "bits", "ratio", "GB/s", "of copy's rate")
    return Table(header, rows, left=(1, 2), keys=3)

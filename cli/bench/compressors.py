"""``bench --compressor``: how fast any compressors are, beside eager torch and a copy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import click

from qsgd_lab.bench.compressors import CompressorFigure, measure_compressors
from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.measure.rows_output import NONE, Table, as_text

LEGEND = (
    "ns a coordinate of a normal gradient: the least of all rounds, in one thread's processor time; a "
    "method's operations take turns with a copy and with eager torch, whose compressing packs nothing. "
    "of copy: the speed of compressing over that of a copy, so that 1 is as fast. Where torch draws random "
    "numbers, most of its time is theirs.\n"
)


def bench_compressors(names: Sequence[str], dim: int, repeats: int, output_format: str) -> str:
    """Return the figures of ``bench --compressor`` as ``text`` or ``json``, ending in a newline."""
    figures = []
    with argument_errors("--compressor"):
        for figure in measure_compressors(names, dim, repeats):
            click.echo(figure.compressor, err=True)
            figures.append(figure)
    if output_format == "json":
        conditions = {"coordinates": dim, "repeats": repeats}
        records = [dataclasses.asdict(figure) for figure in figures]
        return json.dumps({"conditions": conditions, "compressors": records}, indent=1) + "\n"
    return as_text([f"{dim} coordinates, {repeats} rounds\n", _table(figures), LEGEND])


def _table(figures: Sequence[CompressorFigure]) -> Table:
    header = (
        "method",
        "compress",
        "decode",
        "pack",
        "unpack",
        "eager torch",
        "times torch",
        "of copy",
        "bits",
    )
    rows = [
        (
            figure.compressor,
            *(f"{ns:.3f}" for ns in (figure.compress, figure.decompress, figure.pack, figure.unpack)),
            NONE if figure.torch is None else f"{figure.torch:.2f}",
            NONE if figure.torch is None else f"{figure.torch / figure.compress:.1f}",
            f"{figure.copy / figure.compress:.2f}",
            f"{figure.bits:.3f}",
        )
        for figure in figures
    ]
    return Table(header, rows, left=(0,), keys=1)

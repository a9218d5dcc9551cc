"""``qsgd-lab bench --backend cuda``: the device's figures as text and JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import click

from qsgd_lab.bench.device_suite import DeviceFigure, measure_device
from qsgd_lab.cli.measure.rows_output import NONE, Table, as_text
from qsgd_lab.errors import UsageError
from qsgd_lab.gpu_check.results import device_facts, versions
from qsgd_lab.kernels.cuda.device import SIMULATED, require_device

LEGEND = (
    "Bytes are those that any implementation has to read and write, and the fraction is the rate at which "
    "they were moved over that at which the device copies float32. The fastest of all batches of ten calls.\n"
)


def bench_device(dim: int, levels: tuple[int, ...], repeats: int, output_format: str) -> str:
    """Return the figures of this machine's device, as ``text`` or ``json``, ending in a newline.

    Raises
    ------
    UsageError
        If there is no device.
    """
    try:
        require_device()
    except ValueError as error:
        raise UsageError(str(error)) from error
    if SIMULATED:
        raise UsageError("the CUDA simulator has no speed to measure; unset NUMBA_ENABLE_CUDASIM")
    figures = []
    for figure in measure_device(dim, repeats, levels=levels):
        click.echo(f"{figure.name}: {figure.operation}", err=True)
        figures.append(figure)
    conditions = {"coordinates": dim, "repeats": repeats, **device_facts(), **versions()}
    return render(figures, conditions, output_format)


def render(figures: Sequence[DeviceFigure], conditions: dict[str, object], output_format: str) -> str:
    """Return figures as ``text`` or ``json``, ending in a newline."""
    if output_format == "json":
        rows = [dataclasses.asdict(figure) for figure in figures]
        return json.dumps({"conditions": conditions, "figures": rows}, indent=1, allow_nan=False) + "\n"
    rows_of_text = [
        [
            NONE if figure.num_levels is None else str(figure.num_levels),
            figure.operation,
            figure.name,
            f"{1e6 * figure.seconds:.1f}",
            f"{figure.bytes_moved / figure.seconds / 1e9:.0f}",
            f"{100 * figure.copy_fraction:.0f} %",
        ]
        for figure in figures
    ]
    described = ", ".join(f"{name} {value}" for name, value in conditions.items()) + "\n"
    header = ("s", "operation", "by", "us", "GB/s", "of copy's rate")
    return as_text([described, Table(header, rows_of_text, left=(1, 2), keys=3), LEGEND])

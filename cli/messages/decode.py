"""``qsgd-lab decode``: write the gradient that a message carries."""

from __future__ import annotations

from pathlib import Path

import click

from qsgd_lab.cli.messages.files import (
    load_message,
    message_argument,
    named,
    output_option,
    threads_option,
)
from qsgd_lab.errors import UsageError
from qsgd_lab.files import check_place, save


@click.command()
@message_argument
@output_option
@click.option("--start", type=click.IntRange(0), help="The first coordinate to decode.")
@click.option("--stop", type=click.IntRange(0), help="The coordinate to stop before.")
@click.option("--levels", is_flag=True, help="Write the signed integer levels, not their values.")
@click.option("--max-coordinates", type=click.IntRange(0), help="Refuse messages of more coordinates.")
@threads_option
def decode(
    message_file: Path,
    output: Path,
    start: int | None,
    stop: int | None,
    levels: bool,
    max_coordinates: int | None,
    threads: int,
) -> None:
    """Write the gradient that a message carries to a .npy file.

    The whole gradient keeps its shape; a range of it is flat, and only the chunks that hold it are read.
    A message that is damaged or made to mislead ends with exit code 4.

    \b
    Example:
      qsgd-lab decode grad.qsgd -o received.npy
      qsgd-lab decode grad.qsgd -o part.npy --start 4096 --stop 8192
    """
    import numpy as np

    import qsgd_lab as ql

    if start is not None and stop is not None and stop < start:
        raise UsageError(f"--stop {stop} is before --start {start}")
    check_place(output)
    message = load_message(message_file)
    with named(message_file):
        if levels or (start, stop) != (None, None):
            quantized = ql.decode(message, start, stop, max_coordinates=max_coordinates, threads=threads)
            array = quantized.levels.reshape(quantized.shape) if levels else ql.dequantize(quantized)
        else:
            array = ql.decode_values(message, max_coordinates=max_coordinates, threads=threads)
    save(output, lambda file: np.save(file, array))
    click.echo(f"{output}: {array.size} coordinates, {array.dtype}", err=True)

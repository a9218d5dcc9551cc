"""``qsgd-lab decode``: write the gradient that a message carries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.messages.files import (
    load_message,
    message_argument,
    named,
    output_option,
    threads_option,
)
from qsgd_lab.errors import LimitError, UsageError
from qsgd_lab.files import check_place, save

#: Payload kinds of docs/wire-format-2.md; the registry itself would load numpy for --help.
KINDS = (
    "none",
    "raw",
    "levels",
    "rotated",
    "hsq",
    "sparse",
    "masked",
    "block-int",
    "natural",
    "one-bit",
    "select",
    "exponential",
    "private",
)


@click.command()
@message_argument
@output_option
@click.option("--start", type=click.IntRange(0), help="The first coordinate to decode.")
@click.option("--stop", type=click.IntRange(0), help="The coordinate to stop before.")
@click.option("--levels", is_flag=True, help="Write the signed integer levels, not their values.")
@click.option("--max-coordinates", type=click.IntRange(0), help="Refuse messages of more coordinates.")
@click.option(
    "--kind",
    multiple=True,
    type=click.Choice(KINDS),
    metavar="NAME",
    help=f"Refuse messages of other payload kinds than this: {', '.join(KINDS)}; may be given again.",
)
@threads_option
def decode(
    message_file: Path,
    output: Path,
    start: int | None,
    stop: int | None,
    levels: bool,
    max_coordinates: int | None,
    kind: tuple[str, ...],
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
    from qsgd_lab.wire.message import dense

    if start is not None and stop is not None and stop < start:
        raise UsageError(f"--stop {stop} is before --start {start}")
    check_place(output)
    message = load_message(message_file)
    limits: dict[str, Any] = {"max_coordinates": max_coordinates, "kinds": kind or None}
    with named(message_file), _bounded(max_coordinates):
        if levels or (start, stop) != (None, None):
            with argument_errors():  # not every kind can be read in part
                payload = ql.decode(message, start, stop, **limits, threads=threads)
            array = levels_of(payload) if levels else dense(payload)
        else:
            array = ql.decode_values(message, **limits, threads=threads)
    save(output, lambda file: np.save(file, array))
    click.echo(f"{output}: {array.size} coordinates, {array.dtype}", err=True)


def levels_of(payload: Any) -> Any:
    """Return the levels of a payload in its shape.

    Raises
    ------
    UsageError
        If it is of another kind.
    """
    import qsgd_lab as ql

    if not isinstance(payload, ql.QuantizedGradient):
        raise UsageError(f"the message carries {type(payload).__name__}, not levels: leave out --levels")
    return payload.levels.reshape(payload.shape)


@contextmanager
def _bounded(max_coordinates: int | None) -> Iterator[None]:
    """Ask for the bound that some kinds need, where none was given."""
    try:
        yield
    except LimitError as error:
        if max_coordinates is None:
            raise UsageError(f"{error}; give --max-coordinates") from error
        raise

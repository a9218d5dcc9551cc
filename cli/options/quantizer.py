"""Options that the commands of the theory share: the quantizer, the vector, the trials and the output.

The option ``--plot`` of the commands that draw: which files a figure may go to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

from qsgd_lab.cli.options.lists import DIMENSION, IntListType
from qsgd_lab.cli.options.quantities import BucketSizeType
from qsgd_lab.errors import UsageError
from qsgd_lab.files import check_place
from qsgd_lab.levels import MAX_BITS, MAX_LEVELS, NORMS
from qsgd_lab.report.figures.style import SUFFIXES, load_matplotlib
from qsgd_lab.theory.checks.distributions import DISTRIBUTION_NAMES

WHOLE_VECTOR = "tensor"
FORMATS = ("text", "json", "csv", "latex")

_DEFAULT_BITS = tuple(range(1, 9))

Command = TypeVar("Command", bound=Callable[..., Any])


bits_option = click.option(
    "--bits",
    type=IntListType(minimum=1, maximum=MAX_BITS),
    help="Magnitude bits b, the sign apart: s = 2^b - 1 levels.  [default: 1..8]",
)
levels_option = click.option(
    "--levels",
    type=IntListType(minimum=1, maximum=MAX_LEVELS),
    help="Levels s themselves, such as 16, in place of --bits.",
)
bucket_size_option = click.option(
    "--bucket-size",
    type=BucketSizeType({WHOLE_VECTOR: None}),
    default=512,
    show_default=True,
    help="Coordinates that share a norm, or 'tensor' for one bucket.",
)
norm_option = click.option("--norm", type=click.Choice(NORMS), default="l2", show_default=True)
rounding_option = click.option(
    "--rounding", type=click.Choice(["stochastic", "nearest"]), default="stochastic", show_default=True
)
backend_option = click.option(
    "--backend",
    type=click.Choice(["auto", "cpu", "reference"]),
    default="auto",
    show_default=True,
    help="What quantizes; all give the same bits. The reference is plain Python, and slow.",
)
input_option = click.option(
    "--input",
    "input_file",
    type=click.Path(path_type=Path),
    help="Use the vector of this .npy, .npz, .pt or .safetensors file instead, such as a gradient of your "
    "own; - is standard input.",
)
format_option = click.option(
    "--format", "output_format", type=click.Choice(FORMATS), default="text", show_default=True
)
seed_option = click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
plot_option = click.option(
    "--plot", type=click.Path(path_type=Path), help="Also draw the figure: FILE.pdf, FILE.png or FILE.svg."
)


def dim_option(default: int) -> Callable[[Command], Command]:
    """Return ``--dim``; its value is None if it is not given, so that ``--input`` can refuse it."""
    return click.option(
        "--dim", type=DIMENSION, help=f"Coordinates of the vector, such as 2^20.  [default: {default}]"
    )


def distribution_option(names: Iterable[str] = DISTRIBUTION_NAMES) -> Callable[[Command], Command]:
    """Return ``--distribution``, None if it is not given."""
    listed = list(names)
    return click.option(
        "--distribution",
        type=click.Choice(listed),
        metavar="NAME",
        help=f"Of the vector: {', '.join(listed)}.  [default: normal]",
    )


def trials_option(default: int, help_text: str) -> Callable[[Command], Command]:
    """Return ``--trials``, at least 2."""
    return click.option(
        "--trials", type=click.IntRange(2), default=default, show_default=True, help=help_text
    )


def options(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Apply option decorators so that the help lists them in the order given."""
    return lambda command: reduce(lambda inner, decorate: decorate(inner), reversed(decorators), command)


def bits_or_levels(
    bits: tuple[int, ...] | None, levels: tuple[int, ...] | None
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Return (bits, levels or None) with the default filled in.

    Raises
    ------
    UsageError
        If both are given.
    """
    if bits is not None and levels is not None:
        raise UsageError("--bits and --levels say the same thing; give one of them")
    return bits or _DEFAULT_BITS, levels


def check_figure_file(path: Path | None) -> None:
    """Refuse a file that no figure can go to, before the work is done; load what draws.

    Raises
    ------
    UsageError
        If its ending is unknown, or no file can be written there.
    """
    if path is None:
        return
    if path.suffix not in SUFFIXES:
        raise UsageError(f"--plot {path} has no known ending; use one of {', '.join(SUFFIXES)}")
    check_place(path)
    load_matplotlib()

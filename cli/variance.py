"""``qsgd-lab variance``: the real quantizer, measured and held against exact values and bounds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qsgd_lab.cli.lists import DIMENSION, IntListType
from qsgd_lab.errors import DataMissingError, UsageError
from qsgd_lab.theory.checks.distributions import DISTRIBUTION_NAMES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qsgd_lab.theory.level_positions import Norm

DEFAULT_DIMENSION = 2**18
WHOLE_VECTOR = "tensor"

_MAX_BITS = 15
_PLOT_SUFFIXES = (".pdf", ".png", ".svg")
#: The vector, its positions, steps and error sums in float64, and some temporaries.
_BYTES_PER_COORDINATE = 160


class BucketSizeType(click.ParamType):  # type: ignore[type-arg]
    """A number of coordinates, or ``tensor`` for one bucket, whose value is None."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Parse a string; hand on an integer, which is how a default is given."""
        return None if value == WHOLE_VECTOR else DIMENSION.convert(value, param, ctx)


@click.command()
@click.option(
    "--bits",
    type=IntListType(minimum=1, maximum=_MAX_BITS),
    default="1..8",
    show_default=True,
    help="Magnitude bits b, the sign apart: s = 2^b - 1 levels.",
)
@click.option(
    "--dim", type=DIMENSION, help=f"Coordinates of the vector, such as 2^20.  [default: {DEFAULT_DIMENSION}]"
)
@click.option(
    "--bucket-size",
    type=BucketSizeType(),
    default=512,
    show_default=True,
    help="Coordinates that share a norm, or 'tensor' for one bucket.",
)
@click.option("--norm", type=click.Choice(["l2", "max"]), default="l2", show_default=True)
@click.option(
    "--rounding", type=click.Choice(["stochastic", "nearest"]), default="stochastic", show_default=True
)
@click.option(
    "--distribution", type=click.Choice(DISTRIBUTION_NAMES), help="Of the vector.  [default: normal]"
)
@click.option(
    "--input",
    "input_file",
    type=click.Path(path_type=Path),
    help="Measure on this .npy file instead, such as a gradient of your own.",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json", "csv", "latex"]),
    default="text",
    show_default=True,
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option(
    "--trials",
    type=click.IntRange(2),
    default=32,
    show_default=True,
    help="Independent quantizations of the vector.",
)
@click.option("--plot", type=click.Path(path_type=Path), help="Also draw the variance: FILE.pdf or FILE.png.")
@click.pass_context
def variance(
    ctx: click.Context,
    bits: tuple[int, ...],
    dim: int | None,
    bucket_size: int | None,
    norm: Norm,
    rounding: str,
    distribution: str | None,
    input_file: Path | None,
    output_format: str,
    seed: int,
    trials: int,
    plot: Path | None,
) -> None:
    """Measure the quantizer's bias, variance and non-zeros against the formulas.

    For each number of bits: the measured relative variance with its 95 % interval, the exact value for this
    vector, the least bound for every vector, the paper's bound, and the same for the non-zeros. The exit
    code is 1 if a check fails; a correct quantizer fails with probability below 10^-6.

    \b
    Example:
      qsgd-lab variance --bits 1..8
      qsgd-lab variance --bits 4 --distribution worst-case --norm max
      qsgd-lab variance --input grad.npy --format json --plot variance.pdf
    """
    from qsgd_lab.cli.variance_output import Conditions, render
    from qsgd_lab.theory.checks.sweep import sweep_bits

    if input_file is not None and (dim is not None or distribution is not None):
        raise UsageError("--input brings its own vector; leave out --dim and --distribution")
    _check_plot(plot)
    vector = None if input_file is None else _read_vector(input_file)
    size = vector.size if vector is not None else dim or DEFAULT_DIMENSION
    _check_memory(size)
    checks = sweep_bits(
        bits,
        vector=vector,
        distribution=distribution or "normal",
        dim=size,
        bucket_size=bucket_size,
        norm=norm,
        rounding=rounding,
        seed=seed,
        trials=trials,
    )
    if plot is not None:
        from qsgd_lab.cli.variance_plot import save_plot

        save_plot(checks, plot)
    source = distribution or "normal" if input_file is None else input_file.name
    click.echo(render(checks, Conditions(source, seed, trials), output_format), nl=False)
    if not all(check.passed for check in checks):
        ctx.exit(1)


def _check_plot(plot: Path | None) -> None:
    if plot is not None and plot.suffix not in _PLOT_SUFFIXES:
        raise UsageError(f"--plot {plot} has no known ending; use one of {', '.join(_PLOT_SUFFIXES)}")
    if plot is not None and not plot.absolute().parent.is_dir():
        raise UsageError(f"--plot {plot}: there is no folder {plot.parent}; make it first")


def _check_memory(num_coordinates: int) -> None:
    """Refuse what would be killed for its memory after minutes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = num_coordinates * _BYTES_PER_COORDINATE
    if needed > memory:
        raise UsageError(
            f"{num_coordinates} coordinates need about {needed / 2**30:.0f} GiB of memory, "
            f"and this machine has {memory / 2**30:.0f}; choose a smaller --dim"
        )


def _read_vector(path: Path) -> NDArray[np.float32]:
    """Read a finite, non-zero float vector from an .npy file; pickled objects are refused."""
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataMissingError(f"there is no file {path}; save a vector there with numpy.save") from error
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path} is not a .npy file of numbers; save it with numpy.save") from error
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.floating) or array.size == 0:
        raise UsageError(f"{path} does not hold a non-empty array of floating-point numbers")
    with np.errstate(over="ignore"):
        vector = np.ascontiguousarray(array.reshape(-1), dtype=np.float32)
    if not np.isfinite(vector).all():
        raise UsageError(f"{path} holds NaN, infinities or numbers beyond float32; remove them first")
    if not vector.any():
        raise UsageError(f"{path} holds only zeros, on which there is nothing to measure")
    return vector

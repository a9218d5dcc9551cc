"""``qsgd-lab bench``: how fast this machine quantizes and codes, beside other packages."""

from __future__ import annotations

from typing import Any

import click

from qsgd_lab.cli.lists import DIMENSION, IntListType
from qsgd_lab.errors import UsageError

#: Written out, so that the help imports nothing; a test holds them equal to the suite's.
RIVAL_NAMES = ("torch", "naive", "compintpy", "compintpy-gamma", "bitarray", "zstandard", "constriction")


class RivalsType(click.ParamType):  # type: ignore[type-arg]
    """``all``, ``none`` or names separated by commas."""

    name = "names"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Parse a string; hand on what is parsed already."""
        if isinstance(value, tuple):
            return value
        if value in ("all", "none"):
            return RIVAL_NAMES if value == "all" else ()
        names = tuple(part.strip() for part in value.split(","))
        for name in names:
            if name not in RIVAL_NAMES:
                self.fail(
                    f"{name!r} is not known; write all, none, or some of {', '.join(RIVAL_NAMES)}", param, ctx
                )
        return names


@click.command()
@click.option(
    "--dim", type=DIMENSION, default=2**22, show_default="2^22", help="Coordinates of the gradient."
)
@click.option("--levels", type=IntListType(minimum=1, maximum=127), default="1,7,127", show_default=True)
@click.option("--against", type=RivalsType(), default="none", show_default=True, help="all, none, or names.")
@click.option(
    "--repeats", type=click.IntRange(1), default=7, show_default=True, help="The fastest call counts."
)
@click.option(
    "--format", "output_format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
def bench(
    dim: int, levels: tuple[int, ...], against: tuple[str, ...], repeats: int, output_format: str
) -> None:
    """Measure quantizing and coding on this machine, beside other packages.

    All figures are of one thread's processor time, in one process, on the same levels of a gaussian
    gradient: ratios between them mean more than the figures. Packages that are not installed are left out.

    \b
    Example:
      qsgd-lab bench
      qsgd-lab bench --against all --dim 2^24
      qsgd-lab bench --against zstandard,compintpy --format json
    """
    from qsgd_lab.bench.suite import measure
    from qsgd_lab.cli.bench_output import render

    if dim < 2**12:
        raise UsageError(f"--dim {dim} is too short to measure; give at least 4096")
    figures = []
    for figure in measure(dim, levels, against, repeats):
        click.echo(f"{figure.name}: {figure.operation}", err=True)
        figures.append(figure)
    click.echo(render(figures, dim, repeats, output_format), nl=False)

"""``qsgd-lab bench``: how fast this machine quantizes and codes, beside other packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from qsgd_lab.cli.measure.compressors import compressor_option
from qsgd_lab.cli.messages.files import load_gradient
from qsgd_lab.cli.options.completion import next_of
from qsgd_lab.cli.options.lists import DIMENSION, IntListType
from qsgd_lab.cli.standard_error import say_line
from qsgd_lab.errors import UsageError

#: Written out, so that the help imports nothing; a test holds them equal to the suite's.
RIVAL_NAMES = (
    "torch",
    "naive",
    "compintpy",
    "compintpy-gamma",
    "bitarray",
    "zstandard",
    "zstandard-3",
    "constriction",
)


class RivalsType(click.ParamType):  # type: ignore[type-arg]
    """``all``, ``none`` or names separated by commas."""

    name = "names"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Parse a string; return what is parsed already."""
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

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the names that are not in the list yet, and all and none where it is empty."""
        alone = () if "," in incomplete else ("all", "none")
        return next_of((*alone, *RIVAL_NAMES), incomplete)


@click.command()
@click.option(
    "--dim", type=DIMENSION, default=2**22, show_default="2^22", help="Coordinates of the gradient."
)
@click.option(
    "--input",
    "gradient_file",
    metavar="GRADIENT",
    type=click.Path(path_type=Path),
    help="Measure the gradient of this file, as encode reads it, in place of --dim normal numbers.",
)
@click.option("--levels", type=IntListType(minimum=1, maximum=127), default="1,7,127", show_default=True)
@click.option("--against", type=RivalsType(), default="none", show_default=True, help="all, none, or names.")
@compressor_option(
    "Measure this method in place of QSGD's codes, beside eager torch of the same method and a copy; may be "
    "given again, and 'all' takes every method at its defaults."
)
@click.option(
    "--repeats", type=click.IntRange(1), default=7, show_default=True, help="The fastest call counts."
)
@click.option(
    "--threads",
    type=click.IntRange(2, 64),
    default=None,
    help="Also run each operation on so many threads at once.",
)
@click.option(
    "--end-to-end", is_flag=True, help="Also set eight nodes' agreement against a training step of AlexNet."
)
@click.option(
    "--backend",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where to measure; cuda also measures what the device copies, and torch's QSGD on it.",
)
@click.option(
    "--format", "output_format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
def bench(
    dim: int,
    gradient_file: Path | None,
    levels: tuple[int, ...],
    against: tuple[str, ...],
    compressors: tuple[str, ...],
    repeats: int,
    threads: int | None,
    end_to_end: bool,
    backend: str,
    output_format: str,
) -> None:
    """Measure quantizing and coding on this machine, beside other packages.

    All figures are of one thread's processor time, in one process, on the same levels of a gaussian
    gradient, or of one in a file: ratios between them mean more than the figures. Packages that are
    not installed are named and left out.

    \b
    Example:
      qsgd-lab bench
      qsgd-lab bench --against all --dim 2^24
      qsgd-lab bench --against zstandard,compintpy --format json
      qsgd-lab bench --against all --input grad.npy
      qsgd-lab bench --threads 2 --end-to-end
      qsgd-lab bench --compressor all
      qsgd-lab bench --backend cuda --dim 2^26
    """
    if gradient_file is not None:
        if compressors or threads or end_to_end or backend == "cuda":
            raise UsageError(
                "--input is for QSGD's codes and --against; leave out --compressor, --threads, --end-to-end "
                "and --backend cuda"
            )
        gradient = load_gradient(gradient_file).reshape(-1).astype("float32")
        dim = gradient.size
    if dim < 2**12:
        raise UsageError(f"a gradient of {dim} coordinates is too short to measure; give at least 4096")
    if compressors:
        if against or threads or end_to_end or backend == "cuda":
            raise UsageError(
                "--against, --threads, --end-to-end and --backend cuda are of QSGD's codes; "
                "leave out --compressor"
            )
        from qsgd_lab.cli.bench.compressors import bench_compressors

        click.echo(bench_compressors(compressors, dim, repeats, output_format), nl=False)
        return
    if backend == "cuda":
        if against or threads or end_to_end:
            raise UsageError(
                "--against, --threads and --end-to-end are for the CPU; leave out --backend cuda"
            )
        from qsgd_lab.cli.bench.device import bench_device

        click.echo(bench_device(dim, levels, repeats, output_format), nl=False)
        return
    from qsgd_lab.bench.end_to_end import measure_end_to_end
    from qsgd_lab.bench.rivals import absent_packages
    from qsgd_lab.bench.scaling import measure_scaling
    from qsgd_lab.bench.suite import gaussian_gradient, measure
    from qsgd_lab.cli.bench.output import render

    absent = absent_packages(against)
    if absent:
        packages = " ".join(dict.fromkeys(absent.values()))
        say_line(f"Not installed, left out: {', '.join(absent)}; python -m pip install {packages}")
    figures = []
    if gradient_file is None:
        gradient = gaussian_gradient(dim)
    for figure in measure(gradient, levels, against, repeats):
        click.echo(f"{figure.name}: {figure.operation}", err=True)
        figures.append(figure)
    scalings = []
    for scaling in measure_scaling(dim, levels, threads, repeats) if threads else ():
        click.echo(f"{scaling.operation}, s = {scaling.num_levels}: {threads} threads", err=True)
        scalings.append(scaling)
    shares = []
    for share in measure_end_to_end(levels, repeats) if end_to_end else ():
        click.echo(share.name, err=True)
        shares.append(share)
    click.echo(render(figures, scalings, shares, dim, repeats, output_format, tuple(absent)), nl=False)

"""``qsgd-lab variance``: the real quantizer, measured and held against exact values and bounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qsgd_lab.cli.measure.compressors import IN_PLACE_OF_QSGD, compressor_option, measured, render_errors
from qsgd_lab.cli.measure.vector_source import DEFAULT_DIMENSION
from qsgd_lab.cli.options import quantizer as shared

if TYPE_CHECKING:
    from qsgd_lab.levels import Norm


@click.command()
@shared.options(
    compressor_option(IN_PLACE_OF_QSGD),
    shared.bits_option,
    shared.levels_option,
    shared.dim_option(DEFAULT_DIMENSION),
    shared.bucket_size_option,
    shared.norm_option,
    shared.rounding_option,
    shared.distribution_option(),
    shared.input_option,
    shared.format_option,
    shared.seed_option,
    shared.trials_option(32, "Independent quantizations of the vector."),
    shared.backend_option,
    shared.plot_option,
)
@click.pass_context
def variance(
    ctx: click.Context,
    compressors: tuple[str, ...],
    bits: tuple[int, ...] | None,
    levels: tuple[int, ...] | None,
    dim: int | None,
    bucket_size: int | None,
    norm: Norm,
    rounding: str,
    distribution: str | None,
    input_file: Path | None,
    output_format: str,
    seed: int,
    trials: int,
    backend: str,
    plot: Path | None,
) -> None:
    """Measure the quantizer's bias, variance and non-zeros against the formulas.

    For each number of bits: the measured relative variance with its 95 % interval, the exact value for this
    vector, the least bound for every vector, the paper's bound, and the same for the non-zeros. The exit
    code is 1 if a check fails; a correct quantizer fails with probability below 10^-6.

    With --compressor, any method: its measured error beside the exact one for this vector, what holds for
    every vector, and the bits of its messages; nothing is judged.

    \b
    Example:
      qsgd-lab variance --bits 1..8
      qsgd-lab variance --compressor natural --compressor "rand-k(fraction=0.1)"
      qsgd-lab variance --bits 4 --distribution worst-case --norm max
      qsgd-lab variance --input grad.npy --format json --plot variance.pdf
    """
    from qsgd_lab.cli.measure.variance_output import Conditions, render
    from qsgd_lab.cli.measure.vector_source import DRAWN_BYTES, WHOLE_BYTES, vector_source
    from qsgd_lab.cli.options.quantizer import check_figure_file
    from qsgd_lab.theory.checks import sweep

    bits, levels = shared.bits_or_levels(bits, levels)
    check_figure_file(plot)
    needed = WHOLE_BYTES if bucket_size is None else DRAWN_BYTES
    source = vector_source(input_file, dim, distribution, bytes_per_coordinate=needed)
    if compressors:
        rows = measured(ctx, compressors, source, seed, trials)
        click.echo(render_errors(rows, source.name, seed, output_format), nl=False)
        return
    checks = sweep.sweep_bits(
        bits,
        levels=levels,
        vector=source.vector,
        distribution=source.distribution,
        dim=source.dim,
        bucket_size=bucket_size,
        norm=norm,
        rounding=rounding,
        seed=seed,
        trials=trials,
        backend=backend,
    )
    click.echo(render(checks, Conditions(source.name, seed, trials), output_format), nl=False)
    if plot is not None:
        from qsgd_lab.cli.measure.variance_plot import save_plot

        save_plot(checks, plot)
    if not all(check.passed for check in checks):
        ctx.exit(1)

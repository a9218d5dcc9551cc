"""``qsgd-lab code-length``: real messages, measured and compared with exact values and bounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qsgd_lab.cli.measure.compressors import IN_PLACE_OF_QSGD, compressor_option, measured, render_bits
from qsgd_lab.cli.measure.vector_source import DEFAULT_DIMENSION
from qsgd_lab.cli.options import quantizer as shared

if TYPE_CHECKING:
    from qsgd_lab.levels import Norm
    from qsgd_lab.theory.elias import Code

_FIXED = "fixed"


@click.command("code-length")
@shared.options(
    compressor_option(IN_PLACE_OF_QSGD),
    shared.bits_option,
    shared.levels_option,
    click.option(
        "--code",
        type=click.Choice(["omega", "gamma", "delta", _FIXED]),
        default="omega",
        show_default=True,
        help="Elias's codes, or fixed width, which has no layout.",
    ),
    click.option(
        "--layout",
        type=click.Choice(["dense", "dense-signed", "sparse"]),
        default="dense",
        show_default=True,
        help="Every level, signs of non-zeros or of all; or gaps and non-zeros.",
    ),
    shared.dim_option(DEFAULT_DIMENSION),
    shared.bucket_size_option,
    shared.norm_option,
    shared.rounding_option,
    shared.distribution_option(),
    shared.input_option,
    shared.format_option,
    shared.seed_option,
    shared.trials_option(8, "Independent messages of the vector."),
    shared.backend_option,
    shared.plot_option,
)
@click.pass_context
def code_length(
    ctx: click.Context,
    compressors: tuple[str, ...],
    bits: tuple[int, ...] | None,
    levels: tuple[int, ...] | None,
    code: str,
    layout: str,
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
    """Measure the length of real messages against the formulas.

    For each number of bits: the mean size of encoded messages, norms included, header and directory not; the
    exact expectation for this vector; what is proved for every vector, and what the paper has; the entropy
    of the levels; and what no compressor of this worst-case variance can do without. The exit code is 1 if a
    check fails; a correct coder fails with probability below 10^-6.

    With --compressor, any method: the bits of its messages beside its formula; nothing is judged.

    \b
    Example:
      qsgd-lab code-length --bits 1..8
      qsgd-lab code-length --compressor "top-k(fraction=0.01)" \\
        --compressor terngrad
      qsgd-lab code-length --bits 1..4 --layout sparse --code gamma
      qsgd-lab code-length --levels 16 --bucket-size 256 --distribution constant
    """
    from qsgd_lab.cli.measure.code_length_output import render
    from qsgd_lab.cli.measure.vector_source import vector_source
    from qsgd_lab.cli.options.quantizer import check_figure_file
    from qsgd_lab.theory.checks.code_length import sweep_code_length

    bits, levels = shared.bits_or_levels(bits, levels)
    check_figure_file(plot)
    source = vector_source(input_file, dim, distribution)
    elias: Code = "omega" if code == _FIXED else code  # type: ignore[assignment]  # click's choice
    if compressors:
        rows = measured(ctx, compressors, source, seed, trials)
        click.echo(render_bits(rows, source.name, seed, output_format), nl=False)
        return
    checks = sweep_code_length(
        bits,
        elias,
        _FIXED if code == _FIXED else layout,
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
    click.echo(render(checks, source.name, output_format), nl=False)
    if plot is not None:
        from qsgd_lab.cli.measure.code_length_plot import save_plot

        save_plot(checks, plot)
    if not all(check.passed for check in checks):
        ctx.exit(1)

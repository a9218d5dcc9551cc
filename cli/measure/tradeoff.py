"""``qsgd-lab tradeoff``: bits against variance, every quantizer under every code, and the lower bound."""

from __future__ import annotations

from pathlib import Path

import click

from qsgd_lab.cli.options import quantizer as shared
from qsgd_lab.errors import UsageError
from qsgd_lab.theory.checks.distributions import DISTRIBUTION_NAMES, WORST_CASE

DEFAULT_TRADEOFF_DIMENSION = 2**16


@click.command()
@shared.options(
    shared.bits_option,
    shared.dim_option(DEFAULT_TRADEOFF_DIMENSION),
    shared.bucket_size_option,
    shared.distribution_option(DISTRIBUTION_NAMES),
    shared.input_option,
    shared.format_option,
    shared.seed_option,
    shared.plot_option,
)
def tradeoff(
    bits: tuple[int, ...] | None,
    dim: int | None,
    bucket_size: int | None,
    distribution: str | None,
    input_file: Path | None,
    output_format: str,
    seed: int,
    plot: Path | None,
) -> None:
    """Set bits against variance for all quantizers and codes.

    For each quantizer and setting: the exact relative variance on the vector, the exact expected bits a
    coordinate under each code, norms and indices included, and the bits below which no compressor of any
    design has that variance on normal vectors. With --distribution worst-case, upper bounds for every vector
    in their place.

    \b
    Example:
      qsgd-lab tradeoff
      qsgd-lab tradeoff --plot tradeoff.pdf
      qsgd-lab tradeoff --distribution worst-case --format csv
    """
    from qsgd_lab.cli.measure.tradeoff_output import Conditions, render
    from qsgd_lab.cli.measure.vector_source import vector_source
    from qsgd_lab.cli.options.quantizer import check_figure_file

    check_figure_file(plot)
    bits, _ = shared.bits_or_levels(bits, None)
    source = vector_source(input_file, dim, distribution, default_dim=DEFAULT_TRADEOFF_DIMENSION)
    size = min(bucket_size or source.dim, source.dim)
    if source.dim < 2:
        raise UsageError("a vector of one coordinate has no trade-off; give at least two")
    if source.distribution == WORST_CASE:
        from qsgd_lab.theory.tradeoff_every_vector import tradeoff_of_every_vector

        rows = tradeoff_of_every_vector(source.dim, bits, size)
    else:
        from qsgd_lab.theory.checks.distributions import draw
        from qsgd_lab.theory.tradeoff_of_vector import tradeoff_of

        vector = source.vector
        if vector is None:
            vector = draw(
                source.distribution, source.dim, seed=seed, num_levels=1, norm="l2", bucket_size=size
            )
        rows = tradeoff_of(vector, bits, size, seed=seed)
    conditions = Conditions(source.name, source.dim, size, seed)
    click.echo(render(rows, conditions, output_format), nl=False)
    if plot is not None:
        from qsgd_lab.cli.measure.tradeoff_plot import save_plot

        save_plot(rows, conditions, plot)

"""``qsgd-lab tradeoff``: bits against variance, every quantizer under every code, and the lower bound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from qsgd_lab.cli.measure.compressors import compressor_option, refuse_quantizer_options
from qsgd_lab.cli.measure.vector_source import GRADIENT, VectorSource, vector_source
from qsgd_lab.cli.options import quantizer as shared
from qsgd_lab.errors import UsageError
from qsgd_lab.theory.checks.distributions import DISTRIBUTION_NAMES, WORST_CASE

DEFAULT_TRADEOFF_DIMENSION = 2**16


@click.command()
@click.pass_context
@shared.options(
    shared.bits_option,
    shared.dim_option(DEFAULT_TRADEOFF_DIMENSION),
    shared.bucket_size_option,
    shared.distribution_option((*DISTRIBUTION_NAMES, GRADIENT)),
    shared.input_option,
    compressor_option(
        "Measure whole messages of this method in place of the formulas, such as 'eden(bits=2)'; may be "
        "given again, and 'all' takes every method at all of its settings. Without a vector, three are "
        "measured: normal, lognormal, and a gradient of the embedded demo."
    ),
    shared.trials_option(4, "Messages of each setting, with --compressor."),
    shared.format_option,
    shared.seed_option,
    shared.plot_option,
)
def tradeoff(
    ctx: click.Context,
    bits: tuple[int, ...] | None,
    dim: int | None,
    bucket_size: int | None,
    distribution: str | None,
    input_file: Path | None,
    compressors: Sequence[str],
    trials: int,
    output_format: str,
    seed: int,
    plot: Path | None,
) -> None:
    """Set bits against variance for all quantizers and codes.

    For each quantizer and setting: the exact relative variance on the vector, the exact expected bits a
    coordinate under each code, norms and indices included, and the bits below which no compressor of any
    design has that variance on normal vectors. With --distribution worst-case, upper bounds for every vector
    in their place.

    With --compressor, real messages of any methods at equal bits: their measured error and bits, beside what
    no compressor can beat, and QSGD's variance over EDEN's.

    \b
    Example:
      qsgd-lab tradeoff
      qsgd-lab tradeoff --plot tradeoff.pdf
      qsgd-lab tradeoff --distribution worst-case --format csv
      qsgd-lab tradeoff --compressor all --plot equal-bits.pdf
    """
    from qsgd_lab.cli.measure.tradeoff_output import Conditions, render

    shared.check_figure_file(plot)
    if compressors:
        from qsgd_lab.cli.errors import argument_errors
        from qsgd_lab.theory.checks.equal_bits import settings_of

        refuse_quantizer_options(ctx)
        with argument_errors("--compressor"):
            chosen = settings_of(compressors)  # before a gradient is computed
        sources = _sources(input_file, dim, distribution)
        _measure_messages(chosen, sources, trials, seed, output_format, plot)
        return
    if ctx.get_parameter_source("trials") == ParameterSource.COMMANDLINE:
        raise UsageError("--trials is of messages: name their --compressor")
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


def _sources(input_file: Path | None, dim: int | None, distribution: str | None) -> list[VectorSource]:
    from qsgd_lab.cli.measure.equal_bits import SOURCES

    names = [distribution] if input_file or distribution else SOURCES
    sizes = [None if name == GRADIENT and not distribution else dim for name in names]
    return [
        vector_source(input_file, size, name, default_dim=DEFAULT_TRADEOFF_DIMENSION)
        for name, size in zip(names, sizes, strict=True)
    ]


def _measure_messages(
    compressors: Sequence[str],
    sources: Sequence[VectorSource],
    trials: int,
    seed: int,
    output_format: str,
    plot: Path | None,
) -> None:
    from qsgd_lab.cli.measure.equal_bits import measured_rows, render

    rows = []
    for row in measured_rows(compressors, sources, trials=trials, seed=seed):
        click.echo(f"{row.source}: {row.compressor}", err=True)
        rows.append(row)
    click.echo(render(rows, output_format), nl=False)
    if plot is not None:
        from qsgd_lab.cli.measure.equal_bits_plot import save_plot

        save_plot(rows, plot)

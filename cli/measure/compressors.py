"""``--compressor`` of ``variance`` and ``code-length``: any method of the registry, on one path."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from qsgd_lab.cli.measure.rows_output import Table, as_csv, as_json, as_latex, as_text, figure, score
from qsgd_lab.cli.measure.vector_source import VectorSource
from qsgd_lab.cli.options import completion
from qsgd_lab.cli.options.completion import one_of
from qsgd_lab.errors import UsageError

if TYPE_CHECKING:
    from qsgd_lab.theory.checks.compressors import CompressorCheck

#: What a compressor's text says itself, or what only QSGD has.
_QUANTIZER_OPTIONS = (
    "bits",
    "levels",
    "bucket_size",
    "norm",
    "rounding",
    "backend",
    "code",
    "layout",
)


#: The help where a compressor replaces QSGD.
IN_PLACE_OF_QSGD = "Measure this method in place of QSGD, such as 'rand-k(fraction=0.1)'; may be given again."

Command = TypeVar("Command", bound=Callable[..., Any])


def compressor_option(help_text: str) -> Callable[[Command], Command]:
    """Return ``--compressor``, which may be given again."""
    return click.option(
        "--compressor",
        "compressors",
        multiple=True,
        metavar="METHOD",
        shell_complete=one_of(completion.compressors),
        help=f"{help_text} 'qsgd-lab methods' lists them.",
    )


def refuse_quantizer_options(ctx: click.Context) -> None:
    """Refuse options beside ``--compressor`` that only QSGD has.

    Raises
    ------
    UsageError
        If one is given.
    """
    for name in _QUANTIZER_OPTIONS:
        if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"--compressor says all of its method; leave out {option}")


def measured(
    ctx: click.Context, compressors: Sequence[str], source: VectorSource, seed: int, trials: int
) -> list[CompressorCheck]:
    """Return a row for each compressor.

    Raises
    ------
    UsageError
        If an option is given that only QSGD has, or a text names nothing.
    """
    from qsgd_lab.cli.errors import argument_errors
    from qsgd_lab.theory.checks.compressors import check_compressor
    from qsgd_lab.theory.checks.distributions import WORST_CASE, draw

    refuse_quantizer_options(ctx)
    if ctx.get_parameter_source("plot") == ParameterSource.COMMANDLINE:
        raise UsageError("--compressor says all of its method; leave out --plot")
    if source.distribution == WORST_CASE:
        raise UsageError("the worst case is known of QSGD alone; leave out --distribution or --compressor")
    vector = source.vector
    if vector is None:
        scheme: dict[str, Any] = {"num_levels": 1, "norm": "max", "bucket_size": 1}  # of the worst case alone
        vector = draw(source.distribution, source.dim, seed=seed, **scheme)
    with argument_errors("--compressor"):
        return [check_compressor(text, vector, trials=trials, seed=seed) for text in compressors]


def render_errors(checks: Sequence[CompressorCheck], source: str, seed: int, output_format: str) -> str:
    """Return the rows of ``variance --compressor`` as ``text``, ``json``, ``csv`` or ``latex``."""
    header = ("method", "measured", "± (95 %)", "exact", "bound for every v", "bias z", "bits/coord.")
    rows = [
        (
            check.compressor,
            figure(check.relative_error),
            f"{(check.ci_high - check.ci_low) / 2:.1g}",
            figure(check.exact),
            figure(check.factor),
            score(check.bias_z),
            figure(check.message_bits),
        )
        for check in checks
    ]
    legend = (
        "measured: the mean of ||Q(v) - v||^2 / ||v||^2 and its interval; exact: its expectation for this "
        "vector, of eden, rotated-stochastic and hsq over uniformly random rotations. bias z: the mean error "
        "along v in standard errors, for unbiased methods; beyond 6 it is not chance, unless one coordinate "
        "dominates. bits: whole messages of one node's first gradient.\n"
    )
    title = "Relative error, ||Q(v) - v||^2 / ||v||^2"
    return _render(
        checks,
        Table(header, rows, title, left=(0,), keys=1),
        legend + _without_formula("error", [check.compressor for check in checks if check.exact is None]),
        ("variance", source, seed),
        output_format,
    )


def render_bits(checks: Sequence[CompressorCheck], source: str, seed: int, output_format: str) -> str:
    """Return the rows of ``code-length --compressor`` as ``text``, ``json``, ``csv`` or ``latex``."""
    header = ("method", "fixed width", "formula", "whole message", "ratio to fp32", "relative error")
    rows = [
        (
            check.compressor,
            figure(check.fixed_bits),
            figure(check.expected_bits),
            figure(check.message_bits),
            figure(32 / check.message_bits if check.message_bits else None),
            figure(check.relative_error),
        )
        for check in checks
    ]
    legend = (
        "fixed width: scales and codes of fixed width alone, and what the formula says of them. whole "
        "message: what is sent, entropy codes, envelope and checksums included.\n"
    )
    table = Table(header, rows, "Bits a coordinate", left=(0,), keys=1)
    legend += _without_formula("bits", [check.compressor for check in checks if check.expected_bits is None])
    return _render(checks, table, legend, ("code-length", source, seed), output_format)


def _without_formula(of_what: str, compressors: Sequence[str]) -> str:
    """Return the line that names the rows of which only the measurement is known; empty without such rows."""
    return f"no formula of the {of_what} is known: {', '.join(compressors)}.\n" if compressors else ""


def _render(
    checks: Sequence[CompressorCheck],
    table: Table,
    legend: str,
    conditions: tuple[str, str, int],
    output_format: str,
) -> str:
    command, source, seed = conditions
    records = [{**dataclasses.asdict(check), "source": source, "seed": seed} for check in checks]
    if output_format in ("json", "csv"):
        return (as_json if output_format == "json" else as_csv)(records)
    heading = f"{source} vector, {checks[0].dim} coordinates, {checks[0].trials} trials, seed {seed}"
    if output_format == "latex":
        from qsgd_lab.report.formats.latex import escape

        caption = f"{escape(table.title)}: {escape(heading)}"
        return as_latex(table, command=command, caption=caption, symbols={})
    return as_text([f"{heading}\n", table, legend])

"""``qsgd-lab convergence``: SGD, QSGD and QSVRG on problems with a known optimum, beside their bounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from qsgd_lab.cli.options import quantizer as shared
from qsgd_lab.cli.options.lists import IntListType
from qsgd_lab.levels import MAX_LEVELS

PROBLEM_NAMES = ("least-squares", "ridge", "logistic")


@click.command()
@shared.options(
    click.option(
        "--problem",
        "problems",
        multiple=True,
        type=click.Choice(PROBLEM_NAMES),
        help="May be given again.  [default: all]",
    ),
    click.option(
        "--levels",
        type=IntListType(minimum=1, maximum=MAX_LEVELS),
        default="1,6",
        show_default=True,
        help="Levels s of QSGD; 6 is sqrt(n).",
    ),
    click.option(
        "--workers",
        type=IntListType(minimum=1, maximum=1024),
        default="1,4,16",
        show_default=True,
        help="Numbers of workers K.",
    ),
    click.option(
        "--steps",
        type=IntListType(minimum=1, maximum=10**6),
        default="100,1000",
        show_default=True,
        help="Steps T of SGD and QSGD.",
    ),
    click.option(
        "--epochs",
        type=click.IntRange(0, 1000),
        default=6,
        show_default=True,
        help="Of QSVRG; 0 leaves it out.",
    ),
    shared.format_option,
    shared.seed_option,
    shared.trials_option(8, "Independent runs of each method."),
    shared.backend_option,
    shared.plot_option,
)
@click.pass_context
def convergence(
    ctx: click.Context,
    problems: Sequence[str],
    levels: tuple[int, ...],
    workers: tuple[int, ...],
    steps: tuple[int, ...],
    epochs: int,
    output_format: str,
    seed: int,
    trials: int,
    backend: str,
    plot: Path | None,
) -> None:
    """Measure the gap of SGD, QSGD and QSVRG against the theorems.

    Least squares (convex), and least squares and logistic regression with a ridge (strongly convex), on the
    embedded digits with 36 features. SGD and QSGD: K workers send the gradient of one example a step; the
    gap of the mean iterate against QSGD's Theorem 3.4 with its constants. QSVRG: the gap after each epoch
    against its linear rate, and the bits of an epoch against Theorem 3.6. The exit code is 1 if a bound is
    exceeded.

    \b
    Example:
      qsgd-lab convergence
      qsgd-lab convergence --problem logistic --levels 1,2,4 --workers 1..8 \\
        --plot convergence.pdf
    """
    from qsgd_lab.cli.measure.convergence_output import render
    from qsgd_lab.cli.options.quantizer import check_figure_file
    from qsgd_lab.theory.checks.convergence import sweep_convergence
    from qsgd_lab.theory.checks.problems import PROBLEMS

    check_figure_file(plot)
    checks = [
        check
        for name in dict.fromkeys(problems or PROBLEM_NAMES)
        for check in sweep_convergence(
            PROBLEMS[name](),
            levels=levels,
            workers=workers,
            steps=steps,
            epochs=epochs,
            trials=trials,
            seed=seed,
            backend=backend,
        )
    ]
    click.echo(render(checks, output_format), nl=False)
    if plot is not None:
        from qsgd_lab.cli.measure.convergence_plot import save_plot

        save_plot(checks, plot)
    if not all(check.passed for check in checks):
        ctx.exit(1)

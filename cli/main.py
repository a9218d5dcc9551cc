"""The ``qsgd-lab`` command: the table of its commands, and the one place where errors become exit codes."""

from __future__ import annotations

from collections.abc import Sequence

import click

from qsgd_lab import __version__
from qsgd_lab.cli.errors import INTERRUPTED, READER_GONE, report_error
from qsgd_lab.cli.lazy import Entry, LazyGroup, source_docstring
from qsgd_lab.cli.standard_output import (
    ReaderGoneError,
    cannot_be_written,
    discard_stdout,
    flush_stdout,
    prepare_stdout,
)
from qsgd_lab.compilation import COMPILING, before_first_compilation

#: One row a command. A command's module imports neither torch nor numba at its top.
COMMANDS = {
    "reproduce": Entry(
        "qsgd_lab.cli.sweep.reproduce", "reproduce", "Train a whole comparison; print its table."
    ),
    "table": Entry(
        "qsgd_lab.cli.sweep.table", "table", "Print stored runs as LaTeX, text, Markdown or data."
    ),
    "plot": Entry(
        "qsgd_lab.cli.sweep.plot", "plot", "Draw stored runs: accuracy, curves, traffic, speed-up."
    ),
    "report": Entry(
        "qsgd_lab.cli.sweep.report", "report", "Write stored runs as one HTML page to send around."
    ),
    "runs": Entry("qsgd_lab.cli.runs.runs", "runs", "List, pack or export stored runs."),
    "submit": Entry("qsgd_lab.cli.sweep.submit", "submit", "Run a sweep on a cluster's tasks."),
    "methods": Entry("qsgd_lab.cli.methods", "methods", "List compressors and algorithms."),
    "variance": Entry(
        "qsgd_lab.cli.measure.variance", "variance", "Measure the quantizer against its formulas."
    ),
    "code-length": Entry(
        "qsgd_lab.cli.measure.code_length", "code_length", "Measure messages against the formulas."
    ),
    "tradeoff": Entry(
        "qsgd_lab.cli.measure.tradeoff", "tradeoff", "Set bits against variance, with the lower bound."
    ),
    "convergence": Entry(
        "qsgd_lab.cli.measure.convergence", "convergence", "Measure SGD, QSGD, QSVRG against bounds."
    ),
    "compare": Entry("qsgd_lab.cli.sweep.compare", "compare", "Set methods side by side at the same bits."),
    "suite": Entry("qsgd_lab.cli.suite.suite", "suite", "Run and read the pinned benchmark."),
    "link": Entry("qsgd_lab.cli.link.link", "link", "Calculate or measure a step on a network."),
    "flaws": Entry("qsgd_lab.cli.sweep.flaws", "flaws", "Measure the flaws of the published protocol."),
    "encode": Entry("qsgd_lab.cli.messages.encode", "encode", "Quantize and encode a gradient file."),
    "decode": Entry("qsgd_lab.cli.messages.decode", "decode", "Turn a message back into a gradient file."),
    "inspect": Entry("qsgd_lab.cli.messages.inspect", "inspect", "Say what a message is and what it costs."),
    "bench": Entry("qsgd_lab.cli.bench.bench", "bench", "Measure speed and size beside other libraries."),
    "data": Entry("qsgd_lab.cli.data", "data", "Fetch, verify or find data sets."),
    "warm-up": Entry("qsgd_lab.cli.warm_up", "warm_up", "Compile all kernels now, not at their first use."),
    "doctor": Entry("qsgd_lab.cli.doctor.doctor", "doctor", "Check this machine and say how to fix it."),
    "completion": Entry("qsgd_lab.cli.completion", "completion", "Print the completion script for a shell."),
}


def _print_versions(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    """Print the version of the lab, of Python and of all that the lab needs, and end."""
    if not wanted or ctx.resilient_parsing:
        return
    from qsgd_lab.cli.doctor.software import versions

    lines = [f"qsgd-lab {__version__}", *(f"{name} {version}" for name, version in versions().items())]
    click.echo("\n".join(lines))
    ctx.exit()


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_versions,
    help="Show the versions of the lab, of Python and of the packages, and exit.",
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Quantize gradients, train with them, check the theory and print the tables.

    \b
    Example:
      qsgd-lab doctor
      qsgd-lab variance --bits 1..8
      qsgd-lab reproduce --model alexnet --nodes 1,2,4,8
      qsgd-lab table > paper/results.tex

    Results go to standard output; progress and warnings to standard error. Exit codes: 0 all is well,
    1 a run or check failed, 2 the command line is wrong, 3 data are missing, 4 stored data are damaged,
    5 the time of --max-time is up and runs remain, 130 interrupted.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)


if cli.help is None:
    cli.help = source_docstring(__name__, "cli")


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    A command ends by returning, by ``ctx.exit(code)`` or by raising. Its context's ``obj`` says whether the
    process is its own, and ends with it.

    Parameters
    ----------
    args : sequence of str, optional
        Arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        The exit code. Anything but a usage error, a `LabError` or a failure of the machine is a bug and is
        raised.
    """
    prepare_stdout()
    before_first_compilation(lambda: click.echo(COMPILING, err=True))
    try:
        code = cli.main(args, prog_name="qsgd-lab", standalone_mode=False, obj=args is None)
        flush_stdout()
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except ReaderGoneError:
        discard_stdout()
        return READER_GONE
    except Exception as error:
        if cannot_be_written(error):
            discard_stdout()
            return READER_GONE
        code = report_error(error)
        if isinstance(error, OSError):
            discard_stdout()
    return code if isinstance(code, int) else 0

"""``qsgd-lab link``: what every collective costs on a network, for a model that is not trained yet."""

from __future__ import annotations

import click

from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.lazy import Entry, LazyGroup
from qsgd_lab.cli.options.lists import NODES_LIST, IntListType
from qsgd_lab.cli.options.quantities import BANDWIDTH, PARAMETERS, SHORT_TIME

SUBCOMMANDS = {
    "measure": Entry("qsgd_lab.cli.link.measure", "measure", "Exchange messages, and time them."),
}
OUTPUT_FORMATS = ("text", "json", "csv", "latex")


@click.group(cls=LazyGroup, table=SUBCOMMANDS, invoke_without_command=True)
@click.option(
    "--parameters",
    type=PARAMETERS,
    default="25.6M",
    show_default=True,
    help="Coordinates of a gradient: 25.6M, 2^20, 1e6.",
)
@click.option("--nodes", type=NODES_LIST, default="2,4,8,16", show_default=True, help="Node counts N.")
@click.option(
    "--bits",
    type=IntListType(minimum=1, maximum=15),
    default="2,4,8",
    show_default=True,
    help="Magnitude bits, such as 2,4,8.",
)
@click.option(
    "--bucket-size",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="Coordinates that share a norm.",
)
@click.option(
    "--bandwidth", type=BANDWIDTH, default="1Gbit/s", show_default=True, help="Of a machine's link."
)
@click.option(
    "--latency", type=SHORT_TIME, default="50us", show_default=True, help="Of a message between machines."
)
@click.option(
    "--compute",
    type=SHORT_TIME,
    default="0",
    show_default=True,
    help="Forward and backward pass of a step: 80ms.",
)
@click.option(
    "--quantize",
    type=SHORT_TIME,
    default="0",
    show_default=True,
    help="What quantizing and coding add to a step: 3ms; link measure times it.",
)
@click.option(
    "--overlap",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of --compute during which the network works already. About 2/3 is the backward pass, in "
    "which gradients appear; a step cannot have 1, the bound.",
)
@click.option(
    "--devices",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Devices of a machine, which share its link; each is a node.",
)
@click.option(
    "--inner-bandwidth",
    type=BANDWIDTH,
    default="100Gbit/s",
    show_default=True,
    help="Of a device's link within its machine.",
)
@click.option(
    "--inner-latency",
    type=SHORT_TIME,
    default="5us",
    show_default=True,
    help="Of a message within a machine.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(OUTPUT_FORMATS),
    default="text",
    show_default=True,
    help="How to print the rows.",
)
@click.pass_context
def link(
    ctx: click.Context,
    parameters: int,
    nodes: tuple[int, ...],
    bits: tuple[int, ...],
    bucket_size: int,
    bandwidth: float,
    latency: float,
    compute: float,
    quantize: float,
    overlap: float,
    devices: int,
    inner_bandwidth: float,
    inner_latency: float,
    format_name: str,
) -> None:
    """Calculate what a step costs on a network, by every collective.

    A row for each number of nodes, what is sent (float32, float16, b bits a magnitude at fixed width with
    norms) and collective: seconds of the collective and of the step, bytes on a machine's link, speed-up over
    the fastest float32 all-reduce, and the bandwidth below which the row is faster than it. With --devices,
    flat collectives, which know no machines, and two-level ones, which add up within a machine first.

    The model: rounds times latency, and bytes over bandwidth; nothing is lost, and there is no other traffic.
    Elias codes send less than the fixed width; two-phase rounds twice.

    \b
    Example:
      qsgd-lab link --parameters 25.6M --nodes 2,64,1024 --bits 2,4 \\
        --bandwidth 10Gbit/s --latency 20us \\
        --compute 80ms --format json
      qsgd-lab link --nodes 16 --devices 8 --bandwidth 25Gbit/s \\
        --compute 120ms --overlap 0.6
      qsgd-lab link measure --nodes 2 --shape 50Mbit/s
    """
    if ctx.invoked_subcommand is not None:
        return
    from qsgd_lab.cli.link.output import render
    from qsgd_lab.report.analysis.link import Question, rows_of
    from qsgd_lab.theory.collectives import Network, Step

    with argument_errors():
        question = Question(
            parameters,
            bits,
            bucket_size,
            Network(bandwidth, latency, devices, inner_bandwidth, inner_latency),
            Step(compute, quantize, overlap),
        )
        rows = [row for count in nodes for row in rows_of(question, count)]
    click.echo(render(rows, question, format_name), nl=False)

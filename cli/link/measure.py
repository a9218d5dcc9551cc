"""``qsgd-lab link measure``: steps of real processes, over loopback or shaped links, beside the model."""

from __future__ import annotations

import click

from qsgd_lab.cli.options import completion
from qsgd_lab.cli.options.completion import one_of
from qsgd_lab.cli.options.lists import IntListType, WordsType
from qsgd_lab.cli.options.quantities import BANDWIDTH

#: Those of the hook; written here, so that help imports no torch.
LAYOUTS = ("fixed", "auto", "ranged")
METHODS = ("fp32", "fp16", "powersgd", "all-gather", "two-phase")


@click.command()
@click.option("--nodes", type=click.IntRange(2, 64), default=2, show_default=True, help="Processes.")
@click.option(
    "--bits", type=IntListType(minimum=1, maximum=15), default="2", show_default=True, help="Magnitude bits."
)
@click.option(
    "--methods",
    type=WordsType(METHODS),
    default=",".join(METHODS),
    show_default=True,
    help=f"A list of: {', '.join(METHODS)}; the last two with every --bits.",
)
@click.option(
    "--layouts",
    type=WordsType(LAYOUTS),
    default="fixed",
    show_default=True,
    help=f"Of the lab's messages, a list of: {', '.join(LAYOUTS)}.",
)
@click.option(
    "--shape",
    type=BANDWIDTH,
    help="Over links of this rate, in network namespaces: Linux, root.  [default: loopback, unshaped]",
)
@click.option(
    "--model",
    default="alexnet",
    show_default=True,
    metavar="NAME",
    shell_complete=one_of(completion.models),
    help="Whose gradients are exchanged.",
)
@click.option(
    "--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Images of a node in a step."
)
@click.option(
    "--steps", type=click.IntRange(min=2), default=20, show_default=True, help="Timed steps of each method."
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["text", "json", "csv", "latex"]),
    default="text",
    show_default=True,
    help="How to print the rows.",
)
def measure(
    nodes: int,
    bits: tuple[int, ...],
    methods: tuple[str, ...],
    layouts: tuple[str, ...],
    shape: float | None,
    model: str,
    batch: int,
    steps: int,
    format_name: str,
) -> None:
    """Exchange a network's gradients between processes, and time the steps.

    Every process trains the network on random images under DDP. Methods take turns, step by step: float32 by
    torch's all-reduce, torch's float16 and PowerSGD hooks, and the lab's hook. A row has medians of the
    slowest rank, bytes by the counter of rank 0's interface, and beside them the model of qsgd-lab link, at
    the computing and coding times and the latency measured here. PowerSGD (rank 2) has one bucket: with
    several, it aborts under gloo.

    Ratios are left out where what other processes use, with a core for each of these, exceeds the cores.

    \b
    Example:
      qsgd-lab link measure --nodes 2 --shape 50Mbit/s
      qsgd-lab link measure --nodes 4 --bits 2,4 --methods fp32,two-phase \\
        --format json
    """
    from qsgd_lab.cli.link.measure_output import render
    from qsgd_lab.link_lab.measurement import Asked, run
    from qsgd_lab.models import MODELS

    if model not in MODELS:
        raise click.UsageError(f"no model {model!r}; there are: {', '.join(MODELS)}")
    names = [name for name in methods if name in ("fp32", "fp16", "powersgd")]
    ours = [f"{width}:{name}" for width in bits for name in methods if name not in names]
    names += [name if layout == "fixed" else f"{name}:{layout}" for name in ours for layout in layouts]
    click.echo(f"Measuring {', '.join(names)} on {nodes} processes.", err=True)
    outcome = run(Asked(nodes, model, "digits", batch, steps, names, shape))
    click.echo(render(outcome, format_name), nl=False)

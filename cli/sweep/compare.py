"""``qsgd-lab compare``: methods side by side at the same bits, on problems with a known optimum."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qsgd_lab import plugins
from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.options.lists import NODES_LIST
from qsgd_lab.cli.options.quantities import BANDWIDTH, SHORT_TIME, BandwidthType
from qsgd_lab.cli.options.quantizer import plot_option
from qsgd_lab.cli.options.stored_runs import runs_option
from qsgd_lab.cli.options.training import import_option
from qsgd_lab.cli.sweep.compare_output import FORMATS, Words, render
from qsgd_lab.report.analysis.communication import Link
from qsgd_lab.report.tables.options import DEFAULT_LINK
from qsgd_lab.report.tables.units import format_bandwidth, format_seconds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qsgd_lab.problems.comparison import ComparedMethod, Comparison
    from qsgd_lab.report.comparison.outcome import Outcome
    from qsgd_lab.report.comparison.rows import Budget

BUDGET_FORMS = "write 32x (of synchronous fp32's bits), bits such as 1e6, or seconds at a link, 2s@1Gbit/s"
_BUDGET = re.compile(r"([0-9.]+(?:e[0-9]+)?)(x|s@.*)?")


@click.command()
@click.option("--problem", required=True, metavar="NAME", help="kinked, published-local-sgd, ridge, …")
@click.option("--nodes", type=NODES_LIST, default="8", show_default=True, help="Node counts N.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    required=True,
    metavar="METHOD",
    help='An algorithm by its text, with its compressor: "local-sgd(rounds=16)", '
    '"synchronous(compressor=ef(top-k(fraction=0.01)))". May be given again; the first is what the others '
    "are tested against. See qsgd-lab methods.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Steps T.  [default: the problem's]")
@click.option(
    "--repeats", type=click.IntRange(1, 10**5), default=100, show_default=True, help="Repetitions R."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option(
    "--split",
    default="iid",
    show_default=True,
    help="How examples are dealt to nodes: iid, shards:K or dirichlet:ALPHA.",
)
@click.option(
    "--rate-scale",
    "rate_scales",
    default="1",
    show_default=True,
    metavar="LIST",
    help="Factors of the problem's learning rates, such as 0.25,0.5,1,2; each method gets its best, chosen "
    "on repetitions that are not reported.",
)
@click.option("--budget", help=f"What each method may spend: {BUDGET_FORMS}.")
@click.option(
    "--link",
    type=BANDWIDTH,
    help=f"Bandwidth of a node's link.  [default: {format_bandwidth(DEFAULT_LINK.bandwidth)}]",
)
@click.option(
    "--latency", type=SHORT_TIME, help=f"Of a message.  [default: {format_seconds(DEFAULT_LINK.latency)}]"
)
@click.option("--compute", type=SHORT_TIME, default="0s", show_default=True, help="Of a node in a step.")
@import_option
@runs_option("folder")
@click.option("--format", "format_name", type=click.Choice(FORMATS), default="text", show_default=True)
@plot_option
def compare(
    problem: str,
    nodes: Sequence[int],
    methods: Sequence[str],
    steps: int | None,
    repeats: int,
    seed: int,
    split: str,
    rate_scales: str,
    budget: str | None,
    link: float | None,
    latency: float | None,
    compute: float,
    imports: Sequence[str],
    folder: Path,
    format_name: str,
    plot: Path | None,
) -> None:
    """Compare methods on a problem with a known optimum: error against bits, rounds and modelled time.

    Every method meets the same noise in the same repetition, so that paired t tests tell them apart (Holm's
    adjustment over the table). Bits are those of whole messages, of one node, up and down; time is a model of
    a ring of nodes. Finished repetitions are kept, and the same command goes on where it was stopped.

    \b
    Example:
      qsgd-lab compare --problem published-local-sgd --nodes 20 --repeats 2000 \\
        --method synchronous --method "local-sgd(schedule=growing,rounds=20)" \\
        --method "local-sgd(schedule=one-shot)"
      qsgd-lab compare --problem logistic --split shards:1 --budget 32x \\
        --method synchronous --method "synchronous(compressor=ef(top-k(fraction=0.05)))" \\
        --method "local-sgd(interval=32)" --plot logistic.pdf
    """
    from qsgd_lab.cli.options.quantizer import check_figure_file
    from qsgd_lab.data.node_split import check_split
    from qsgd_lab.problems.comparison import Comparison, Settings, methods_of
    from qsgd_lab.problems.registry import problem_entry
    from qsgd_lab.report.comparison.rows import rows_of
    from qsgd_lab.runs.problem_store import ProblemStore
    from qsgd_lab.runs.store import RunStore

    check_figure_file(plot)
    with argument_errors():
        plugins.load(imports)
        entry = problem_entry(problem)
        compared = methods_of(methods)
        made = [entry.make(count, check_split(split), seed) for count in nodes]
        settings = Settings(
            problem, steps or made[0].num_steps, repeats, seed, check_split(split), _scales(rate_scales)
        )
        net = Link(link or DEFAULT_LINK.bandwidth, DEFAULT_LINK.latency if latency is None else latency)
        limit, net = _budget(budget, made[0].num_coordinates, settings.steps, net)
    comparison = Comparison(
        settings, ProblemStore(RunStore(folder)), lambda words: click.echo(f"{words}.", err=True)
    )
    outcomes = [_outcome(comparison, method, count) for count in nodes for method in compared]
    single = _single(comparison) if entry.has_speed_up else None
    rows = rows_of(outcomes, budget=limit, link=net, compute=compute, single=single)
    words = _words(entry.name, entry.error, settings.repeats, compared, net)
    click.echo(render(rows, outcomes, words, format_name), nl=False)
    if plot is not None:
        from qsgd_lab.report.figures.comparison import save_comparison

        save_comparison(outcomes, plot, title=words.title, y_label=entry.error)


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0 < scale < math.inf for scale in scales):
        raise ValueError(f"--rate-scale is {text!r}; write numbers above 0, such as 0.5,1,2")
    return scales


def _budget(text: str | None, num_coordinates: int, steps: int, link: Link) -> tuple[Budget, Link]:
    """Return the budget, and the link that it names."""
    from qsgd_lab.report.comparison.rows import Budget

    if text is None:
        return Budget(), link
    match = _BUDGET.fullmatch(text.strip())
    try:
        amount = float(match[1]) if match else 0.0
    except ValueError:
        amount = 0.0
    if match is None or not 0 < amount < math.inf:
        raise ValueError(f"--budget is {text!r}; {BUDGET_FORMS}")
    if match[2] is None:
        return Budget(bits=amount), link
    if match[2] == "x":
        return Budget(bits=2 * 32 * num_coordinates * steps / amount), link
    bandwidth = BandwidthType().convert(match[2].removeprefix("s@"), None, None)
    return Budget(seconds=amount), Link(bandwidth, link.latency)


def _outcome(comparison: Comparison, method: ComparedMethod, nodes: int) -> Outcome:
    from qsgd_lab.report.comparison.outcome import outcome_of

    scale, blocks = comparison.blocks(method, nodes)
    scaled = f", rate x {scale:g}" if len(comparison.settings.rate_scales) > 1 else ""
    return outcome_of(method.label + scaled, method.compressor.make().aggregates, blocks)


def _single(comparison: Comparison) -> NDArray[np.float64]:
    """Return the errors of one node alone."""
    import numpy as np

    from qsgd_lab.problems.comparison import ComparedMethod

    _, blocks = comparison.blocks(ComparedMethod.parse("synchronous"), 1)
    return np.array([error for block in blocks for error in block.errors[-1]])


def _words(name: str, measure: str, repeats: int, methods: Sequence[ComparedMethod], link: Link) -> Words:
    notes = [
        f"{measure}: mean of {repeats} repetitions, ± its standard error. Bits of one node, whole messages.",
        f"Time: {format_bandwidth(link.bandwidth)}, {format_seconds(link.latency)} a message.",
    ]
    if len(methods) > 1:
        notes.append(
            f"p: two-sided paired t test against {methods[0].label} at the same N, with Holm's adjustment."
        )
    return Words(f"Problem {name}", measure, tuple(notes))

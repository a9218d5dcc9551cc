"""``qsgd-lab compare``: methods side by side at the same bits, on problems with a known optimum."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qsgd_lab import plugins
from qsgd_lab.cli.errors import argument_errors
from qsgd_lab.cli.options import completion
from qsgd_lab.cli.options.completion import one_of
from qsgd_lab.cli.options.lists import NODES_LIST, SEEDS_LIST
from qsgd_lab.cli.options.quantities import BANDWIDTH, DURATION, SHORT_TIME, BandwidthType
from qsgd_lab.cli.options.quantizer import plot_option
from qsgd_lab.cli.options.stored_runs import runs_option
from qsgd_lab.cli.options.training import RESIDUAL_UNITS, import_option
from qsgd_lab.cli.sweep.compare_output import FORMATS, Words, render
from qsgd_lab.cli.sweep.theory_warnings import print_warnings
from qsgd_lab.report.analysis.communication import Link
from qsgd_lab.report.tables.options import DEFAULT_LINK
from qsgd_lab.report.tables.units import format_bandwidth, format_seconds
from qsgd_lab.training.presets import PRESETS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qsgd_lab.problems.comparison import ComparedMethod, Comparison
    from qsgd_lab.problems.registry import ProblemEntry
    from qsgd_lab.report.comparison.outcome import Outcome
    from qsgd_lab.report.comparison.rows import Budget

BUDGET_FORMS = "write 32x (of synchronous fp32's bits), bits such as 1e6, or seconds at a link, 2s@1Gbit/s"
_DIVERGED = "div.: runs that left the finite numbers, or whose loss ended above that of a uniform guess."
_BUDGET = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)(x|m?s@.*)?")


@click.command()
@click.option(
    "--problem",
    required=True,
    metavar="NAME",
    shell_complete=one_of(completion.problems),
    help=f"With a known optimum: {', '.join(completion.PROBLEMS)}. Or a data set on which networks are "
    "trained, such as digits. Or an imported one.",
)
@click.option("--nodes", type=NODES_LIST, default="8", show_default=True, help="Node counts N.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    required=True,
    metavar="METHOD",
    shell_complete=one_of(completion.algorithms),
    help='An algorithm by its text, with its compressor: "local-sgd(rounds=16)", '
    '"synchronous(compressor=ef(top-k(fraction=0.01)))". May be given again; the first is what the others '
    f"are tested against. {RESIDUAL_UNITS} See qsgd-lab methods.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Steps T.  [default: the problem's]")
@click.option("--repeats", type=click.IntRange(1, 10**5), help="Repetitions R.  [default: 100]")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Of problems.  [default: 0]")
@click.option("--seeds", type=SEEDS_LIST, help="Seeds of networks, such as 0..2.  [default: the preset's]")
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    metavar="NAME",
    help=f"Of networks: {', '.join(PRESETS)}.  [default: demo]",
)
@click.option(
    "--model",
    metavar="NAME",
    shell_complete=one_of(completion.models),
    help="The network.  [default: the preset's first]",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Of networks.  [default: the preset's]")
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Networks trained side by side.  [default: one a core]"
)
@click.option("--max-time", type=DURATION, help="Stop training, resumably, after this time: 90s, 40m.")
@click.option(
    "--split",
    default="iid",
    shell_complete=one_of(completion.splits),
    show_default=True,
    help="How examples are dealt to nodes: iid, shards:K or dirichlet:ALPHA.",
)
@click.option(
    "--rate-scale",
    "rate_scales",
    metavar="LIST",
    help="Factors of the learning rates, such as 0.25,0.5,1,2, or auto, which searches (coarse: by factors "
    "of 4); each method gets its best, chosen on repetitions, or by validation accuracy on a seed, that are "
    "not reported.  [default: 1]",
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
    repeats: int | None,
    seed: int | None,
    seeds: Sequence[int] | None,
    preset: str | None,
    model: str | None,
    epochs: int | None,
    jobs: int | None,
    max_time: float | None,
    split: str,
    rate_scales: str | None,
    budget: str | None,
    link: float | None,
    latency: float | None,
    compute: float,
    imports: Sequence[str],
    folder: Path,
    format_name: str,
    plot: Path | None,
) -> None:
    """Compare methods at the same bits: error or accuracy against bits, rounds and modelled time.

    On a problem with a known optimum every method meets the same noise in the same repetition, and on a data
    set the same images and first weights in the same seed, so that paired t tests tell methods apart (Holm's
    adjustment over the table). Bits are those of whole messages, of one node, up and down; time is a model of
    a ring of nodes. What is finished is kept with the other runs, and the same command goes on where it was
    stopped. With a budget on a data set, validation accuracy at the last epoch within it is compared, else
    test accuracy.

    \b
    Example:
      qsgd-lab compare --problem published-local-sgd --nodes 20 --repeats 2000 \\
        --method synchronous --method "local-sgd(schedule=growing,rounds=20)" \\
        --method "local-sgd(schedule=one-shot)"
      qsgd-lab compare --problem logistic --split shards:1 --budget 32x \\
        --method synchronous \\
        --method "synchronous(compressor=ef(top-k(fraction=0.05)))" \\
        --method "local-sgd(interval=32)" --plot logistic.pdf
      qsgd-lab compare --problem digits --split shards:2 --nodes 8 \\
        --seeds 0..2 \\
        --method synchronous --method "cser(ratio=32)" \\
        --method "local-sgd(interval=32)"
    """
    from qsgd_lab.cli.options.quantizer import check_figure_file
    from qsgd_lab.data.node_split import IID, check_split
    from qsgd_lab.data.registry import DATASETS
    from qsgd_lab.problems.rate_search import RateScales
    from qsgd_lab.report.comparison.rows import rows_of

    check_figure_file(plot)
    with argument_errors():
        plugins.load(imports)
        split = check_split(split)
        net = Link(link or DEFAULT_LINK.bandwidth, DEFAULT_LINK.latency if latency is None else latency)
        limit = _Budget.parse(budget)
    single = None
    if problem in DATASETS:
        from qsgd_lab.cli.sweep.compare_networks import NetworkRuns, network_outcomes

        _refuse(problem, "a data set", {"--steps": steps, "--repeats": repeats, "--seed": seed})
        settings = {"split": split, **({"epochs": epochs} if epochs else {})}
        with argument_errors():
            scales = RateScales.parse(rate_scales or "1")
        asked = NetworkRuns(preset or "demo", problem, model, nodes, seeds, settings, scales)
        outcomes = network_outcomes(asked, methods, folder, jobs, max_time)
        num_coordinates, num_steps = outcomes[0].dimension, int(outcomes[0].steps[-1])
        measure = "accuracy (%)"
        runs = f"{len(outcomes[0].runs)} seeds"
    else:
        given = {
            "--seeds": seeds,
            "--preset": preset,
            "--model": model,
            "--epochs": epochs,
            "--max-time": max_time,
            "--jobs": jobs,
        }
        with argument_errors():
            entry, comparison, compared = _on_problem(
                problem, nodes, methods, steps, repeats or 100, seed or 0, split, rate_scales, folder
            )
        _refuse(problem, "a problem with a known optimum", given)
        if not entry.has_examples:
            _refuse(problem, "a problem without examples", {"--split": None if split == IID else split})
        print_warnings(line for method in compared for line in method.warnings())
        outcomes = [_outcome(comparison, method, count) for count in nodes for method in compared]
        single = _single(comparison) if entry.has_speed_up else None
        num_coordinates, num_steps = outcomes[0].dimension, comparison.settings.steps
        measure, runs = entry.error, f"{repeats or 100} repetitions"
    net = Link(limit.bandwidth or net.bandwidth, net.latency)
    rows = rows_of(
        outcomes, budget=limit.of(num_coordinates, num_steps), link=net, compute=compute, single=single
    )
    words = _words(problem, measure, runs, outcomes, net, split)
    if any(row.diverged for row in rows):
        words = replace(words, notes=(*words.notes, _DIVERGED))
    click.echo(render(rows, outcomes, words, format_name), nl=False)
    if plot is not None:
        from qsgd_lab.report.figures.comparison import save_comparison

        is_error = problem not in DATASETS
        save_comparison(outcomes, plot, title=words.title, y_label=measure, is_error=is_error)


def _refuse(problem: str, what: str, given: Mapping[str, object]) -> None:
    """Refuse options that belong to the other kind of comparison."""
    for name, value in given.items():
        if value is not None:
            raise click.UsageError(f"{problem} is {what}; leave out {name}")


def _on_problem(
    problem: str,
    nodes: Sequence[int],
    methods: Sequence[str],
    steps: int | None,
    repeats: int,
    seed: int,
    split: str,
    rate_scales: str | None,
    folder: Path,
) -> tuple[ProblemEntry, Comparison, list[ComparedMethod]]:
    from qsgd_lab.method_text import cut_option
    from qsgd_lab.problems.comparison import Comparison, Settings, methods_of
    from qsgd_lab.problems.rate_search import RateScales
    from qsgd_lab.problems.registry import problem_entry
    from qsgd_lab.runs.problem_store import ProblemStore
    from qsgd_lab.runs.store import RunStore

    entry = problem_entry(problem)
    for text in methods:
        if cut_option(text, "collective")[1]:
            raise ValueError(f"{text}: collective belongs to networks on a data set; leave it out")
    compared = methods_of(methods)
    made = [entry.make(count, split, seed) for count in nodes]
    settings = Settings(
        problem, steps or made[0].num_steps, repeats, seed, split, RateScales.parse(rate_scales or "1")
    )
    for method in compared:
        try:
            method.algorithm.make().check_steps(settings.steps)
        except ValueError as error:
            raise ValueError(f"{method.algorithm}: {error}") from None
    store = ProblemStore(RunStore(folder))
    return entry, Comparison(settings, store, lambda words: click.echo(f"{words}.", err=True)), compared


@dataclass(frozen=True)
class _Budget:
    """--budget as it was written: a ratio, bits, or seconds at a bandwidth."""

    ratio: float | None = None
    bits: float | None = None
    seconds: float | None = None
    bandwidth: float | None = None

    @classmethod
    def parse(cls, text: str | None) -> _Budget:
        """Return the budget of a text; None means no limit.

        Raises
        ------
        ValueError
            If it is not a budget.
        """
        match = _BUDGET.fullmatch((text or "").strip())
        if text is None:
            return cls()
        try:
            amount = float(match[1]) if match else 0.0
        except ValueError:
            amount = 0.0
        if match is None or not 0 < amount < math.inf:
            raise ValueError(f"--budget is {text!r}; {BUDGET_FORMS}")
        if match[2] is None:
            return cls(bits=amount)
        if match[2] == "x":
            return cls(ratio=amount)
        try:
            unit, _, link = match[2].partition("@")
            bandwidth = BandwidthType().convert(link, None, None)
        except click.BadParameter as error:
            raise ValueError(f"--budget is {text!r}: {error.message}") from None
        return cls(seconds=amount / 1000 if unit == "ms" else amount, bandwidth=bandwidth)

    def of(self, num_coordinates: int, steps: int) -> Budget:
        """Return the budget for vectors of n coordinates and T steps; a ratio is of synchronous fp32."""
        from qsgd_lab.report.comparison.rows import Budget

        whole = 2 * 32 * num_coordinates * steps
        return Budget(whole / self.ratio if self.ratio else self.bits, self.seconds)


def _outcome(comparison: Comparison, method: ComparedMethod, nodes: int) -> Outcome:
    from qsgd_lab.problems.registry import problem_entry
    from qsgd_lab.report.comparison.outcome import outcome_of

    scale, blocks = comparison.blocks(method, nodes)
    scaled = f", rate x {scale:g}" if comparison.settings.rate_scales.is_choice else ""
    entry = problem_entry(comparison.settings.problem)
    dimension = entry.make(nodes, comparison.settings.split, comparison.settings.seed).num_coordinates
    has_server = method.algorithm.make().uses_server
    aggregates = "server" if has_server else method.compressor.make().aggregates
    return outcome_of(method.label + scaled, aggregates, dimension, blocks)


def _single(comparison: Comparison) -> NDArray[np.float64]:
    """Return the errors of one node alone."""
    import numpy as np

    from qsgd_lab.problems.comparison import ComparedMethod

    _, blocks = comparison.blocks(ComparedMethod.parse("synchronous"), 1)
    return np.array([error for block in blocks for error in block.errors[-1]])


def _words(name: str, measure: str, runs: str, outcomes: Sequence[Outcome], link: Link, split: str) -> Words:
    notes = [
        f"{measure}: mean of {runs}, ± its standard error. Bits of one node, whole messages.",
        f"Time: {format_bandwidth(link.bandwidth)}, {format_seconds(link.latency)} a message.",
    ]
    first = outcomes[0].method
    if any(outcome.method != first for outcome in outcomes):
        notes.append(f"p: two-sided paired t test against {first} at the same N, with Holm's adjustment.")
    title = f"Problem {name}" + ("" if split == "iid" else f", split {split}")
    return Words(title, measure, tuple(notes))

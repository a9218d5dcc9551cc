"""Write the tables of equal bits into docs/comparing.md from the stored runs, or check that they are current.

python docs/scripts/make_comparing_page.py            write them
python docs/scripts/make_comparing_page.py --check    exit with 1 if they would change

The runs are in paper/compare-runs.jsonl, those of the searches for learning rates among them. Under a table
is the command that makes it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from qsgd_lab import plugins
from qsgd_lab.cli.sweep.compare_networks import NetworkRuns, network_outcomes
from qsgd_lab.problems.rate_search import RateScales
from qsgd_lab.report.comparison.outcome import Outcome, standard_error

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "comparing.md"
RUNS = ROOT / "paper" / "compare-runs.jsonl"
BEGIN, END = "<!-- equal bits -->\n", "<!-- /equal bits -->\n"
SEEDS = (0, 1, 2)
PLUGIN = "examples/pooled_perceptron.py"


@dataclass(frozen=True)
class Task:
    """A network on a data set, and what is compared at each overall ratio of CSER.

    Attributes
    ----------
    title, dataset, preset, model : str
    epochs, nodes : int
    splits : tuple of str
    methods : dict of int to tuple of str
        Ratio -> texts, the first CSER's: the others send as many bits, to a few percent.
    """

    title: str
    dataset: str
    preset: str
    model: str
    epochs: int
    nodes: int
    splits: tuple[str, ...]
    methods: dict[int, tuple[str, ...]]


def _methods(ratio: int, interval: int, blocks: int, rounds: int, fraction: float) -> tuple[str, ...]:
    return (
        f"cser(ratio={ratio})",
        f"ef-sgd(compressor=grbs(ratio={ratio}))",
        f"qsparse-local-sgd(interval={interval},compressor=grbs(ratio={blocks}))",
        f"local-sgd(rounds={rounds})",
        f"synchronous(compressor=ef(top-k(fraction={fraction})))",
    )


TASKS = (
    Task(
        "Digits, one hidden layer (25,994 parameters), N = 8, 1,131 steps of 4 images a node",
        "digits",
        "own",
        "pooled-perceptron",
        29,
        8,
        ("iid", "shards:2"),
        {
            32: _methods(32, 8, 4, 36, 0.0257),
        },
    ),
    Task(
        "Fashion-MNIST, one hidden layer (101,770 parameters), N = 4, 1,687 steps of 8 images a node",
        "fashion-mnist",
        "own",
        "mlp",
        1,
        4,
        ("iid",),
        {1024: _methods(1024, 8, 108, 2, 0.0007)},
    ),
)


def outcomes_of(task: Task, split: str, texts: tuple[str, ...]) -> list[Outcome]:
    """Return the outcomes of a comparison, all from the stored runs."""
    settings = {"split": split, "epochs": task.epochs}
    scales = RateScales.parse("coarse")
    asked = NetworkRuns(task.preset, task.dataset, task.model, [task.nodes], SEEDS, settings, scales)
    return network_outcomes(asked, texts, RUNS, jobs=1, max_time=0.0)


def table(task: Task) -> str:
    """Return a task's table and the command that makes it again."""
    heads = " | ".join(f"`{split}`" for split in task.splits)
    lines = [
        f"**{task.title}**\n",
        f"| ratio | method | fp32's bits / sent | {heads} |",
        "| ---: | --- | ---: |" + " ---: |" * len(task.splits),
    ]
    base = [outcomes_of(task, split, ("synchronous",))[0] for split in task.splits]
    lines.append(_row("1", base, base[0]))
    for ratio, texts in task.methods.items():
        columns = [outcomes_of(task, split, texts) for split in task.splits]
        lines += [_row(f"{ratio}", list(row), base[0]) for row in zip(*columns, strict=True)]
    return "\n".join(lines) + f"\n\n{_command(task)}\n"


def _row(ratio: str, row: list[Outcome], base: Outcome) -> str:
    name = row[0].method.partition(", rate")[0]
    saved = base.sent_bits[-1] / row[0].sent_bits[-1]
    return f"| {ratio} | {name} | {saved:.4g} | {' | '.join(_accuracy(outcome) for outcome in row)} |"


def _accuracy(outcome: Outcome) -> str:
    values = outcome.at(outcome.steps.size - 1)
    diverged = int(outcome.diverged(outcome.steps.size - 1).sum())
    factor = f"{float(outcome.method.rpartition('rate x ')[2]):.2g}"
    mark = f", {diverged} div." if diverged else ""
    return f"{values.mean():.1f} ± {standard_error(values) or 0:.1f}{mark} (η × {factor})"


def _command(task: Task) -> str:
    plugin = f"--import {PLUGIN} " if task.model == "pooled-perceptron" else ""
    methods = ["synchronous", *next(iter(task.methods.values()))]
    lines = [
        f"qsgd-lab compare {plugin}--problem {task.dataset} --preset {task.preset} --model {task.model}",
        f"--epochs {task.epochs} --nodes {task.nodes} --seeds 0..2 --split {task.splits[-1]}",
        "--rate-scale coarse",
        *(f'--method "{text}"' for text in methods),
    ]
    return "```\n" + " \\\n  ".join(lines) + "\n```"


@click.command()
@click.option("--check", is_flag=True, help="Only compare.")
def main(check: bool) -> None:
    """Write the tables, or check them."""
    plugins.load([str(ROOT / PLUGIN)])
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    made = before + BEGIN + "\n".join(["", *(table(task) for task in TASKS)]) + END + after
    if not check:
        PAGE.write_text(made, encoding="utf-8")
    elif made != text:
        raise click.ClickException(
            "docs/comparing.md is not current; run: python docs/scripts/make_comparing_page.py"
        )


if __name__ == "__main__":
    main()

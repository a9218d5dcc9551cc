"""Write the tables of equal bits into docs/comparing.md from the stored runs, or check that they are current.

python docs/scripts/make_comparing_page.py            write them
python docs/scripts/make_comparing_page.py --check    exit with 1 if they would change

The runs are in paper/compare-runs.jsonl, those of the searches for learning rates among them. A cell whose
runs are not all there is a dash, and a ratio without any cell is left out. Under a table is the command that
makes it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from qsgd_lab import plugins
from qsgd_lab.cli.sweep.compare_networks import NetworkRuns, network_outcomes
from qsgd_lab.errors import UsageError
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
            256: _methods(256, 8, 27, 5, 0.003),
            1024: _methods(1024, 8, 75, 2, 0.0007),
        },
    ),
    Task(
        "Fashion-MNIST, one hidden layer (101,770 parameters), N = 4, 1,687 steps of 8 images a node",
        "fashion-mnist",
        "own",
        "mlp",
        1,
        4,
        ("iid", "shards:2"),
        {
            32: _methods(32, 8, 4, 53, 0.0258),
            256: _methods(256, 8, 31, 7, 0.003),
            1024: _methods(1024, 8, 108, 2, 0.0007),
        },
    ),
)


def outcome_of(task: Task, split: str, text: str) -> Outcome | None:
    """Return a method's outcome from the stored runs; None where they lack one of its runs."""
    settings = {"split": split, "epochs": task.epochs}
    scales = RateScales.parse("coarse")
    asked = NetworkRuns(task.preset, task.dataset, task.model, [task.nodes], SEEDS, settings, scales)
    try:
        (outcome,) = network_outcomes(asked, (text,), RUNS, jobs=1, max_time=0.0)
    except UsageError:  # a packed file takes no new runs
        return None
    return outcome


def table(task: Task) -> str:
    """Return a task's table and the command that makes it again."""
    heads = " | ".join(f"`{split}`" for split in task.splits)
    lines = [
        f"**{task.title}**\n",
        f"| ratio | method | fp32's bits / sent | {heads} |",
        "| ---: | --- | ---: |" + " ---: |" * len(task.splits),
    ]
    base = [outcome_of(task, split, "synchronous") for split in task.splits]
    fp32 = next(outcome for outcome in base if outcome)
    lines.append(_row("1", base, fp32))
    shown = ["synchronous"]
    split = [split for split, outcome in zip(task.splits, base, strict=True) if outcome][-1]
    for ratio, texts in task.methods.items():
        for text in texts:
            row = [outcome_of(task, split, text) for split in task.splits]
            if any(row):
                lines.append(_row(f"{ratio}", row, fp32))
                shown.append(text)
    return "\n".join(lines) + f"\n\n{_command(task, split, shown)}\n"


def _row(ratio: str, row: list[Outcome | None], base: Outcome) -> str:
    first = next(outcome for outcome in row if outcome)
    name = first.method.partition(", rate")[0]
    saved = base.sent_bits[-1] / first.sent_bits[-1]
    return f"| {ratio} | {name} | {saved:.4g} | {' | '.join(_accuracy(outcome) for outcome in row)} |"


def _accuracy(outcome: Outcome | None) -> str:
    if outcome is None:
        return "–"
    values = outcome.at(outcome.steps.size - 1)
    diverged = int(outcome.diverged(outcome.steps.size - 1).sum())
    factor = f"{float(outcome.method.rpartition('rate x ')[2]):.2g}"
    mark = f", {diverged} div." if diverged else ""
    return f"{values.mean():.1f} ± {standard_error(values) or 0:.1f}{mark} (η × {factor})"


def _command(task: Task, split: str, methods: list[str]) -> str:
    plugin = f"--import {PLUGIN} " if task.model == "pooled-perceptron" else ""
    lines = [
        f"qsgd-lab compare {plugin}--problem {task.dataset} --preset {task.preset} --model {task.model}",
        f"--epochs {task.epochs} --nodes {task.nodes} --seeds 0..2 --split {split}",
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

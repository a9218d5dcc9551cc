"""Write the tables of equal bits into docs/comparing.md from the stored runs, or check that they are current.

python docs/scripts/make_comparing_page.py            write them
python docs/scripts/make_comparing_page.py --check    exit with 1 if they would change

The runs are in paper/compare-runs.jsonl, those of the searches for learning rates among them. A cell whose
runs are not all there is a dash, and a ratio without any cell is left out. Two marks say what differs by a
paired test. Under a table is the command that makes it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from qsgd_lab import plugins
from qsgd_lab.cli.sweep.compare_networks import NetworkRuns, network_outcomes
from qsgd_lab.errors import UsageError
from qsgd_lab.problems.rate_search import RateScales
from qsgd_lab.report.analysis.statistics import SIGNIFICANCE_LEVEL
from qsgd_lab.report.comparison.outcome import Outcome, standard_error
from qsgd_lab.report.comparison.rows import Budget, rows_of
from qsgd_lab.report.tables.options import DEFAULT_LINK

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "comparing.md"
RUNS = ROOT / "paper" / "compare-runs.jsonl"
BEGIN, END = "<!-- equal bits -->\n", "<!-- /equal bits -->\n"
#: A cell has at least so many seeds; tests need more (`statistics.MIN_SEEDS`).
LEAST_SEEDS = 3
PLUGIN = "examples/pooled_perceptron.py"


@dataclass(frozen=True)
class Task:
    """A network on a data set, and what is compared at each overall ratio of CSER.

    Attributes
    ----------
    title, dataset, preset, model : str
    epochs, nodes : int
    seeds : int
        How many, from 0 on; a cell that has three alone shows these.
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
    seeds: int
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
        5,
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
        5,
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
    for seeds in sorted({task.seeds, LEAST_SEEDS}, reverse=True):
        asked = NetworkRuns(
            task.preset, task.dataset, task.model, [task.nodes], range(seeds), settings, scales
        )
        try:
            (outcome,) = network_outcomes(asked, (text,), RUNS, jobs=1, max_time=0.0)
        except UsageError:  # a packed file takes no new runs
            continue
        return outcome
    return None


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
    lines.append(_row("1", base, [""] * len(base), fp32))
    shown = ["synchronous"]
    split = [split for split, outcome in zip(task.splits, base, strict=True) if outcome][-1]
    for ratio, texts in task.methods.items():
        columns = [[outcome_of(task, split, text) for text in texts] for split in task.splits]
        marks = [_marks(column, whole) for column, whole in zip(columns, base, strict=True)]
        for index, text in enumerate(texts):
            row = [column[index] for column in columns]
            if any(row):
                lines.append(_row(f"{ratio}", row, [column[index] for column in marks], fp32))
                shown.append(text)
    return "\n".join(lines) + f"\n\n{_command(task, split, len(fp32.runs), shown)}\n"


def _marks(methods: list[Outcome | None], fp32: Outcome | None) -> list[str]:
    """Return the marks of the methods of one ratio and split: where float32, and CSER, the first, differ."""
    of_fp32, of_cser = _p_values(fp32, methods), _p_values(methods[0], methods[1:])
    return [
        ("*" if whole <= SIGNIFICANCE_LEVEL else "") + ("†" if cser <= SIGNIFICANCE_LEVEL else "")
        for whole, cser in zip(of_fp32, [1.0, *of_cser], strict=True)
    ]


def _p_values(first: Outcome | None, others: list[Outcome | None]) -> list[float]:
    """Return the p-values of paired tests against the first, with Holm's adjustment; 1 where none is made."""
    there = [outcome for outcome in others if outcome]
    if first is None:
        return [1.0] * len(others)
    rows = iter(rows_of([first, *there], budget=Budget(), link=DEFAULT_LINK)[1:])
    found = [next(rows).p_value if outcome else None for outcome in others]
    return [1.0 if p_value is None else p_value for p_value in found]


def _row(ratio: str, row: list[Outcome | None], marks: list[str], base: Outcome) -> str:
    first = next(outcome for outcome in row if outcome)
    name = first.method.partition(", rate")[0]
    saved = base.sent_bits[-1] / first.sent_bits[-1]
    cells = " | ".join(_accuracy(outcome, mark) for outcome, mark in zip(row, marks, strict=True))
    return f"| {ratio} | {name} | {saved:.4g} | {cells} |"


def _accuracy(outcome: Outcome | None, marks: str) -> str:
    if outcome is None:
        return "–"
    values = outcome.at(outcome.steps.size - 1)
    diverged = int(outcome.diverged(outcome.steps.size - 1).sum())
    factor = f"{float(outcome.method.rpartition('rate x ')[2]):.2g}"
    words = f", {diverged} div." if diverged else ""
    written = "".join(f"\\{mark}" if mark == "*" else mark for mark in marks)
    return f"{values.mean():.1f} ± {standard_error(values) or 0:.1f}{written}{words} (η × {factor})"


def _command(task: Task, split: str, seeds: int, methods: list[str]) -> str:
    plugin = f"--import {PLUGIN} " if task.model == "pooled-perceptron" else ""
    lines = [
        f"qsgd-lab compare {plugin}--problem {task.dataset} --preset {task.preset} --model {task.model}",
        f"--epochs {task.epochs} --nodes {task.nodes} --seeds 0..{seeds - 1} --split {split}",
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

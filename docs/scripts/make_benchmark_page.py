"""Write the tables and the figure of the benchmark from the stored baselines, or check that they are current.

python docs/scripts/make_benchmark_page.py            write them
python docs/scripts/make_benchmark_page.py --check    exit with 1 if they would change

The baselines are qsgd_lab/suite/baselines.jsonl; `qsgd-lab suite run` makes them and `suite add` packs them.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import click

from qsgd_lab.report.figures.suite import save_suite
from qsgd_lab.suite.columns import loss_free_cell, ratio_cell, shown_tasks
from qsgd_lab.suite.definition import load_suite
from qsgd_lab.suite.figure import figure_of
from qsgd_lab.suite.result_file import stored_entries
from qsgd_lab.suite.score import Board
from qsgd_lab.suite.submission import baselines

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "benchmark.md"
FIGURE = ROOT / "docs" / "figures" / "benchmark.svg"
BEGIN, END = "<!-- baselines -->\n", "<!-- /baselines -->\n"


def content() -> str:
    """Return what is between the marks."""
    suite = load_suite()
    board = Board(suite, stored_entries(suite))
    tasks = shown_tasks(board)
    parts = []
    for rung in suite.rungs:
        names = board.order(rung)
        if len(names) == 1:
            continue
        header = ["method", *(f"`{task.key}`" for task in tasks), *(f"R* {task.key}" for task in tasks)]
        header += ["bits sent", "both ways", "rounds"]
        lines = [_line(header), "| --- |" + " ---: |" * (len(header) - 1)]
        tied = {task.key: board.tied_with_best(task, rung) for task in tasks}
        for name in names:
            ratios = [ratio_cell(board, name, task, rung, best=name in tied[task.key]) for task in tasks]
            stars = [loss_free_cell(board, name, task) for task in tasks]
            costs = [f"{board.cost(name, rung, unit):.3g}" for unit in ("sent", "received", "rounds")]
            lines.append(_line([board.entries[name].title, *ratios, *stars, *costs]))
        parts.append(f"At {rung}:\n\n" + "\n".join(lines) + "\n")
    cells = sum(len(entry.cells) for entry in board.entries.values())
    minutes = math.fsum(entry.cpu for entry in board.entries.values()) / 60
    wanted = len(suite.scored) * sum(len(each.specs) for each in baselines(suite).values())
    head = (
        "Ratios to float32; \\*: the best, or not shown to be worse. Bits are a coordinate and step, rounds "
        f"a step. {cells} cells of {wanted} are run so far, in {minutes:.1f} CPU minutes; "
        'the others are "n/a".\n\n'
    )
    return head + "\n".join(parts) + "\n![The baselines](figures/benchmark.svg)\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("*", "\\*") for cell in cells) + " |"


def figure() -> bytes:
    """Return the figure as SVG."""
    suite = load_suite()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.svg"
        shown = figure_of(Board(suite, stored_entries(suite)))
        save_suite(shown, path, title=f"{suite.name}, {suite.nodes} nodes")
        return path.read_bytes()


@click.command()
@click.option("--check", is_flag=True)
def main(check: bool) -> None:
    """Write the page's tables and the figure, or check them."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    new = before + BEGIN + content() + END + rest.partition(END)[2]
    drawn = figure()
    if not check:
        PAGE.write_text(new, encoding="utf-8")
        FIGURE.write_bytes(drawn)
    elif new != page or not FIGURE.exists() or FIGURE.read_bytes() != drawn:
        raise SystemExit("docs/benchmark.md is not current; run: python docs/scripts/make_benchmark_page.py")


if __name__ == "__main__":
    main()

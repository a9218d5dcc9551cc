"""Write the tables and the figure of the benchmark from the stored baselines, or check that they are current.

python docs/scripts/make_benchmark_page.py            write them
python docs/scripts/make_benchmark_page.py --check    exit with 1 if they would change

The baselines are baselines.jsonl and network_baselines.jsonl in qsgd_lab/suite; `qsgd-lab suite run` makes
them and `suite add` packs them.
"""

from __future__ import annotations

import math
from pathlib import Path

import click

from qsgd_lab.report.figures.style import same_drawing
from qsgd_lab.report.figures.suite import suite_bytes
from qsgd_lab.suite.columns import header, network_header, network_rows, network_tasks, network_title, rows
from qsgd_lab.suite.definition import REFERENCE, load_suite
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
    keys = [task.key for task in suite.scored]
    made = [c for entry in board.entries.values() for c in entry.cells.values() if c.task in keys]
    cells, minutes = len(made), math.fsum(cell.cpu for cell in made) / 60
    wanted = len(suite.scored) * sum(len(each.specs) for each in baselines(suite).values())
    parts = [
        f"{cells} cells of {wanted} are stored, {minutes:.0f} CPU minutes"
        + ("; the others were not run" if cells < wanted else "")
        + ".\n\n"
        "**R\\*, the compression at which nothing is lost**, the one number of a method and task:\n\n"
        + _table(board, "32x", [f"R* {key}" for key in keys]),
        "![The baselines](figures/benchmark.svg)\n",
    ]
    for rung in (rung for rung in suite.rungs if len(board.order(rung)) > 1):
        parts.append(
            f"**At {rung}**, ratios to float32; \\*: the best, or not shown to be worse. Ranks are by score "
            "at equal bits sent, and at equal bits up and down.\n\n"
            + _table(board, rung, [*keys, "rank", "rank both"])
        )
    links = [f"s@{link}" for link in suite.links]
    parts.append(
        "**What a run costs at 32x**: bits a coordinate and step, rounds a step, modelled seconds, and as a "
        "footnote the score and its range with a task left out.\n\n"
        + _table(board, "32x", ["sent", "both", "rounds", *links, "score", "range"])
    )
    return "\n".join(parts + _networks(board))


def _networks(board: Board) -> list[str]:
    """Return a table for each task of networks and rung of which there are cells."""
    parts = []
    for rung in board.suite.rungs:
        for task in network_tasks(board, rung):
            entries = [name for name in board.on_task(task, rung) if name != REFERENCE]
            cells = [board.entries[name].cells[task.key, rung] for name in entries]
            asked = sum(rung in each.specs for each in baselines(board.suite).values())
            minutes = math.fsum(cell.cpu for cell in cells) / 60
            title, words = network_title(board, task, rung)
            marked = words.replace("*", "\\*")
            parts.append(
                f"**On {title}**, {marked}. {len(cells)} of {asked} methods are stored, "
                f"{minutes:.0f} minutes of a core by the clock.\n\n"
                + _markdown(network_header(board), network_rows(board, task, rung), 7)
            )
    return parts


def _markdown(names: list[str], found: list[list[str]], count: int) -> str:
    """Return the first columns of a table."""
    lines = [
        _line(names[:count]),
        "| --- |" + " ---: |" * (count - 1),
        *(_line(row[:count]) for row in found),
    ]
    return "\n".join(lines) + "\n"


def _table(board: Board, rung: str, columns: list[str]) -> str:
    """Return some columns of `suite table`."""
    names = header(board)
    places = [names.index(column) for column in columns]
    lines = [
        _line(["method", *columns]),
        "| --- |" + " ---: |" * len(columns),
        *(_line([row[0], *(row[place] for place in places)]) for row in rows(board, rung, "sent")),
    ]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("*", "\\*") for cell in cells) + " |"


def figure() -> str:
    """Return the figure as SVG."""
    suite = load_suite()
    shown = figure_of(Board(suite, stored_entries(suite)))
    return suite_bytes(shown, ".svg", title=f"{suite.name}, {suite.nodes} nodes").decode()


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
        FIGURE.write_text(drawn, encoding="utf-8")
    elif new != page or not FIGURE.exists() or not same_drawing(drawn, FIGURE.read_text(encoding="utf-8")):
        raise SystemExit("docs/benchmark.md is not current; run: python docs/scripts/make_benchmark_page.py")


if __name__ == "__main__":
    main()

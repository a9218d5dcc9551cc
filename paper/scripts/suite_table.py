"""The pinned benchmark in the paper: a table at 32x, and the figure, from the baselines stored with the lab.

The baselines: qsgd-lab suite run, qsgd-lab suite add (docs/benchmark.md).
"""

from __future__ import annotations

from functools import cache

from qsgd_lab.report.figures.suite import suite_bytes
from qsgd_lab.report.formats.latex import escape
from qsgd_lab.suite.columns import header, rows
from qsgd_lab.suite.definition import load_suite
from qsgd_lab.suite.figure import figure_of
from qsgd_lab.suite.result_file import stored_entries
from qsgd_lab.suite.score import Board

RUNG = "32x"
_HEADS = {"sent": "sent", "both": "both ways", "rounds": "rounds", "rank": "sent", "rank both": "both ways"}


@cache
def board() -> Board:
    """Return the stored baselines side by side."""
    return Board(load_suite(), stored_entries(load_suite()))


def suite_table() -> str:
    """Return ratios, lossless compression, costs and ranks at 32x as a LaTeX float."""
    suite, names = load_suite(), header(board())
    tasks = [task.key for task in suite.scored]
    columns = [*(f"R* {key}" for key in tasks), *tasks, *_HEADS]
    places = [names.index(column) for column in columns]
    heads = [*tasks, *tasks, *_HEADS.values()]
    lines = [
        " & ".join([escape(row[0]), *(_cell(row[place]) for place in places)]) + r" \\"
        for row in rows(board(), RUNG, "sent")
    ]
    width, last = len(tasks), 2 * len(tasks) + 1
    groups = [
        "",
        rf"\multicolumn{{{width}}}{{c}}{{$R^*$}}",
        rf"\multicolumn{{{width}}}{{c}}{{Ratio to float32}}",
        r"\multicolumn{2}{c}{Bits}",
        "",
        r"\multicolumn{2}{c}{Rank}",
    ]
    rules = [(2, 1 + width), (2 + width, last), (last + 1, last + 2), (last + 4, last + 5)]
    return "\n".join(
        [
            r"\begin{table*}[tbp]",
            r"\centering",
            rf"\caption{{The benchmark \command{{{suite.name}}} at {RUNG}, {suite.nodes} nodes: the "
            r"largest compression $R^*$ at which nothing is lost; the error over float32's at the same "
            r"compression (an asterisk: the best, or not shown to be worse); bits a coordinate and step, "
            r"sent and in both directions, and exchanges a step; ranks at equal bits sent, and at equal bits "
            r"in both directions.}",
            r"\label{tab:suite}",
            r"\scriptsize",
            r"\setlength{\tabcolsep}{3pt}",
            rf"\begin{{tabular*}}{{\textwidth}}{{@{{\extracolsep{{\fill}}}}l{' r' * len(columns)}@{{}}}}",
            r"\toprule",
            " & ".join(groups) + r" \\",
            "".join(rf"\cmidrule(lr){{{first}-{end}}}" for first, end in rules),
            " & ".join(["Method", *map(escape, heads)]) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular*}",
            r"\end{table*}",
            "",
        ]
    )


def _cell(text: str) -> str:
    """Return a cell: signs of comparison and marks are mathematics."""
    signs = {"<": "$<$", ">": "$>$", "*": "$^*$", "†": r"\dag", "x": r"$\times$"}
    return "".join(signs.get(letter, escape(letter)) for letter in text)


def suite_figure() -> bytes:
    """Return the figure, a panel a task, as PDF."""
    suite = load_suite()
    return suite_bytes(figure_of(board()), ".pdf", title=f"{suite.name}, {suite.nodes} nodes")

"""Rows of figures as text, JSON, CSV and LaTeX: what the commands of the theory have in common."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from qsgd_lab import __version__

NONE = "--"
TEXT_WIDTH = 100


@dataclass(frozen=True)
class Table:
    """Cells to print, as strings.

    Attributes
    ----------
    header : sequence of str
        One a column; in text, a blank before "bound" becomes a line break.
    rows : sequence of sequences of str
    title : str
    left : collection of int
        The columns that stand to the left; negative numbers count from the end.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    left: tuple[int, ...] = ()

    def is_left(self, column: int) -> bool:
        """Whether a column stands to the left."""
        return column in self.left or column - len(self.header) in self.left


def as_json(records: Sequence[Mapping[str, object]]) -> str:
    """Return a JSON list of records, ending in a newline; NaN is refused."""
    return json.dumps([dict(record) for record in records], indent=1, allow_nan=False) + "\n"


def as_csv(records: Sequence[Mapping[str, object]]) -> str:
    """Return CSV with a header, of at least one record; None is an empty cell."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def as_text(paragraphs: Iterable[str | Table]) -> str:
    """Return tables and paragraphs for a terminal of 100 columns, ending in a newline."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable

    stream = io.StringIO()
    console = Console(file=stream, width=TEXT_WIDTH, highlight=False, markup=False, emoji=False)
    for part in paragraphs:
        if isinstance(part, str):
            console.print(part, soft_wrap=True)
            continue
        table = RichTable(
            *map(_break_line, part.header), box=SIMPLE_HEAD, title=part.title or None, title_justify="left"
        )
        table.pad_edge, table.padding = False, (0, 1)
        for number, column in enumerate(table.columns):
            left = part.is_left(number)
            column.justify, column.no_wrap = "left" if left else "right", not left
        for row in part.rows:
            table.add_row(*row)
        console.print(table)
    lines = (line.rstrip() for line in stream.getvalue().splitlines())
    return "\n".join(lines) + "\n"


def _break_line(header: str) -> str:
    return header.replace("; ", "\n") if "; " in header else header.replace(" bound", "\nbound")


def as_latex(table: Table, *, command: str, caption: str, symbols: Mapping[str, str] | None = None) -> str:
    """Return a booktabs table, ending in a newline.

    Parameters
    ----------
    table : Table
        Cells are escaped.
    command : str
        What made it, such as ``variance``.
    caption : str
        LaTeX, not escaped.
    symbols : mapping of str to str
        LaTeX for header cells.
    """
    from qsgd_lab.report.formats.latex import escape

    known = symbols or {}
    header = [known.get(name, escape(name.replace("; ", " "))) for name in table.header]
    columns = "".join("l" if table.is_left(number) else "r" for number in range(len(header)))
    lines = [
        f"% made by: qsgd-lab {__version__} {command}",
        r"% needs: \usepackage{booktabs}",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(header) + r" \\",
        r"\midrule",
        *(" & ".join(escape(cell) for cell in row) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def figure(value: float | None) -> str:
    """Return four significant digits, or a dash for None."""
    return NONE if value is None else f"{value:#.4g}"


def score(z: float | None) -> str:
    """Return a z-score to one decimal, without -0.0."""
    return NONE if z is None else f"{round(z, 1) + 0.0:.1f}"
